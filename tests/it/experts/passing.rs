//! `POST /passthrough`: an expert's message goes straight to the visitor, even while an agent answers.

use super::*;

both! {
    a_person_writes_into_an_answer_that_is_on_its_way
    what_is_sent_twice_is_said_once
    what_a_visitor_attaches_tells_the_desk_nothing
}

async fn a_person_writes_into_an_answer_that_is_on_its_way(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    // An admin sees every conversation, and may write without claiming it.
    let admin = Person::with_role(&app, "root", "admin").await;
    app.llm.says(["It takes ", "a week."]).pause_after(1);
    let mut answer = app.stream("d", "How long does it take?").await;
    assert_eq!(answer.next().await.unwrap().content(), "It takes ");
    assert_eq!(write(&admin, &id, "Two days, in fact.").await.status, 200);
    app.llm.go_on();
    let frames = answer.rest().await;
    assert_eq!(frames.last().unwrap().data["finish_reason"], "stop");
    // Neither message cuts off the other; they are ordered by when they end.
    assert_eq!(
        app.history("d").await[2..],
        [
            "user: How long does it take?",
            "expert: Two days, in fact.",
            "assistant: It takes a week."
        ]
    );
    // The agent still answers, and knows what the admin wrote.
    assert_eq!(app.get("d", "/chat/session").await.json()["mode"], "ai");
    app.say("d", "Thanks").await;
    let asked = app.llm.asked().pop().unwrap().body["messages"].to_string();
    assert!(
        asked.contains("[A person at the desk:] Two days, in fact."),
        "{asked}"
    );
}

async fn what_is_sent_twice_is_said_once(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (user, id) = waiting(&app, "ann").await;
    eva.does("claim", &id).await;
    let target = user.get(&format!("/conversations/{id}")).await.json()["user_id"].clone();
    let send = async |key: &'static str, message: &str| {
        let body = json!({"session_id": id, "message": message, "target_user_id": target});
        let call = eva.request(Method::POST, "/passthrough").json(&body);
        Said::of(call.header("Idempotency-Key", key).send().await.unwrap()).await
    };
    let first = send("1", "Hello!").await;
    assert_eq!(send("1", "Hello!").await.json(), first.json());
    assert_eq!(
        send("1", "Bye!").await.json()["code"],
        "idempotency_key_reused"
    );
    send("2", "Hello!").await;
    assert_eq!(user.said_in(&id).await[3..], ["Hello!", "Hello!"]);
    assert_eq!(app.count("audit_log where action = 'write'").await, 2);
}

/// The server's own metadata keys have no effect in a visitor's message.
async fn what_a_visitor_attaches_tells_the_desk_nothing(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "You owe me money").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    let history = app.get("d", "/chat/history").await.json();
    let eva = at_desk(&app, "eva", &[]).await;
    eva.does("claim", &id).await;
    let path = format!("/conversations/{id}/events");
    let mut stream = standing::standing(&eva, &path).await;
    let metadata = json!({
        "asks_for": "person", "asks_for_skill": "billing", "call_id": "1", "round": 0,
        "retracts": [history["messages"][0]["id"]],
    });
    let body = json!({"content": "Never mind", "metadata": metadata});
    assert_eq!(app.post("d", "/chat", body.clone()).await.status, 200);
    let seen = loop {
        let event = stream.next().await.unwrap().data;
        assert_ne!(event["type"], "retract");
        if event["type"] == "message" {
            break event;
        }
    };
    assert_eq!(seen["message"]["content"], "Never mind");
    assert_eq!(app.post("e", "/chat", body).await.content(), "Very well.");
    assert_eq!(app.get("e", "/chat/session").await.json()["mode"], "ai");
}
