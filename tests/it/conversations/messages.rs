//! Messages of signed-in users, and their answers.

use super::*;

both! {
    an_answer_streams_and_is_resumed
    a_repeated_message_is_one_conversation
    a_conversation_keeps_its_agent
    messages_to_different_conversations_do_not_wait_for_each_other
    users_have_a_limit_of_their_own
    bad_input_is_refused
}

async fn an_answer_streams_and_is_resumed(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    app.llm.says(["a", "b", "c"]).pause_after(1);
    let mut stream = ann.stream(None, "Hi").await;
    let seen = stream.next().await.unwrap();
    let path = format!("/messages/stream/{}", stream.turn_id());
    drop(stream);
    app.llm.go_on();
    let resume = async || {
        let call = ann.request(Method::GET, &path);
        Stream::of(call.header("Last-Event-ID", &seen.id).send().await.unwrap())
    };
    assert_eq!(resume().await.told().await, "bc|stop");
    assert_eq!(resume().await.told().await, "bc|stop");
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = ann.stream(None, "Stop").await;
    stream.next().await.unwrap();
    let stopped = ann
        .delete(&format!("/messages/stream/{}", stream.turn_id()))
        .await;
    assert_eq!(stopped.status, 204);
    assert_eq!(stream.told().await, "|cancelled");
}

async fn a_repeated_message_is_one_conversation(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    let send = async |content: &str| {
        let call = ann.request(Method::POST, "/messages");
        let call = call
            .header("Idempotency-Key", "k")
            .json(&json!({"content": content}));
        Said::of(call.send().await.unwrap()).await
    };
    let first = send("Hi").await.json();
    let again = send("Hi").await.json();
    assert_eq!(first, again);
    assert_eq!(send("Else").await.status, 422);
    assert_eq!(
        (
            app.count("conversations").await,
            app.count("messages").await
        ),
        (1, 2)
    );
    // An idempotency key belongs to one user.
    let bob = Person::of(&app, "bob").await;
    let call = bob
        .request(Method::POST, "/messages")
        .header("Idempotency-Key", "k");
    let own = Said::of(call.json(&json!({"content": "Hi"})).send().await.unwrap()).await;
    assert_ne!(id_of(&own.json()), id_of(&first));
}

async fn a_conversation_keeps_its_agent(db: Db) {
    let app = TestApp::offline(db).await;
    let ann = Person::of(&app, "ann").await;
    let on = async |agent: Option<&str>, conversation: Option<&str>| {
        let body = json!({"content": "Hi", "agent": agent, "conversation_id": conversation});
        let said = ann.call(Method::POST, "/messages", body).await.json();
        let id = id_of(&said);
        let shown = ann.get(&format!("/conversations/{id}")).await.json();
        (id, text(&shown["agent_path"]))
    };
    let (first, agent) = on(Some("scheduling"), None).await;
    assert_eq!(agent, "scheduling");
    let (second, agent) = on(Some("support"), None).await;
    assert_eq!(agent, "support");
    assert_eq!(on(None, Some(&first)).await.1, "scheduling");
    assert_eq!(on(None, Some(&second)).await.1, "support");
    // Even after 25 hours.
    app.advance(Duration::from_secs(90_000)).await;
    let ann = Person::of(&app, "ann").await;
    ann.say(Some(&first), "Still there?").await;
    let shown = ann.get(&format!("/conversations/{first}")).await.json();
    assert_eq!(shown["agent_path"], "scheduling");
}

async fn messages_to_different_conversations_do_not_wait_for_each_other(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut busy = ann.stream(None, "One").await;
    busy.next().await.unwrap();
    let id = busy.conversation_id();
    let (waits, other) = tokio::join!(ann.stream(Some(&id), "Two"), async {
        until(async || app.app.engine.waiting() == 1).await;
        let said = ann.say(None, "Elsewhere").await;
        app.llm.go_on();
        said
    });
    assert_eq!(other["ai_message"]["content"], "Very well.");
    assert_eq!(busy.told().await, "b|stop");
    assert_eq!(waits.told().await, "Very well.|stop");
    assert_eq!(ann.said_in(&id).await, ["One", "ab", "Two", "Very well."]);
}

async fn users_have_a_limit_of_their_own(db: Db) {
    let app = TestApp::with(db, |settings| settings.limits.user_messages_per_minute = 2).await;
    let (ann, bob) = (Person::of(&app, "ann").await, Person::of(&app, "bob").await);
    ann.say(None, "1").await;
    ann.say(None, "2").await;
    let limited = ann
        .call(Method::POST, "/messages", json!({"content": "3"}))
        .await;
    assert_eq!(limited.status, 429);
    assert!(!limited.header("retry-after").is_empty());
    bob.say(None, "1").await;
    assert_eq!(app.count("messages where role = 'user'").await, 3);
}

async fn bad_input_is_refused(db: Db) {
    let app = TestApp::offline(db).await;
    let ann = Person::of(&app, "ann").await;
    let long = "a".repeat(10_001);
    for (path, body, param) in [
        ("/messages", json!({}), "content"),
        ("/messages", json!({"content": long}), "content"),
        (
            "/messages",
            json!({"content": "a", "conversation_id": 7}),
            "conversation_id",
        ),
        (
            "/end-user",
            json!({"session_id": "", "message": "a"}),
            "session_id",
        ),
        (
            "/end-user",
            json!({"session_id": "a".repeat(256), "message": "a"}),
            "session_id",
        ),
        (
            "/end-user",
            json!({"session_id": "a\0", "message": "a"}),
            "session_id",
        ),
        (
            "/end-user",
            json!({"session_id": "a", "message": " "}),
            "message",
        ),
        (
            "/end-user",
            json!({"session_id": "a", "message": long}),
            "message",
        ),
    ] {
        let refused = ann.call(Method::POST, path, body).await;
        assert_eq!(refused.status, 400, "{path}: {}", refused.text);
        assert_eq!(refused.json()["param"], param, "{path}: {}", refused.text);
    }
    let body = json!({"content": "a", "conversation_id": "0198c0de-0000-7000-8000-000000000000"});
    assert_eq!(ann.call(Method::POST, "/messages", body).await.status, 404);
    for path in ["/conversations/x", "/conversations/x/messages", "/nothing"] {
        assert_eq!(ann.get(path).await.status, 404);
    }
    assert_eq!(ann.delete("/messages").await.status, 405);
    assert_eq!(
        (
            app.count("messages").await,
            app.count("conversations").await
        ),
        (0, 0)
    );
}
