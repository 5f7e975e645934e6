//! A visitor's data: stored, exported and erased.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{Db, Process, TestApp, client, until};

both! {
    a_visitor_gets_all_that_is_kept_and_nobody_elses
    nothing_is_left_after_an_erasure
    an_erasure_ends_an_answer_that_is_on_its_way
    what_is_old_is_erased
}

const CANARY: &str = "my-canary-7316";

const TABLES: [&str; 7] = [
    "users",
    "conversations",
    "session_locks",
    "turns",
    "messages",
    "turn_events",
    "turn_pieces",
];

async fn a_visitor_gets_all_that_is_kept_and_nobody_elses(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "one").await;
    app.delete("d", "/chat/session").await;
    app.say("d", "two").await;
    app.say("other", CANARY).await;
    let export = app.get("d", "/chat/export").await;
    assert!(!export.text.contains(CANARY));
    assert!(
        export
            .header("content-disposition")
            .starts_with("attachment")
    );
    let export = export.json();
    let conversations = export["conversations"].as_array().unwrap().iter();
    let said: Vec<Vec<&str>> = conversations
        .map(|conversation| {
            let messages = conversation["messages"].as_array().unwrap().iter();
            messages
                .map(|message| message["content"].as_str().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(said, [["one", "Very well."], ["two", "Very well."]]);
    assert!(export["user"]["created_at"].is_string());
    let nobody = app.get("nobody", "/chat/export").await.json();
    assert_eq!(nobody["conversations"].as_array().unwrap().len(), 0);
}

async fn nothing_is_left_after_an_erasure(db: Db) {
    let app = TestApp::start(db).await;
    let turn = app.say("d", CANARY).await.header("x-turn-id").to_owned();
    app.say("other", "Hi").await;
    for _ in 0..2 {
        assert_eq!(app.delete("d", "/chat/data").await.status, 204);
    }
    assert_eq!(
        app.get("d", &format!("/chat/stream/{turn}")).await.status,
        404
    );
    assert!(app.history("d").await.is_empty());
    assert_eq!(
        app.history("other").await,
        ["user: Hi", "assistant: Very well."]
    );
    if let Some(path) = app.database.url.strip_prefix("sqlite:") {
        for file in std::fs::read_dir(std::path::Path::new(path).parent().unwrap()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let mut windows = bytes.windows(CANARY.len());
            assert!(!windows.any(|window| window == CANARY.as_bytes()));
        }
    }
    app.delete("other", "/chat/data").await;
    for table in TABLES {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
    assert_eq!(app.say("d", "Hi").await.content(), "Very well.");
}

async fn an_erasure_ends_an_answer_that_is_on_its_way(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("d", CANARY).await;
    stream.next().await.unwrap();
    assert_eq!(app.delete("d", "/chat/data").await.status, 204);
    assert_eq!(stream.told().await, "|cancelled");
    for table in TABLES {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
}

async fn what_is_old_is_erased(db: Db) {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let app = TestApp::with(db, |settings| settings.retention.days = 30).await;
    app.say("gone", CANARY).await;
    app.say("back", CANARY).await;
    app.advance(20 * DAY).await;
    app.say("back", "Hi").await;
    app.advance(15 * DAY).await;
    // Every message also runs a piece of the maintenance.
    app.say("new", "Hi").await;
    until(async || app.count("conversations").await == 2).await;
    for (table, left) in [
        ("users", 2),
        ("conversations", 2),
        ("turns", 2),
        ("messages", 4),
    ] {
        assert_eq!(app.count(table).await, left, "{table}");
    }
    assert_eq!(
        app.count(&format!("messages where body = '{CANARY}'"))
            .await,
        0
    );
    let export = app.get("back", "/chat/export").await.json();
    assert_eq!(export["conversations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn nothing_that_is_said_is_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::start_in(directory.path(), &[("DEBUG", "true")]);
    let call = |method, path: &str| {
        let call = client().request(method, format!("{}{path}", process.url));
        call.header("X-Device-ID", CANARY)
    };
    let said = call(Method::POST, "/chat").json(&json!({"content": CANARY}));
    assert_eq!(said.send().await.unwrap().status(), 200);
    let broken = call(Method::POST, "/chat").body(format!("{{\"content\": \"{CANARY}"));
    assert_eq!(broken.send().await.unwrap().status(), 415);
    let erased = call(Method::DELETE, "/chat/data").send().await.unwrap();
    assert_eq!(erased.status(), 204);
    // The test reads a log line a moment after the server wrote it.
    until(async || process.log().contains("a visitor's data was erased")).await;
    let log = process.log();
    assert!(!log.contains(CANARY), "{log}");
}
