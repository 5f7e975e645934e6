//! Experts' messages, which belong to no turn.

use super::*;

both! {
    what_a_person_writes_arrives
    what_is_anothers_is_neither_written_nor_stopped
}

async fn what_a_person_writes_arrives(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let mut socket = Socket::of(&ann).await;
    // In a conversation that began on this socket.
    socket.say(message("Hi")).await;
    let frames = socket.until(|frame| frame["mode"] == "ai").await;
    let id = text(&frames.last().unwrap()["conversation_id"]);
    let eva = Person::expert(&app, "eva").await;
    assert_eq!(eva.does("claim", &id).await.status, 200);
    socket.until(|frame| frame["mode"] == "expert").await;
    let user = ann.get(&format!("/conversations/{id}")).await.json()["user_id"].clone();
    let body = json!({"session_id": id, "message": "Hello!", "target_user_id": user});
    assert_eq!(eva.post("/passthrough", body).await.status, 200);
    let written = socket
        .until(|frame| frame["type"] == "expert_message")
        .await
        .pop()
        .unwrap();
    assert_eq!(
        (&written["content"], &written["conversation_id"]),
        (&json!("Hello!"), &json!(id))
    );
    socket
        .say(json!({"type": "message", "content": "Thanks", "conversation_id": id}))
        .await;
    let left = socket
        // Not the end of the first answer, if the claim stopped it: that one says what to keep.
        .until(|frame| frame["finish_reason"] == "handoff" && frame["keep"].is_null())
        .await
        .pop()
        .unwrap();
    // Messages written while nobody is connected arrive after a resume.
    drop(socket);
    let user = ann.get(&format!("/conversations/{id}")).await.json()["user_id"].clone();
    let body = json!({"session_id": id, "message": "Bye!", "target_user_id": user});
    assert_eq!(eva.post("/passthrough", body).await.status, 200);
    let mut socket = Socket::of(&ann).await;
    socket
        .say(json!({"type": "resume", "id": written["id"]}))
        .await;
    let missed = socket
        .until(|frame| frame["type"] == "expert_message")
        .await;
    assert_eq!(missed.last().unwrap()["content"], "Bye!");
    // Also after a resume from a turn's frame.
    let mut socket = Socket::of(&ann).await;
    socket
        .say(json!({"type": "resume", "id": left["id"]}))
        .await;
    let missed = socket
        .until(|frame| frame["type"] == "expert_message")
        .await;
    assert_eq!(missed.last().unwrap()["content"], "Bye!");
    let id = "\u{0}";
    socket
        .say(json!({"type": "message", "content": "Hi", "client_message_id": id}))
        .await;
    let refused = socket.until(|frame| frame["type"] == "error").await;
    let refused = &refused.last().unwrap()["error"];
    assert_eq!(refused["param"], "client_message_id");
}

async fn what_is_anothers_is_neither_written_nor_stopped(db: Db) {
    let app = TestApp::start(db).await;
    let (ann, bob) = (Person::of(&app, "ann").await, Person::of(&app, "bob").await);
    app.llm.says(["a", "b"]).pause_after(1);
    let mut answer = ann.stream(None, "Hi").await;
    answer.next().await.unwrap();
    let (turn, id) = (
        answer.turn_id(),
        answer.header("x-conversation-id").to_owned(),
    );
    let before = (app.count("messages").await, app.count("turns").await);
    let mut socket = Socket::of(&bob).await;
    for said in [
        json!({"type": "message", "content": "Hi", "conversation_id": id}),
        json!({"type": "stop", "turn_id": turn}),
    ] {
        socket.say(said).await;
        assert_eq!(socket.next().await["error"]["code"], "not_found");
    }
    socket
        .say(json!({"type": "typing", "conversation_id": id}))
        .await;
    app.llm.go_on();
    assert_eq!(answer.told().await, "b|stop");
    assert_eq!(app.count("messages").await, before.0 + 1);
    assert_eq!(app.count("turns").await, before.1);
    assert_eq!(
        app.count("conversations where visitor_types_until is not null")
            .await,
        0
    );
}
