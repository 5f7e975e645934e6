//! The queue: which expert is asked first, and a visitor's position.

use std::time::Duration;

use super::{
    standing::{events_of, until},
    *,
};

both! {
    the_least_busy_who_knows_it_is_asked_first
    an_agent_says_what_a_person_has_to_know
    who_comes_is_given_what_waits
    who_is_asked_and_not_seen_since_loses_it
    who_puts_it_away_does_not_wait_any_more
    where_somebody_stands_is_true_whenever_they_ask
    who_waits_reads_how_the_queue_moves_on
    who_passes_it_on_to_somebody_who_is_away_says_so
}

async fn the_least_busy_who_knows_it_is_asked_first(db: Db) {
    let app = TestApp::start(db).await;
    let (eva, max) = (
        at_desk(&app, "eva", &["billing"]).await,
        at_desk(&app, "max", &[]).await,
    );
    let (_, first) = waiting(&app, "ann").await;
    let assigned = async |id: &str| {
        eva.get(&format!("/conversations/{id}")).await.json()["assigned_to"].clone()
    };
    let own = async |who: &Person<'_>| who.get("/experts/me").await.json()["id"].clone();
    let (eva_id, max_id) = (own(&eva).await, own(&max).await);
    assert_eq!(assigned(&first).await, eva_id);
    eva.does("claim", &first).await;
    let (_, second) = waiting(&app, "bob").await;
    assert_eq!(assigned(&second).await, max_id);
    // Skill comes first: eva is asked although she is busier.
    let third = asks(&app, "cid", "billing").await;
    assert_eq!(assigned(&third).await, eva_id);
    // Nobody has this skill, so an expert without it is asked.
    let fourth = asks(&app, "dan", "shipping").await;
    assert_eq!(assigned(&fourth).await, max_id);
    // The expert who transfers a conversation is not asked for it again.
    let path = format!("/conversations/{first}/transfer");
    let passed = eva.post(&path, json!({"skill": "billing"})).await.json();
    assert_eq!(
        (
            &passed["skill"],
            &passed["expert_id"],
            &passed["assigned_to"]
        ),
        (&json!("billing"), &json!(null), &max_id)
    );
    let said = Person::of(&app, "ann").await.said_in(&first).await;
    let told = "EVA has asked a colleague to go on. You are number 4 in the queue.";
    assert_eq!(said.last().unwrap(), told);
}

/// A user asks for an expert with a skill; the conversation's id.
async fn asks(app: &TestApp, sub: &str, skill: &str) -> String {
    let user = Person::of(app, sub).await;
    let body = json!({"session_id": "s", "message": "I want a person", "skill": skill});
    assert_eq!(user.post("/expert", body).await.status, 200);
    let list = user.get("/conversations").await.json();
    id_of(&list["conversations"][0])
}

async fn who_comes_is_given_what_waits(db: Db) {
    let app = TestApp::start(db).await;
    let (user, first) = waiting(&app, "ann").await;
    let (_, second) = waiting(&app, "bob").await;
    let told = user.said_in(&first).await;
    assert!(told[1].starts_with("Nobody is at the desk"), "{told:?}");
    let root = Person::with_role(&app, "root", "admin").await;
    let assigned = async |id: &str| {
        root.get(&format!("/conversations/{id}")).await.json()["assigned_to"].clone()
    };
    assert_eq!(assigned(&first).await, json!(null));
    let own = async |who: &Person<'_>| who.get("/experts/me").await.json()["id"].clone();
    let eva = at_desk(&app, "eva", &[]).await;
    assert_eq!(assigned(&first).await, own(&eva).await);
    assert_eq!(assigned(&second).await, own(&eva).await);
    // When an expert becomes unavailable, or has not been seen for 400 s, another one is asked.
    let max = at_desk(&app, "max", &[]).await;
    let leaves = json!({"available": false});
    eva.call(Method::PUT, "/experts/me", leaves.clone()).await;
    assert_eq!(assigned(&first).await, own(&max).await);
    app.advance(Duration::from_secs(400)).await;
    eva.call(Method::PUT, "/experts/me", json!({"available": true}))
        .await;
    assert_eq!(assigned(&first).await, own(&eva).await);
    app.advance(Duration::from_secs(400)).await;
    let ben = at_desk(&app, "ben", &[]).await;
    eva.call(Method::PUT, "/experts/me", leaves).await;
    assert_eq!(assigned(&second).await, own(&ben).await);
}

async fn who_is_asked_and_not_seen_since_loses_it(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let eva_id = eva.get("/experts/me").await.json()["id"].clone();
    // eva is already gone, but after 2 minutes she still counts as available.
    app.advance(Duration::from_secs(120)).await;
    let (_, id) = waiting(&app, "ann").await;
    let root = Person::with_role(&app, "root", "admin").await;
    let assigned =
        async || root.get(&format!("/conversations/{id}")).await.json()["assigned_to"].clone();
    assert_eq!(assigned().await, eva_id);
    app.advance(Duration::from_secs(240)).await;
    let max = at_desk(&app, "max", &[]).await;
    let max_id = max.get("/experts/me").await.json()["id"].clone();
    assert_eq!(assigned().await, max_id);
}

