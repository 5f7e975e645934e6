//! Experts: the queue, claims and releases, and what visitors, agents and experts see of them.

mod later;
mod passing;
mod queue;
mod rights;
mod standing;
mod takeover;
mod together;
mod typing;

use insta::assert_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Db, Person, Said, TestApp, id_of, text, until};

both! {
    a_visitor_asks_for_a_person_and_comes_back_to_the_agents
    a_message_to_a_person_is_stored_and_not_answered
    one_of_two_who_claim_at_once_has_it
    an_agent_hands_the_conversation_to_a_person
    words_ask_for_a_person
    who_has_it_passes_it_on_or_closes_it
    the_agent_proposes_and_the_person_sends
}

/// A user whose conversation waits for an expert.
async fn waiting<'a>(app: &'a TestApp, sub: &str) -> (Person<'a>, String) {
    let user = Person::of(app, sub).await;
    let body = json!({"session_id": "s", "message": "I want a person"});
    let asked = user.post("/expert", body).await;
    assert_eq!(asked.status, 200, "{}", asked.text);
    let list = user.get("/conversations").await.json();
    (user, text(&list["conversations"][0]["id"]))
}

/// An expert who is available.
async fn at_desk<'a>(app: &'a TestApp, sub: &str, skills: &[&str]) -> Person<'a> {
    let expert = Person::expert(app, sub).await;
    let presence = json!({"available": true, "skills": skills, "name": sub.to_uppercase()});
    let said = expert.call(Method::PUT, "/experts/me", presence).await;
    assert_eq!(said.status, 200, "{}", said.text);
    expert
}

/// Sends an expert's message to the owner of a conversation.
async fn write(expert: &Person<'_>, conversation: &str, message: &str) -> Said {
    let shown = expert
        .get(&format!("/conversations/{conversation}"))
        .await
        .json();
    let body =
        json!({"session_id": conversation, "message": message, "target_user_id": shown["user_id"]});
    expert.post("/passthrough", body).await
}

/// The ids in an expert's queue: waiting conversations, and those the expert has claimed.
async fn queue(expert: &Person<'_>) -> Vec<String> {
    let queue = expert.get("/experts/queue").await.json();
    let queue = queue["conversations"].as_array().unwrap().iter();
    queue.map(id_of).collect()
}

async fn a_visitor_asks_for_a_person_and_comes_back_to_the_agents(db: Db) {
    let app = TestApp::start(db).await;
    let user = Person::of(&app, "ann").await;
    let body = json!({"session_id": "s", "message": "I want a person"});
    let nobody = user.post("/expert", body).await;
    assert_snapshot!("asked", nobody.shown());
    assert_eq!(app.llm.asked().len(), 0);
    let expert = at_desk(&app, "eva", &[]).await;
    let id = queue(&expert).await.remove(0);
    let claimed = expert.does("claim", &id).await;
    assert_snapshot!("claimed", claimed.shown());
    // A second claim changes nothing.
    assert_eq!(expert.does("claim", &id).await.json(), claimed.json());
    let written = write(&expert, &id, "How can I help?").await;
    assert_eq!(
        (written.status.as_u16(), &written.json()["role"]),
        (200, &json!("expert")),
        "{}",
        written.text
    );
    let answered = user.say(Some(&id), "My order is late").await;
    assert_eq!(
        (&answered["ai_message"], &answered["mode"]),
        (&json!(null), &json!("expert"))
    );
    let note = json!({"note": "Order 7 was sent again."});
    let released = expert
        .post(&format!("/conversations/{id}/release"), note)
        .await;
    assert_eq!(released.json()["mode"], "ai", "{}", released.text);
    assert_eq!(
        user.say(Some(&id), "Thanks. And my invoice?").await["ai_message"]["content"],
        "Very well."
    );
    assert_snapshot!("told", user.said_in(&id).await.join("\n"));
    // The agent knows what the user and the expert wrote, and who wrote it.
    let asked = app.llm.asked().pop().unwrap().body["messages"].to_string();
    for known in [
        "[A person at the desk:] How can I help?",
        "My order is late",
        "Order 7 was sent again.",
        "settled",
    ] {
        assert!(asked.contains(known), "{known}: {asked}");
    }
    // The user does not see the note for the agents.
    assert!(
        !user
            .get(&format!("/conversations/{id}/messages"))
            .await
            .text
            .contains("Order 7")
    );
}

async fn a_message_to_a_person_is_stored_and_not_answered(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Hi").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    let expert = at_desk(&app, "eva", &[]).await;
    assert_eq!(expert.does("claim", &id).await.status, 200);
    let streamed = app.stream("d", "Are you there?").await;
    assert_snapshot!("streamed", streamed.transcript().await);
    let said = app.say("d", "Hello?").await.json();
    assert_eq!(
        (&said["content"], &said["mode"], &said["finish_reason"]),
        (&json!(""), &json!("expert"), &json!("handoff"))
    );
    assert_eq!(app.get("d", "/chat/session").await.json()["mode"], "expert");
    assert_eq!(app.llm.asked().len(), 1);
    let history = app.history("d").await;
    assert_eq!(
        history[2..],
        [
            "system: EVA is with you now.",
            "user: Are you there?",
            "user: Hello?"
        ]
    );
}

