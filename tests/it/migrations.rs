//! Databases of earlier versions: migrated with their data, and cleaned up after the deploy.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use frontdesk::{clock::SystemClock, store::Store};

use reqwest::Method;
use serde_json::Value;

use crate::support::{
    Database, Db, Event, FakeLlm, Mode, Process, Proxy, Said, Stream, TestApp, client, until,
};

both! {
    a_database_of_an_earlier_version_goes_on_with_its_data
    running_turns_begin_anew_where_the_logs_change
    a_version_that_knows_less_than_the_database_refuses_to_start
    functions_of_earlier_versions_are_dropped_after_the_deploy
}

const RUNNING: &str = "turns where finish_reason is null";

/// The database of an earlier version that was killed in mid-answer: visitors, users, idempotency keys, and a
/// conversation that an expert has claimed.
async fn of_earlier_version(db: Db) -> Database {
    let database = Database::empty(db).await;
    database
        .execute(match db {
            Db::Postgres => include_str!("databases/postgres-14.sql"),
            Db::Sqlite => include_str!("databases/sqlite-13.sql"),
        })
        .await;
    database
}

async fn a_database_of_an_earlier_version_goes_on_with_its_data(db: Db) {
    let database = of_earlier_version(db).await;
    let tables = [
        "users",
        "conversations",
        "messages",
        "turns",
        "experts",
        "audit_log",
    ];
    let mut before = Vec::new();
    for table in tables {
        before.push(database.count(table.to_owned()).await);
    }
    assert_eq!(before, [4, 5, 17, 8, 1, 3], "as it was made");
    assert_eq!(database.count(RUNNING.to_owned()).await, 1);
    let store = Store::open(&database.settings(), Arc::new(SystemClock)).unwrap();
    let applied = store.migrate().await.unwrap();
    let known = match db {
        Db::Postgres => 14,
        Db::Sqlite => 13,
    };
    assert_eq!(applied.len(), numbers(db).len() - known);
    for (table, count) in tables.into_iter().zip(before) {
        assert_eq!(database.count(table.to_owned()).await, count, "{table}");
    }
    let fresh = Database::migrated(db).await;
    let schema = Store::open(&fresh.settings(), Arc::new(SystemClock)).unwrap();
    schema.migrate().await.unwrap();
    for table in tables.into_iter().chain(["session_locks", "turn_pieces"]) {
        let (migrated, new) = (database.columns(table).await, fresh.columns(table).await);
        assert_eq!(migrated, new, "{table}");
    }
    let app = TestApp::on(Arc::new(database), FakeLlm::start().await, |_| {}).await;
    let exported = app.get("anna", "/chat/export").await.json();
    let said = exported["conversations"][0]["messages"].as_array().unwrap();
    assert_eq!(said.len(), 8);
    assert_eq!(
        said[0]["content"],
        "Hello, I want to schedule an appointment"
    );
    // This version starts the interrupted answer again.
    app.say("other", "Any request does a piece of the housekeeping.")
        .await;
    until(async || app.count(RUNNING).await == 0).await;
    let exported = app.get("cut", "/chat/export").await.json();
    let said = exported["conversations"][0]["messages"].as_array().unwrap();
    assert_eq!(said[1]["content"], "Very well.");
}

