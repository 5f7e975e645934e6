//! Who is writing, over a WebSocket.

use super::*;
use crate::support::id_of;

both! {
    both_sides_are_told_who_is_writing
}

async fn both_sides_are_told_who_is_writing(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let eva = Person::expert(&app, "eva").await;
    let mut socket = Socket::of(&ann).await;
    socket
        .say(json!({"type": "message", "content": "Hi"}))
        .await;
    let (_, frames) = socket.answer().await;
    let id = id_of(frames.last().unwrap());
    assert_eq!(eva.does("claim", &id).await.status, 200);
    socket.until(|frame| frame["mode"] == "expert").await;
    // Without its id it is the conversation that was spoken of last.
    socket.say(json!({"type": "typing"})).await;
    let typing = "conversations where visitor_types_until is not null";
    crate::support::until(async || app.count(typing).await == 1).await;
    assert_eq!(eva.does("typing", &id).await.status, 204);
    let told = socket.until(|frame| frame["type"] == "typing").await;
    let told = told.last().unwrap();
    assert_eq!(
        (&told["role"], &told["is_typing"], &told["conversation_id"]),
        (&json!("expert"), &json!(true), &json!(id))
    );
}
