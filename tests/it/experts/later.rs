//! Long waits: what is kept for a visitor meanwhile, and which experts count as present.

use std::time::Duration;

use super::*;

both! {
    a_visitor_comes_back_days_later_to_what_a_person_wrote
    what_is_settled_goes_on_when_the_visitor_writes
    whoever_was_not_seen_for_a_while_is_not_there
    two_who_wait_are_given_to_two
    whoever_opens_conversations_has_a_limit
    a_form_of_an_earlier_conversation_is_answered_there
    a_note_that_cannot_be_read_hands_nothing_back
    a_person_is_asked_for_though_another_message_came
}

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn a_visitor_comes_back_days_later_to_what_a_person_wrote(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.experts.phrases = vec!["person".to_owned()]
    })
    .await;
    app.say("d", "A person, please").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    app.advance(3 * DAY).await;
    let eva = at_desk(&app, "eva", &[]).await;
    assert_eq!(eva.does("claim", &id).await.status, 200);
    write(&eva, &id, "Here I am").await;
    app.advance(3 * DAY).await;
    assert_eq!(app.history("d").await.pop().unwrap(), "expert: Here I am");
    assert_eq!(app.say("d", "At last").await.json()["mode"], "expert");
    app.advance(3 * DAY).await;
    assert_eq!(app.history("d").await.pop().unwrap(), "user: At last");
    // After the release, the session expires like any other.
    let eva = Person::expert(&app, "eva").await;
    assert_eq!(eva.does("release", &id).await.status, 200);
    app.advance(2 * DAY).await;
    assert_eq!(app.history("d").await, [""; 0]);
}

async fn what_is_settled_goes_on_when_the_visitor_writes(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    let eva = Person::with_role(&app, "eva", "admin").await;
    eva.does("claim", &id).await;
    eva.does("resolve", &id).await;
    let status = async || eva.get(&format!("/conversations/{id}")).await.json()["status"].clone();
    assert_eq!(status().await, "completed");
    app.say("d", "One more thing").await;
    assert_eq!(status().await, "active");
}

async fn whoever_was_not_seen_for_a_while_is_not_there(db: Db) {
    let app = TestApp::start(db).await;
    at_desk(&app, "eva", &[]).await;
    app.advance(Duration::from_secs(600)).await;
    let (user, id) = waiting(&app, "ann").await;
    let told = user.said_in(&id).await;
    assert!(told[1].starts_with("Nobody is at the desk"), "{told:?}");
}

async fn two_who_wait_are_given_to_two(db: Db) {
    let app = TestApp::start(db).await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    let mut assigned = Vec::new();
    for sub in ["ann", "bob"] {
        let (_, id) = waiting(&app, sub).await;
        assigned.push(eva.get(&format!("/conversations/{id}")).await.json()["assigned_to"].clone());
    }
    let own = async |who: &Person<'_>| who.get("/experts/me").await.json()["id"].clone();
    assert_eq!(assigned, [own(&eva).await, own(&max).await]);
}

async fn whoever_opens_conversations_has_a_limit(db: Db) {
    let app = TestApp::with(db, |settings| settings.limits.user_messages_per_minute = 2).await;
    let ann = Person::of(&app, "ann").await;
    for status in [201, 201, 429] {
        assert_eq!(ann.post("/conversations", json!({})).await.status, status);
    }
    assert_eq!(app.count("conversations").await, 2);
}

async fn a_form_of_an_earlier_conversation_is_answered_there(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.agents.retain(|path, _| path == "support");
        let agent = settings.agents.get_mut("support").unwrap();
        agent.widgets = vec!["choices".to_owned()];
    })
    .await;
    let ann = Person::of(&app, "ann").await;
    let data = json!({"text": "Which?", "options": ["a", "b"]}).to_string();
    app.llm.calls("", [["1", "show_choices", data.as_str()]]);
    let first = id_of(&ann.say(None, "Hi").await);
    let shown = ann
        .get(&format!("/conversations/{first}/messages"))
        .await
        .json();
    let shown = shown.as_array().unwrap().iter();
    let mut shown = shown.filter(|message| message["message_type"] == "widget");
    let widget = text(&shown.next().unwrap()["id"]);
    ann.say(None, "Something else").await;
    let path = format!("/widgets/{widget}");
    let body = json!({"answer": {"choice": "a"}});
    let mallory = Person::of(&app, "mallory").await;
    assert_eq!(mallory.post(&path, body.clone()).await.status, 404);
    assert_eq!(ann.post(&path, body.clone()).await.status, 200);
    assert_eq!(ann.post(&path, body).await.status, 409);
    let said = ann.said_in(&first).await;
    assert_eq!(said[said.len() - 2..], ["a", "Very well."], "{said:?}");
}

async fn a_note_that_cannot_be_read_hands_nothing_back(db: Db) {
    let app = TestApp::start(db).await;
    let (_, id) = waiting(&app, "ann").await;
    let eva = at_desk(&app, "eva", &[]).await;
    eva.does("claim", &id).await;
    let path = format!("/conversations/{id}/release");
    assert_eq!(eva.post(&path, json!({"note": 5})).await.status, 400);
    let call = eva.request(Method::POST, &path).body("note");
    assert_eq!(call.send().await.unwrap().status(), 415);
    assert_eq!(
        eva.get(&format!("/conversations/{id}")).await.json()["mode"],
        "expert"
    );
    // A release needs no note.
    let call = eva.request(Method::POST, &path).send().await.unwrap();
    assert_eq!(call.status(), 200);
}

async fn a_person_is_asked_for_though_another_message_came(db: Db) {
    let app = TestApp::start(db).await;
    let ann = Person::of(&app, "ann").await;
    app.llm.says(["a", "b"]).pause_after(1);
    let body = |message: &str| json!({"session_id": "s", "message": message});
    let waiting = async |count| until(async || app.app.engine.waiting() == count).await;
    let running = async || {
        app.count("conversations where running_turn is not null")
            .await
            == 1
    };
    let (first, asked, last, ()) = tokio::join!(
        ann.post("/end-user", body("Hi")),
        async {
            until(running).await;
            ann.post("/expert", body("A person, please")).await
        },
        async {
            waiting(1).await;
            ann.post("/end-user", body("Hello?")).await
        },
        async {
            waiting(2).await;
            app.llm.go_on();
        }
    );
    assert_eq!(first.json()["content"], "ab");
    assert_eq!(
        (asked.status.as_u16(), last.json()["content"].clone()),
        (200, json!(""))
    );
    let list = ann.get("/conversations").await.json();
    assert_eq!(list["conversations"][0]["mode"], "expert");
}
