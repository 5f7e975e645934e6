//! Typing signals over a WebSocket.

use super::*;
use crate::support::id_of;

both! {
    what_a_user_says_on_all_sockets_is_counted
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
    // Without an id, a typing signal is for the socket's last conversation.
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

/// Stop requests on eight sockets count together, so that they do not take the database from others.
async fn what_a_user_says_on_all_sockets_is_counted(db: Db) {
    const MOST: usize = 20;
    let app = TestApp::with(db, |settings| {
        settings.limits.device_requests_per_minute = u32::try_from(MOST).unwrap();
    })
    .await;
    let ann = Person::of(&app, "ann").await;
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(Socket::of(&ann).await);
    }
    let mut refused = 0;
    for _ in 0..3 {
        for socket in &mut sockets {
            let stop = json!({"type": "stop", "turn_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01"});
            socket.say(stop).await;
            let seen = socket.until(|frame| frame["error"].is_object()).await;
            refused += usize::from(seen.last().unwrap()["error"]["code"] == "rate_limited");
        }
    }
    // Each connection counts as a request, too.
    assert_eq!(refused, 8 + 3 * 8 - MOST);
    assert_eq!(app.say("bystander", "Hi").await.content(), "Very well.");
}
