//! The database: its schema, its migrations, and its going away.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use frontdesk::{clock::SystemClock, config::OnOutage, store::Store};
use serde_json::json;

use crate::support::{Database, Db, FakeLlm, TestApp};

both! {
    five_instances_migrate_at_once
    the_schema_is_the_one_that_the_queries_know
    a_turn_costs_few_statements
    the_message_is_committed_before_the_head_and_the_answer_before_the_end
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
    let all = match db {
        Db::Postgres => 4,
        Db::Sqlite => 3,
    };
    assert_eq!(applied, all, "each migration is applied once");
    for store in stores {
        store.ping().await.unwrap();
    }
}

/// The tables of `schema.rs`: its columns by table, with the types' names and nullability.
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
    assert_eq!(tables.len(), 8);
    for (table, columns) in tables {
        let mut expected: Vec<_> = columns
            .iter()
            .map(|(column, kind)| (column.clone(), sql_type(db, kind)))
            .collect();
        expected.sort();
        assert_eq!(database.columns(&table).await, expected, "{table}");
    }
}

/// A column's type and nullability, as the catalogue tells them.
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
        (_, "Text") => "text",
        (_, "BigInt") => "bigint",
        (_, "Integer") => "integer",
        (_, "Bool") => "boolean",
        other => panic!("no such type: {other:?}"),
    };
    format!("{name}{nullable}")
}

async fn a_turn_costs_few_statements(db: Db) {
    if db == Db::Sqlite {
        return; // It does not count them.
    }
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    app.get("d", "/chat/session").await;
    app.database.count_statements().await;
    app.say("d", "Hi").await;
    let seen = app.database.statements().await;
    // One to begin, one for the history, one to finish.
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

/// A server whose PostgreSQL is not there.
async fn without_database(on_outage: OnOutage) -> TestApp {
    let database = Arc::new(Database::nowhere());
    TestApp::on(database, FakeLlm::start().await, |settings| {
        settings.database.on_outage = on_outage
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_an_answer_says_so() {
    let app = without_database(OnOutage::Answer).await;
    app.llm.says(["a", "b"]);
    let streamed = app
        .post("d", "/chat/stream", json!({"content": "Hi"}))
        .await;
    insta::assert_snapshot!("degraded_stream", crate::support::tidy(&streamed.text));
    assert_eq!(
        (streamed.header("x-turn-id"), streamed.header("x-device-id")),
        ("", "d")
    );
    insta::assert_snapshot!("degraded_json", app.say("d", "Hi").await.shown());
    assert_eq!(
        app.get("d", "/chat/history").await.json()["code"],
        "unavailable"
    );
    assert_eq!(app.get("d", "/healthz").await.status, 200);
    assert_eq!(app.get("d", "/readyz").await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_a_message_is_refused_where_that_is_asked_for() {
    let app = without_database(OnOutage::Refuse).await;
    let said = app.say("d", "Hi").await;
    assert_eq!(
        (said.status.as_u16(), said.header("retry-after")),
        (503, "2")
    );
    assert!(app.llm.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_began_without_its_database_is_ready_when_that_is_there() {
    let (database, appear) = Database::later().await;
    let app = TestApp::on(Arc::new(database), FakeLlm::start().await, |_| {}).await;
    assert_eq!(app.get("d", "/readyz").await.status, 503);
    appear.await;
    let mut ready = false;
    for _ in 0..100 {
        ready = app.get("d", "/readyz").await.status == 200;
        if ready {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(ready);
    assert_eq!(app.say("d", "Hi").await.content(), "Very well.");
    assert_eq!(app.history("d").await.len(), 2);
}