/// The sixteenth migration changes the content of the logs, and empties them.
async fn running_turns_begin_anew_where_the_logs_change(db: Db) {
    let database = of_earlier_version(db).await;
    assert!(database.count("turn_pieces".to_owned()).await > 0);
    assert!(database.count("turn_events".to_owned()).await > 0);
    // The earlier version's server is still alive and holds its turn's lease.
    let later = match db {
        Db::Postgres => "now() + interval '1 hour'".to_owned(),
        Db::Sqlite => "(unixepoch() + 3600) * 1000000".to_owned(),
    };
    let held = "conversations where running_turn is not null and lease_until";
    database
        .execute(format!(
            "update conversations set lease_until = {later} where running_turn is not null"
        ))
        .await;
    let soon = match db {
        Db::Postgres => "now() + interval '1 minute'".to_owned(),
        Db::Sqlite => "(unixepoch() + 60) * 1000000".to_owned(),
    };
    assert_eq!(database.count(format!("{held} > {soon}")).await, 1);
    // The ids of the running turn, and of a finished one.
    let (running, finished) = match db {
        Db::Postgres => (
            "01a21a53-41ed-7089-8de5-8715139b8c1f",
            "01a21a53-3bc9-7178-98ba-268876a8681d",
        ),
        Db::Sqlite => (
            "01a21a53-50eb-7644-8f70-3b536f36bd44",
            "01a21a53-4ccf-74d8-acdb-ea2db3c497b3",
        ),
    };
    let store = Store::open(&database.settings(), Arc::new(SystemClock)).unwrap();
    store.migrate().await.unwrap();
    for log in ["turn_pieces", "turn_events"] {
        assert_eq!(database.count(log.to_owned()).await, 0, "{log}");
    }
    assert_eq!(database.count(format!("{held} > {soon}")).await, 0);
    // A renewal needs the owner, any other write the fence: the earlier version's server has neither.
    let its_own = "conversations as c join turns as t on t.id = c.running_turn where";
    assert_eq!(
        database
            .count(format!("{its_own} c.owner is not null"))
            .await,
        0
    );
    assert_eq!(
        database.count(format!("{its_own} c.fence = t.fence")).await,
        0
    );
    let app = TestApp::on(Arc::new(database), FakeLlm::start().await, |_| {}).await;
    let resume = async |device: &str, turn: &str, cursor: &str| {
        let path = format!("/chat/stream/{turn}?restart=1");
        let call = app.request(Method::GET, device, &path);
        let call = call.header("Last-Event-ID", format!("{turn}.{cursor}"));
        call.send().await.unwrap()
    };
    // A client with part of the running answer gets a `reset`, and the answer from its beginning.
    let rest = Stream::of(resume("cut", running, "1:3").await).rest().await;
    assert_eq!(rest[0].data["type"], "reset");
    let text: String = rest.iter().map(Event::content).collect();
    assert_eq!(text, "Very well.");
    assert!(rest.last().unwrap().is_final());
    // The frames of finished turns are gone; the history has their text.
    let rest = Said::of(resume("anna", finished, "1:1").await).await;
    assert_eq!(rest.status, 410);
    assert_eq!(rest.json()["code"], "gone");
    let exported = app.get("anna", "/chat/export").await.json();
    let said = exported["conversations"][0]["messages"].as_array().unwrap();
    let answered = |said: &&Value| said["turn_id"] == finished && said["role"] == "assistant";
    assert!(
        said.iter()
            .find(answered)
            .is_some_and(|said| said["content"] != "")
    );
}

async fn a_version_that_knows_less_than_the_database_refuses_to_start(db: Db) {
    let database = Database::empty(db).await;
    let store = Store::open(&database.settings(), Arc::new(SystemClock)).unwrap();
    store.migrate().await.unwrap();
    database
        .execute("insert into __diesel_schema_migrations (version) values ('99999999999999')")
        .await;
    let environment = [("DATABASE_URL", database.url.as_str())];
    for command in [&["serve", "--port", "0"][..], &["migrate"], &["tick"]] {
        let (code, said) = Process::run(command, &environment);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains("a later version of frontdesk has migrated"),
            "{said}"
        );
    }
}

/// A server that starts while the database is away stops once it finds a later version there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_version_is_found_when_the_database_is_back() {
    let database = Database::empty(Db::Postgres).await;
    let store = Store::open(&database.settings(), Arc::new(SystemClock)).unwrap();
    store.migrate().await.unwrap();
    database
        .execute("insert into __diesel_schema_migrations (version) values ('99999999999999')")
        .await;
    let proxy = Proxy::before(&database.url).await;
    proxy.set(Mode::Cut);
    let process = Process::start(&[("DATABASE_URL", &proxy.url)]);
    proxy.set(Mode::Pass);
    until(async || process.log().contains("shutting down")).await;
    assert_eq!(process.wait(), Some(1));
}

