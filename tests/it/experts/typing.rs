//! Typing signals: sent to the other side while an expert has claimed the conversation, and to nobody else.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::support::{Stream, until};

both! {
    each_side_is_told_that_the_other_writes
    nobody_is_told_what_is_anothers
}

/// Reads up to the next typing event: its role, and whether that side is typing.
async fn next(stream: &mut Stream) -> (Value, bool) {
    loop {
        let next = timeout(Duration::from_secs(10), stream.next());
        let event = next.await.expect("in time").unwrap().data;
        if event["type"] == "typing" {
            return (event["role"].clone(), event["is_typing"].as_bool().unwrap());
        }
    }
}

async fn each_side_is_told_that_the_other_writes(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    let eva = at_desk(&app, "eva", &[]).await;
    let types = async || app.post("d", "/chat/typing", json!({})).await.status;
    // While an agent answers, a typing signal is accepted but not stored.
    assert_eq!(types().await, 204);
    let typing = "conversations where visitor_types_until is not null";
    assert_eq!(app.count(typing).await, 0);
    assert_eq!(eva.does("claim", &id).await.status, 200);
    let path = format!("/conversations/{id}/events");
    let mut desk = Stream::of(eva.request(Method::GET, &path).send().await.unwrap());
    let call = app.request(Method::GET, "d", "/chat/events");
    let mut visitor = Stream::of(call.send().await.unwrap());
    assert_eq!(types().await, 204);
    assert_eq!(next(&mut desk).await, (json!("user"), true));
    assert_eq!(eva.does("typing", &id).await.status, 204);
    assert_eq!(next(&mut visitor).await, (json!("expert"), true));
    // A typing signal ends by itself after 5 s.
    app.advance(Duration::from_secs(6)).await;
    assert_eq!(next(&mut desk).await, (json!("user"), false));
    assert_eq!(next(&mut visitor).await, (json!("expert"), false));
}

async fn nobody_is_told_what_is_anothers(db: Db) {
    let app = TestApp::start(db).await;
    let (_ann, id) = waiting(&app, "ann").await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    assert_eq!(eva.does("claim", &id).await.status, 200);
    let bob = Person::of(&app, "bob").await;
    for other in [&bob, &max] {
        assert_eq!(other.does("typing", &id).await.status, 404);
    }
    let typing =
        "conversations where coalesce(visitor_types_until, expert_types_until) is not null";
    assert_eq!(app.count(typing).await, 0);
    assert_eq!(eva.does("typing", &id).await.status, 204);
    until(async || app.count(typing).await == 1).await;
}
