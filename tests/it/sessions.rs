//! Session locks.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::support::{Db, TestApp, until};

const DAY: Duration = Duration::from_secs(86_400);

both! {
    a_session_is_shown
    a_lock_remembers_agent_and_conversation_across_instances
    an_expired_lock_starts_a_new_conversation_through_the_router
    every_message_refreshes_the_lock
    a_cleared_lock_starts_a_new_conversation
    a_request_can_move_the_session_to_an_agent
    an_agent_may_have_a_life_of_its_own
    expired_locks_are_cleaned_up_in_batches
    every_turn_does_a_piece_of_the_housekeeping
    two_sweepers_share_the_work
}

async fn a_session_is_shown(db: Db) {
    let app = TestApp::start(db).await;
    assert_snapshot!("no_session", app.get("d", "/chat/session").await.shown());
    app.say("d", "Hi").await;
    assert_snapshot!("session", app.get("d", "/chat/session").await.shown());
}

async fn session(app: &TestApp, device: &str) -> Value {
    app.get(device, "/chat/session").await.json()
}

async fn a_lock_remembers_agent_and_conversation_across_instances(db: Db) {
    let app = TestApp::start(db).await;
    let first = app.say("d", "Hi").await.json();
    let instance = app.another().await;
    let second = instance.say("d", "Still me").await.json();
    assert_eq!(first["conversation_id"], second["conversation_id"]);
    assert_eq!(second["agent"], "scheduling");
    assert_eq!(app.llm.routed(), 1);
}

async fn an_expired_lock_starts_a_new_conversation_through_the_router(db: Db) {
    let app = TestApp::start(db).await;
    let first = app.say("d", "Hi").await.json();
    app.advance(DAY + Duration::from_secs(1)).await;
    assert_eq!(session(&app, "d").await["conversation_id"], Value::Null);
    assert_eq!(app.history("d").await, Vec::<String>::new());
    let second = app.say("d", "Hi again").await.json();
    assert_ne!(first["conversation_id"], second["conversation_id"]);
    assert_eq!(app.llm.routed(), 2);
    assert_eq!(app.llm.asked()[1].conversation(), ["user: Hi again"]);
}

async fn every_message_refreshes_the_lock(db: Db) {
    let app = TestApp::start(db).await;
    let first = app.say("d", "Hi").await.json();
    for _ in 0..3 {
        app.advance(DAY - Duration::from_secs(60)).await;
        assert_eq!(
            app.say("d", "Still me").await.json()["conversation_id"],
            first["conversation_id"]
        );
    }
}

async fn a_cleared_lock_starts_a_new_conversation(db: Db) {
    let app = TestApp::start(db).await;
    let first = app.say("d", "Hi").await.json();
    assert_eq!(app.delete("d", "/chat/session").await.status, 204);
    assert_eq!(
        app.delete("d", "/chat/session").await.status,
        204,
        "twice is as good"
    );
    assert_ne!(
        app.say("d", "Hi").await.json()["conversation_id"],
        first["conversation_id"]
    );
}

async fn a_request_can_move_the_session_to_an_agent(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    let moved = app
        .post(
            "d",
            "/chat/stream",
            json!({"content": "Hi", "agent": "support"}),
        )
        .await;
    assert_snapshot!("agent_frame", crate::support::tidy(&moved.text));
    assert_eq!(session(&app, "d").await["active_agent"], "support");
    assert!(app.llm.asked()[1].system().contains("support desk"));
    let stays = app
        .post(
            "d",
            "/chat/stream",
            json!({"content": "Hi", "agent": "support"}),
        )
        .await;
    assert!(!stays.text.contains(r#""type":"agent""#));
    let unknown = app
        .post("d", "/chat", json!({"content": "Hi", "agent": "sales"}))
        .await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["code"].as_str()),
        (404, Some("unknown_agent"))
    );
    assert_eq!(
        app.history("d").await.len(),
        6,
        "the refused message is not kept"
    );
    // A session may begin with a chosen agent, too.
    app.post("new", "/chat", json!({"content": "Hi", "agent": "support"}))
        .await;
    assert_eq!(
        (
            session(&app, "new").await["active_agent"].as_str(),
            app.llm.routed()
        ),
        (Some("support"), 1)
    );
}

async fn an_agent_may_have_a_life_of_its_own(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings
            .agents
            .get_mut("scheduling")
            .unwrap()
            .session_ttl_seconds = Some(600);
    })
    .await;
    let first = app.say("d", "Hi").await.json();
    assert_eq!(session(&app, "d").await["session_ttl"], 600);
    app.advance(Duration::from_secs(500)).await;
    app.say("d", "Hi").await;
    app.advance(Duration::from_secs(500)).await;
    assert_eq!(
        session(&app, "d").await["conversation_id"],
        first["conversation_id"]
    );
    app.advance(Duration::from_secs(200)).await;
    assert_eq!(session(&app, "d").await["conversation_id"], Value::Null);
}

async fn expired_locks_are_cleaned_up_in_batches(db: Db) {
    let app = TestApp::offline(db).await;
    for device in 0..5 {
        app.say(&format!("d{device}"), "Hi").await;
    }
    app.advance(DAY + Duration::from_secs(1)).await;
    assert_eq!(app.app.store.clean_up_sessions(3).await.unwrap(), 3);
    assert_eq!(app.app.engine.sessions().clean_up(10).await.unwrap(), 2);
    assert_eq!(app.app.engine.sessions().clean_up(10).await.unwrap(), 0);
}

async fn every_turn_does_a_piece_of_the_housekeeping(db: Db) {
    let app = TestApp::offline(db).await;
    app.say("old", "Hi").await;
    app.advance(DAY + Duration::from_secs(1)).await;
    app.say("new", "Hi").await;
    until(async || app.count("session_locks where device_id = 'old'").await == 0).await;
}

async fn two_sweepers_share_the_work(db: Db) {
    let app = TestApp::offline(db).await;
    for device in 0..10 {
        app.say(&format!("d{device}"), "Hi").await;
    }
    app.advance(DAY + Duration::from_secs(1)).await;
    let sweepers = (0..4).map(|_| app.app.engine.sessions().clean_up(3));
    let swept: usize = futures_util::future::join_all(sweepers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .sum();
    assert_eq!(swept, 10);
}
