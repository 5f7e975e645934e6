//! The database: its schema, its migrations, and a turn's queries.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use frontdesk::{clock::SystemClock, config::Secret, store::Store};

use crate::support::{Database, Db, TestApp};

both! {
    five_instances_migrate_at_once
    the_schema_is_the_one_that_the_queries_know
    the_message_is_committed_before_the_head_and_the_answer_before_the_end
}

postgres_only! {
    a_turn_costs_few_statements
}

async fn five_instances_migrate_at_once(db: Db) {
    let database = Database::empty(db).await;
    let stores: Vec<_> = (0..5)
        .map(|_| Store::open(&database.settings(), Arc::new(SystemClock)).unwrap())
        .collect();
    let migrated = futures_util::future::join_all(stores.iter().map(Store::migrate)).await;
    let applied: usize = migrated
        .into_iter()
        .map(|applied| applied.unwrap().len())
        .sum();
    let folder = match db {
        Db::Postgres => "migrations/postgres",
        Db::Sqlite => "migrations/sqlite",
    };
    let all = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(applied, all, "each migration is applied once");
    for store in stores {
        store.ping().await.unwrap();
    }
}

/// The columns of each table in `schema.rs`, with their types' names and nullability.
fn declared() -> BTreeMap<String, Vec<(String, String)>> {
    let source = include_str!("../../src/store/schema.rs");
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    let mut table = String::new();
    for line in source.lines().map(str::trim) {
        if let Some((column, kind)) = line
            .strip_suffix(',')
            .and_then(|line| line.split_once(" -> "))
        {
            tables
                .entry(table.clone())
                .or_default()
                .push((column.to_owned(), kind.to_owned()));
        } else if let Some((name, _)) = line.split_once(" (").filter(|_| line.ends_with(") {")) {
            table = name.to_owned();
        }
    }
    tables
}

async fn the_schema_is_the_one_that_the_queries_know(db: Db) {
    let database = Database::migrated(db).await;
    if db == Db::Sqlite {
        Store::open(&database.settings(), Arc::new(SystemClock))
            .unwrap()
            .migrate()
            .await
            .unwrap();
    }
    let tables = declared();
    assert_eq!(tables.len(), 15);
    for (table, columns) in tables {
        let mut expected: Vec<_> = columns
            .iter()
            .map(|(column, kind)| (column.clone(), sql_type(db, kind)))
            .collect();
        expected.sort();
        assert_eq!(database.columns(&table).await, expected, "{table}");
    }
}

/// A column's type and nullability, as the database's catalogue shows them.
fn sql_type(db: Db, kind: &str) -> String {
    let (inner, nullable) = match kind.strip_prefix("Nullable<") {
        Some(inner) => (inner.trim_end_matches('>'), " null"),
        None => (kind, ""),
    };
    let name = match (db, inner) {
        (Db::Postgres, "Uid") => "uuid",
        (Db::Postgres, "Ts") => "timestamp with time zone",
        (Db::Postgres, "Doc") => "jsonb",
        (Db::Postgres, "Binary") => "bytea",
        (Db::Sqlite, "Uid" | "Binary") => "blob",
        (Db::Sqlite, "Ts") => "bigint",
        (Db::Sqlite, "Doc") => "text",
        (Db::Postgres, "Double") => "double precision",
        (Db::Sqlite, "Double") => "real",
        (_, "Text") => "text",
        (_, "BigInt") => "bigint",
        (_, "Integer") => "integer",
        (_, "Bool") => "boolean",
        other => panic!("no such type: {other:?}"),
    };
    format!("{name}{nullable}")
}

async fn a_turn_costs_few_statements() {
    let app = TestApp::start(Db::Postgres).await;
    app.say("d", "Hi").await;
    app.get("d", "/chat/session").await;
    app.database.count_statements().await;
    app.say("d", "Hi").await;
    let seen = app.database.statements().await;
    // One statement to begin, one for the history, one to finish.
    assert_eq!(seen.len(), 3, "{seen:#?}");
}

async fn the_message_is_committed_before_the_head_and_the_answer_before_the_end(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a"]).pause_after(0);
    let stream = app.stream("d", "Hi").await;
    assert_eq!(app.count("messages where body = 'Hi'").await, 1);
    app.llm.go_on();
    let mut stream = stream;
    while let Some(event) = stream.next().await {
        if event.is_final() {
            assert_eq!(app.count("messages where body = 'a'").await, 1);
        }
    }
}

/// Because the file holds conversations and the site's secret.
#[tokio::test]
async fn sqlites_file_and_folder_are_the_servers_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = directory.path().join("data/desk");
    let file = folder.join("frontdesk.db");
    let settings = || {
        let mut settings = Database::nowhere().settings();
        settings.url = Secret::new(format!("sqlite:{}", file.display()));
        settings
    };
    let open = async || {
        let store = Store::open(&settings(), Arc::new(SystemClock)).unwrap();
        store.migrate().await.unwrap();
        store
    };
    let store = open().await;
    assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    assert_eq!(mode(&folder.join("frontdesk.db-wal")), 0o600);
    drop(store);
    // The permissions of an earlier version's file, or of a restored backup.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _store = open().await;
    assert_eq!(mode(&file), 0o600);
}