async fn who_puts_it_away_does_not_wait_any_more(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.experts.phrases = vec!["person".to_owned()];
    })
    .await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (ann, id) = waiting(&app, "ann").await;
    app.say("d", "A person, please").await;
    let waits = async || {
        eva.get("/experts/queue").await.json()["conversations"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(waits().await, 2);
    let path = format!("/conversations/{id}");
    ann.call(Method::PATCH, &path, json!({"title": "Still"}))
        .await;
    assert_eq!(waits().await, 2);
    let archived = ann
        .call(Method::PATCH, &path, json!({"status": "archived"}))
        .await;
    assert_eq!(archived.json()["mode"], "ai");
    let cleared = app
        .request(Method::DELETE, "d", "/chat/session")
        .send()
        .await
        .unwrap();
    assert_eq!(cleared.status(), 204);
    assert_eq!(waits().await, 0);
    // A claimed conversation stays with its expert, even if the user archives it.
    let (ben, held) = waiting(&app, "ben").await;
    eva.does("claim", &held).await;
    ben.call(
        Method::PATCH,
        &format!("/conversations/{held}"),
        json!({"status": "archived"}),
    )
    .await;
    assert_eq!(waits().await, 1);
}

async fn where_somebody_stands_is_true_whenever_they_ask(db: Db) {
    let app = TestApp::start(db).await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (_, first) = waiting(&app, "ann").await;
    let (user, _) = waiting(&app, "bob").await;
    let stands = async || {
        let body = json!({"session_id": "s", "message": "And now?"});
        user.post("/expert", body).await.content()
    };
    assert!(stands().await.contains("number 2"));
    eva.does("claim", &first).await;
    assert!(stands().await.contains("number 1"));
}

async fn an_agent_says_what_a_person_has_to_know(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.agents.retain(|path, _| path == "support");
        let support = settings.agents.get_mut("support").unwrap();
        support.handoff_to = vec!["human".to_owned()];
        support.skill = Some("billing".to_owned());
    })
    .await;
    let eva = at_desk(&app, "eva", &["billing"]).await;
    // eva is busier than max, but she has the skill.
    let (_, id) = waiting(&app, "ann").await;
    assert_eq!(eva.does("claim", &id).await.status, 200);
    at_desk(&app, "max", &["shipping"]).await;
    let arguments = json!({"agent": "human", "reason": "A\u{0}ngry.", "summary": ""}).to_string();
    app.llm.calls("", [["1", "handoff", arguments.as_str()]]);
    assert_eq!(app.say("d", "Hi").await.json()["mode"], "expert");
    let queue = eva.get("/experts/queue").await.json();
    let case = &queue["conversations"][0];
    assert_eq!(
        (&case["skill"], &case["reason"]),
        (&json!("billing"), &json!("A\u{fffd}ngry."))
    );
    assert_eq!(
        case["assigned_to"],
        eva.get("/experts/me").await.json()["id"]
    );
    // A release clears the reason and the skill.
    eva.does("claim", &id_of(case)).await;
    let released = eva.does("release", &id_of(case)).await.json();
    assert_eq!(
        (&released["reason"], &released["skill"]),
        (&Value::Null, &Value::Null)
    );
}

async fn who_waits_reads_how_the_queue_moves_on(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.experts.phrases = vec!["person".to_owned()];
    })
    .await;
    let eva = at_desk(&app, "eva", &[]).await;
    let (_, first) = waiting(&app, "ann").await;
    app.say("d", "A person, please").await;
    let mut stream = events_of(&app, "d", "").await;
    assert_eq!(until(&mut stream, "queue").await.data["position"], 2);
    eva.does("claim", &first).await;
    assert_eq!(until(&mut stream, "queue").await.data["position"], 1);
}

async fn who_passes_it_on_to_somebody_who_is_away_says_so(db: Db) {
    let app = TestApp::start(db).await;
    let (eva, max) = (
        at_desk(&app, "eva", &[]).await,
        at_desk(&app, "max", &[]).await,
    );
    max.call(Method::PUT, "/experts/me", json!({"available": false}))
        .await;
    let (user, id) = waiting(&app, "ann").await;
    eva.does("claim", &id).await;
    let path = format!("/conversations/{id}/transfer");
    for (body, param) in [
        (json!({"expert": "eva"}), "expert"),
        (json!({"skill": "a".repeat(101)}), "skill"),
    ] {
        assert_eq!(eva.post(&path, body).await.json()["param"], param);
    }
    let passed = eva.post(&path, json!({"expert": "max"})).await.json();
    assert_eq!(
        passed["assigned_to"],
        max.get("/experts/me").await.json()["id"]
    );
    let told = user.said_in(&id).await.pop().unwrap();
    assert!(told.starts_with("Nobody is at the desk"), "{told}");
    // Asking again gets the same answer.
    let again = json!({"session_id": "s", "message": "And now?"});
    assert_eq!(user.post("/expert", again).await.content(), told);
}