async fn one_of_two_who_claim_at_once_has_it(db: Db) {
    let app = TestApp::start(db).await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    for _ in 0..10 {
        let user = Person::of(&app, "ann").await;
        let id = id_of(&user.say(None, "Hi").await);
        let (one, other) = tokio::join!(eva.does("claim", &id), max.does("claim", &id));
        let mut both = [(one.status.as_u16(), &eva), (other.status.as_u16(), &max)];
        both.sort_by_key(|(status, _)| *status);
        let [(200, winner), (409, loser)] = both else {
            panic!("{} and {}", one.text, other.text)
        };
        let lost = if one.status == 409 { &one } else { &other };
        assert_eq!(lost.json()["code"], "already_claimed");
        assert_eq!(write(winner, &id, "Mine").await.status, 200);
        assert_eq!(loser.get(&format!("/conversations/{id}")).await.status, 404);
        assert_eq!(winner.does("resolve", &id).await.status, 200);
    }
}

async fn an_agent_hands_the_conversation_to_a_person(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.agents.retain(|path, _| path == "support");
        settings.agents.get_mut("support").unwrap().handoff_to = vec!["human".to_owned()];
    })
    .await;
    at_desk(&app, "eva", &[]).await;
    let arguments =
        json!({"agent": "human", "reason": "Angry.", "summary": "Order 7 is late."}).to_string();
    app.llm
        .calls("One moment.", [["1", "handoff", arguments.as_str()]]);
    let events = app.stream("d", "This is a scandal").await.rest().await;
    let kinds: Vec<&Value> = events.iter().map(|event| &event.data["type"]).collect();
    assert!(kinds.contains(&&json!("mode")), "{kinds:?}");
    let last = &events.last().unwrap().data;
    assert_eq!(
        (&last["finish_reason"], &last["mode"]),
        (&json!("handoff"), &json!("expert"))
    );
    assert_eq!(app.llm.asked().len(), 1);
    let history = app.history("d").await;
    let expected = [
        "user: This is a scandal",
        "tool: ",
        "tool: ",
        "assistant: One moment.",
        "system: I have asked a colleague to join. You are number 1 in the queue; what you write meanwhile is kept.",
    ];
    assert_eq!(history, expected);
    let eva = Person::expert(&app, "eva").await;
    let case = eva.get("/experts/queue").await.json()["conversations"][0].clone();
    assert_eq!(case["reason"], "Angry. Order 7 is late.");
    // After the release, the old handoff call has no effect.
    let id = id_of(&case);
    eva.does("claim", &id).await;
    eva.does("release", &id).await;
    assert_eq!(
        app.say("d", "And my invoice?").await.content(),
        "Very well."
    );
    assert_eq!(app.get("d", "/chat/session").await.json()["mode"], "ai");
}

async fn words_ask_for_a_person(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.experts.phrases = vec!["talk to a person".to_owned()];
    })
    .await;
    assert_eq!(
        app.say("d", "I'd rather Talk to a Person!").await.json()["mode"],
        "expert"
    );
    assert_eq!(app.llm.asked().len(), 0);
    assert_eq!(
        app.say("e", "What talks to persons?").await.content(),
        "Very well."
    );
}

async fn who_has_it_passes_it_on_or_closes_it(db: Db) {
    let app = TestApp::start(db).await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    let (user, id) = waiting(&app, "ann").await;
    eva.does("claim", &id).await;
    let path = format!("/conversations/{id}/transfer");
    assert_eq!(
        eva.post(&path, json!({"expert": "nobody"})).await.json()["param"],
        "expert"
    );
    let passed = eva.post(&path, json!({"expert": "max"})).await.json();
    assert_eq!(
        passed["assigned_to"],
        max.get("/experts/me").await.json()["id"]
    );
    assert_eq!(eva.does("release", &id).await.status, 404);
    assert_eq!(max.does("claim", &id).await.status, 200);
    let resolved = max.does("resolve", &id).await.json();
    assert_eq!(
        (&resolved["status"], &resolved["mode"]),
        (&json!("completed"), &json!("ai"))
    );
    assert!(queue(&max).await.is_empty());
    // A new message makes the conversation active again.
    user.say(Some(&id), "One more thing").await;
    assert_eq!(
        user.get(&format!("/conversations/{id}")).await.json()["status"],
        "active"
    );
}

async fn the_agent_proposes_and_the_person_sends(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (user, id) = waiting(&app, "ann").await;
    eva.does("claim", &id).await;
    app.llm.says(["Your order ", "is on its way."]);
    let draft = eva.does("draft", &id).await;
    assert_eq!(
        draft.json(),
        json!({"content": "Your order is on its way."})
    );
    // A draft is not part of the conversation.
    assert_eq!(user.said_in(&id).await.len(), 3);
    assert_eq!(app.count("turns").await, 1);
    write(&eva, &id, &draft.content()).await;
    assert_eq!(
        user.said_in(&id).await.pop().unwrap(),
        "Your order is on its way."
    );
    // Without an unanswered message the draft is empty, and the model is not asked.
    assert_eq!(eva.does("draft", &id).await.content(), "");
    assert_eq!(app.llm.asked().len(), 1);
    for (person, status) in [(&user, 403), (&at_desk(&app, "max", &[]).await, 404)] {
        assert_eq!(person.does("draft", &id).await.status, status);
    }
    user.say(Some(&id), "Thanks").await;
    app.llm.refuses(400, "", "{}");
    assert_eq!(eva.does("draft", &id).await.status, 502);
}
