//! How a user's conversation begins: with a context, a token or a session id, or before the user signed in.

use super::*;

both! {
    what_was_said_before_signing_in_is_kept
    an_id_alone_proves_nothing
    a_session_has_the_name_that_its_client_gave_it
    claims_are_known_to_agents
    a_context_opens_a_conversation
}

async fn what_was_said_before_signing_in_is_kept(db: Db) {
    let app = TestApp::start(db).await;
    app.say("laptop", "Before").await;
    let id = app.get("laptop", "/chat/session").await.json()["conversation_id"].clone();
    let ann = Person::of(&app, "ann").await;
    let keep = async || {
        let call = ann.request(Method::POST, "/conversations");
        let call = call.header("X-Device-ID", "laptop");
        Said::of(
            call.json(&json!({"anonymous_id": "laptop"}))
                .send()
                .await
                .unwrap(),
        )
        .await
    };
    let kept = keep().await;
    assert_eq!(
        (kept.status.as_u16(), &kept.json()["id"]),
        (201, &id),
        "{}",
        kept.text
    );
    let id = text(&id);
    ann.say(Some(&id), "After").await;
    assert_eq!(
        ann.said_in(&id).await,
        ["Before", "Very well.", "After", "Very well."]
    );
    // The device no longer sees the conversation: it now belongs to the user.
    assert_eq!(app.history("laptop").await, [""; 0]);
    app.say("laptop", "Somebody else").await;
    assert_eq!(ann.get("/conversations").await.json()["total"], 1);
    assert_eq!(app.count("users").await, 2);
}

async fn an_id_alone_proves_nothing(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.says(["a", "b"]).pause_after(1);
    let mut stream = app.stream("laptop", "Secret").await;
    stream.next().await.unwrap();
    let mallory = Person::of(&app, "mallory").await;
    for device in [None, Some("another")] {
        let mut call = mallory.request(Method::POST, "/conversations");
        if let Some(device) = device {
            call = call.header("X-Device-ID", device);
        }
        let call = call.json(&json!({"anonymous_id": "laptop"}));
        let refused = Said::of(call.send().await.unwrap()).await;
        assert_eq!(refused.status, 403, "{}", refused.text);
    }
    // While an answer runs, even the device itself cannot move the conversation to a user.
    let call = mallory
        .request(Method::POST, "/conversations")
        .header("X-Device-ID", "laptop");
    let call = call.json(&json!({"anonymous_id": "laptop"}));
    assert_eq!(call.send().await.unwrap().status(), 409);
    app.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(app.history("laptop").await.len(), 2);
    assert_eq!(mallory.get("/conversations").await.json()["total"], 0);
}

async fn a_session_has_the_name_that_its_client_gave_it(db: Db) {
    let app = TestApp::start(db).await;
    let (ann, bob) = (Person::of(&app, "ann").await, Person::of(&app, "bob").await);
    let say = async |who: &Person<'_>, message: &str| {
        let body =
            json!({"session_id": "my cart #1", "message": message, "metadata": {"page": "/cart"}});
        let said = who.call(Method::POST, "/end-user", body).await;
        assert_eq!(said.status, 200, "{}", said.text);
        said
    };
    assert_snapshot!("end_user", say(&ann, "Hi").await.shown());
    say(&ann, "Again").await;
    say(&bob, "Mine").await;
    assert_eq!(app.count("conversations").await, 2);
    let history = ann.get("/history/my%20cart%20%231").await;
    assert_snapshot!("session_history", history.shown());
    // The conversation's id works as a session id, too.
    let id = text(&ann.get("/conversations").await.json()["conversations"][0]["id"]);
    let body = json!({"session_id": id, "message": "By its id"});
    ann.call(Method::POST, "/end-user", body).await;
    assert_eq!(ann.said_in(&id).await.len(), 6);
    assert_eq!(ann.get("/history/another").await.status, 404);
    // Simultaneous first messages create only one conversation.
    let body = json!({"session_id": "new", "message": "Hi"});
    let both = || ann.call(Method::POST, "/end-user", body.clone());
    tokio::join!(both(), both(), both());
    assert_eq!(
        app.count("conversations where session_key = 'new'").await,
        1
    );
}

async fn claims_are_known_to_agents(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.auth.jwt_secret =
            frontdesk::config::Secret::new("0123456789abcdef0123456789abcdef");
        let agent = settings.agents.get_mut("support").unwrap();
        agent.context = Some(json!({"type": "object", "properties": {
            "customer_id": {"type": "string"}, "plan": {"type": "string", "default": "free"},
            "page": {"type": "string"},
        }, "required": ["customer_id"]}));
        agent.context_from_visitor = vec!["page".to_owned()];
    })
    .await;
    let claims = json!({
        "sub": "ann", "exp": app.now().0 / 1_000_000 + 60, "customer_id": "C-7", "plan": 3, "email": "a@example.com",
    });
    let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let ann = Person { app: &app, token };
    let from = async |page: &str| {
        let body = json!({"content": "Hi", "agent": "support", "context": {"page": page}});
        let call = ann.request(Method::POST, "/messages");
        let call = call.header("Idempotency-Key", "k").json(&body);
        Said::of(call.send().await.unwrap()).await
    };
    for _ in 0..2 {
        let said = from("/cart").await;
        assert_eq!(said.status, 200, "{}", said.text);
    }
    assert_eq!(from("/").await.json()["code"], "idempotency_key_reused");
    let body = json!({"content": "Hi", "agent": "support", "context": {"customer_id": "C-8"}});
    assert_eq!(
        ann.call(Method::POST, "/messages", body).await.json()["code"],
        "invalid_context"
    );
    ann.say(None, "Without a word").await;
    let known = async |what: &str| app.count(&format!("conversations where {what}")).await;
    assert_eq!(known("context ->> 'customer_id' = 'C-7'").await, 2);
    assert_eq!(
        known("context ->> 'page' = '/cart' and context ->> 'plan' = 'free'").await,
        1
    );
    assert_eq!(known("context ->> 'email' is not null").await, 0);
}

async fn a_context_opens_a_conversation(db: Db) {
    let app = TestApp::offline(db).await;
    let ann = Person::of(&app, "ann").await;
    let open = async |body: Value| ann.call(Method::POST, "/conversations", body).await;
    let opened = open(json!({"agent_path": "support"})).await.json();
    assert_eq!(
        (&opened["agent_path"], &opened["message_count"]),
        (&json!("support"), &json!(0))
    );
    assert_eq!(
        open(json!({"agent_path": "nobody"})).await.json()["code"],
        "unknown_agent"
    );
    for wrong in [
        json!({"context": {"a": 1}}),
        json!({"agent_path": "support", "context": {"a": 1}}),
    ] {
        assert_eq!(open(wrong).await.json()["code"], "invalid_context");
    }
    // Rust code can do the same, and the user finds the conversation.
    let rust = app.conversations();
    let made = rust
        .open_for_user("support", "ann", Map::new())
        .await
        .unwrap();
    rust.send(&made, "From Rust").await.unwrap();
    let id = made.conversation_id.to_string();
    assert_eq!(ann.said_in(&id).await[0], "From Rust");
    assert_eq!(rust.list_for_user("ann").await.unwrap().len(), 2);
}