async fn functions_of_earlier_versions_are_dropped_after_the_deploy(db: Db) {
    let database = of_earlier_version(db).await;
    let store = Store::open(&database.settings(), Arc::new(SystemClock)).unwrap();
    store.migrate().await.unwrap();
    let unused = match db {
        Db::Postgres => 4,
        Db::Sqlite => 0,
    };
    assert_eq!(store.unused_functions().await.unwrap(), unused);
    let environment = [("DATABASE_URL", database.url.as_str())];
    let (_, said) = Process::run(&["config", "check"], &environment);
    assert_eq!(
        said.contains("4 functions of other versions"),
        unused > 0,
        "{said}"
    );
    let (code, said) = Process::run(&["migrate", "--finish"], &environment);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!(
            "{unused} database functions of other versions dropped"
        )),
        "{said}"
    );
    assert_eq!(store.unused_functions().await.unwrap(), 0);
    // This version's own functions still exist.
    let app = TestApp::on(Arc::new(database), FakeLlm::start().await, |_| {}).await;
    app.llm.says(["Hi"]);
    assert_eq!(app.say("d", "Hello").await.status, 200);
}

/// The numbers of the migrations.
fn numbers(db: Db) -> BTreeSet<String> {
    let folder = match db {
        Db::Postgres => "migrations/postgres",
        Db::Sqlite => "migrations/sqlite",
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.map(|name| name[..14].to_owned()).collect()
}

#[test]
fn from_the_fourteenth_on_both_databases_have_the_same_migrations() {
    let from = |db| numbers(db).split_off("00000000000014");
    assert_eq!(from(Db::Postgres), from(Db::Sqlite));
}

/// The deploy guide's roles: one owns the schema; the server's only reads and writes rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_with_least_rights_serves_what_another_has_migrated() {
    let database = Database::empty(Db::Postgres).await;
    let name = format!("r{}", uuid::Uuid::new_v4().simple());
    let (owner, server) = (format!("{name}_owner"), format!("{name}_server"));
    let guide = include_str!("../../docs/deploy.md");
    let (_, guide) = guide
        .split_once("## A database role with least rights")
        .unwrap();
    let (guide, _) = guide.split_once("\n## ").unwrap_or((guide, ""));
    let blocks = guide.split("```sql\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let blocks: Vec<String> = blocks
        .map(|block| block.replace("frontdesk_owner", &owner))
        .map(|block| block.replace("frontdesk_server", &server))
        .collect();
    let [first, second] = blocks.as_slice() else {
        panic!("{blocks:?}")
    };
    database.execute(first).await;
    let url = |role: &str| database.url.replace("//frontdesk@", &format!("//{role}@"));
    let (as_owner, as_server) = (url(&owner), url(&server));
    let run = |command: &[&str], url: &str| Process::run(command, &[("DATABASE_URL", url)]);
    let (code, said) = run(&["serve", "--port", "0"], &as_server);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("permission denied for schema public"),
        "{said}"
    );
    assert!(
        said.contains("run `frontdesk migrate` as the role"),
        "{said}"
    );
    let (code, said) = run(&["migrate"], &as_owner);
    assert_eq!(code, Some(0), "{said}");
    database.execute(second).await;
    let process = Process::start(&[("DATABASE_URL", &as_server)]);
    let call = client()
        .post(format!("{}/chat", process.url))
        .json(&serde_json::json!({"content": "Hi"}));
    assert_eq!(call.send().await.unwrap().status(), 200);
    let erase = client().delete(format!("{}/chat/data", process.url));
    let erase = erase.header("X-Device-ID", "d").send().await.unwrap();
    assert_eq!(erase.status(), 204);
    let (code, said) = run(&["tick"], &as_server);
    assert_eq!(code, Some(0), "{said}");
    drop(process);
    database
        .execute(format!("revoke insert on messages from {server}"))
        .await;
    let (code, said) = run(&["serve", "--port", "0"], &as_server);
    assert_eq!(code, Some(1));
    assert!(said.contains("lacks rights: insert on messages"), "{said}");
    let roles = format!(
        "drop owned by {server} cascade; drop owned by {owner} cascade; drop role {owner}; drop role {server}"
    );
    database.execute(roles).await;
}
