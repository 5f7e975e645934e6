//! Reviews: what experts do with answers that did not pass.

use tokio::time::timeout;

use super::*;
use crate::support::{Event, Stream, text};

both! {
    an_answer_that_does_not_pass_is_told_and_approved
    a_withdrawn_answer_is_gone_wherever_it_stood
    a_correction_says_what_is_right_instead
    one_of_two_who_review_at_once_has_done_it
    what_an_answer_showed_goes_with_it
    a_verdict_that_comes_late_changes_nothing
    only_who_has_the_conversation_says_what_is_right
}

/// Produces an answer that does not pass, in the conversation of device `d`; its evaluation.
async fn failed(app: &TestApp, eva: &Person<'_>) -> Value {
    app.llm.says(["It costs 12 euros."]);
    app.post("d", "/chat", json!({"content": "How much is it?"}))
        .await;
    until(async || app.count("evaluations").await == 1).await;
    list(eva, "failed").await.remove(0)
}

async fn desk(db: Db) -> TestApp {
    let app = judged_by(db, "prices", json!({"criterion": "safety"})).await;
    app.llm.forbids("12 euros");
    app
}

async fn review(eva: &Person<'_>, evaluation: &Value, body: Value) -> crate::support::Said {
    let path = format!("/evaluations/{}/review", text(&evaluation["id"]));
    eva.post(&path, body).await
}

async fn an_answer_that_does_not_pass_is_told_and_approved(db: Db) {
    let told = Endpoint::start().await;
    told.at("/", 204, "");
    let app = TestApp::with(db, |settings| {
        judge(settings, "prices", json!({"criterion": "safety"}));
        settings.notify.webhook_url = format!("{}/", told.url);
        settings.notify.webhook_secret = Secret::new(SECRET);
    })
    .await;
    app.llm.forbids("12 euros");
    let eva = Person::expert(&app, "eva").await;
    let evaluation = failed(&app, &eva).await;
    until(async || !told.asked().is_empty()).await;
    let event = told.asked().remove(0).body;
    assert_eq!(event["type"], "eval.failed");
    assert_eq!(event["data"]["evaluation_id"], evaluation["id"]);
    assert!(!event.to_string().contains("euros"), "no word of it");
    for (body, param) in [
        (json!({"verdict": "praise"}), "verdict"),
        (json!({"verdict": "correct"}), "content"),
        (json!({"verdict": "correct", "content": " "}), "content"),
        (json!({"verdict": "retract", "content": "x"}), "content"),
    ] {
        let refused = review(&eva, &evaluation, body).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["param"]),
            (400, &json!(param))
        );
    }
    let user = Person::of(&app, "ann").await;
    let approve = json!({"verdict": "approve"});
    assert_eq!(
        review(&user, &evaluation, approve.clone()).await.status,
        403
    );
    let done = review(&eva, &evaluation, approve.clone()).await.json();
    assert_eq!(
        (&done["status"], &done["verdict"], &done["reviewed_by"]),
        (&json!("reviewed"), &json!("approve"), &json!("eva"))
    );
    assert_eq!(list(&eva, "failed").await.len(), 0);
    let root = Person::with_role(&app, "root", "admin").await;
    assert_eq!(list(&root, "reviewed").await.len(), 1);
    let again = review(&eva, &evaluation, approve).await;
    assert_eq!(again.json()["code"], "already_reviewed");
    let history = app.history("d").await;
    assert_eq!(
        history,
        ["user: How much is it?", "assistant: It costs 12 euros."]
    );
    let id = text(&evaluation["conversation_id"]);
    let audit = root
        .get(&format!("/audit?conversation_id={id}"))
        .await
        .json();
    let actions = audit["entries"].as_array().unwrap().iter();
    let actions: Vec<_> = actions.map(|entry| text(&entry["action"])).collect();
    assert!(
        actions.contains(&"read_evaluations".to_owned()),
        "{actions:?}"
    );
    assert!(actions.contains(&"approve".to_owned()), "{actions:?}");
}

/// Reads up to the next event of this type.
async fn event(stream: &mut Stream, kind: &str) -> Event {
    loop {
        let next = timeout(Duration::from_secs(10), stream.next());
        let event = next.await.expect("in time").unwrap();
        if event.data["type"] == kind {
            return event;
        }
    }
}

async fn a_withdrawn_answer_is_gone_wherever_it_stood(db: Db) {
    let app = desk(db).await;
    let eva = Person::expert(&app, "eva").await;
    let root = Person::with_role(&app, "root", "admin").await;
    app.llm.says(["It costs ", "12 euros."]);
    let mut turn = app.stream("d", "How much is it?").await;
    let first = turn.next().await.unwrap();
    let id = text(&turn.rest().await.last().unwrap().data["message_id"]);
    let call = app.request(reqwest::Method::GET, "d", "/chat/events");
    let mut standing = Stream::of(call.send().await.unwrap());
    event(&mut standing, "mode").await;
    until(async || app.count("evaluations").await == 1).await;
    let evaluation = list(&eva, "failed").await.remove(0);
    let done = review(&eva, &evaluation, json!({"verdict": "retract"})).await;
    assert_eq!(
        done.json()["answer"],
        "It costs 12 euros.",
        "the desk sees it"
    );
    let told = event(&mut standing, "retract").await;
    let line = "An answer above was not right and has been withdrawn.";
    assert_eq!(told.data["message_id"], json!(id));
    let told = event(&mut standing, "message").await;
    assert_eq!(told.data["message"]["content"], line);
    // The retracted text is in neither the frames nor the history.
    let resumed = app.resume("d", &first.id).await;
    assert_eq!(resumed.status(), 410);
    let history = app.get("d", "/chat/history").await;
    assert!(!history.text.contains("euros"), "{}", history.text);
    let messages = &history.json()["messages"];
    assert_eq!(
        (&messages[1]["retracted"], &messages[1]["id"]),
        (&json!(true), &json!(id))
    );
    assert_eq!(
        (&messages[2]["role"], &messages[2]["content"]),
        (&json!("system"), &json!(line))
    );
    // The model does not see the retracted text, either.
    app.say("d", "And now?").await;
    let asked = app.llm.asked().pop().unwrap().body.to_string();
    assert!(
        !asked.contains("euros") && asked.contains("do not say it again"),
        "{asked}"
    );
    assert_eq!(
        list(&root, "reviewed").await[0]["answer"],
        "It costs 12 euros."
    );
}

async fn a_correction_says_what_is_right_instead(db: Db) {
    let app = desk(db).await;
    let eva = Person::expert(&app, "eva").await;
    let name = json!({"name": "Eva"});
    eva.call(reqwest::Method::PUT, "/experts/me", name).await;
    let evaluation = failed(&app, &eva).await;
    let correct = json!({"verdict": "correct", "content": "It costs 15 euros."});
    assert_eq!(review(&eva, &evaluation, correct).await.status, 200);
    assert_eq!(
        app.history("d").await[1..],
        [
            "assistant: ",
            "system: Eva has withdrawn an answer above, which was not right, and corrects it:",
            "expert: It costs 15 euros."
        ]
    );
    app.say("d", "Thanks").await;
    let asked = app.llm.asked().pop().unwrap().body.to_string();
    assert!(asked.contains("It costs 15 euros."), "{asked}");
    let conversation = text(&evaluation["conversation_id"]);
    assert_eq!(
        id_of(&app.get("d", "/chat/session").await.json()),
        conversation
    );
}

async fn one_of_two_who_review_at_once_has_done_it(db: Db) {
    let app = desk(db).await;
    let eva = Person::expert(&app, "eva").await;
    let evaluation = failed(&app, &eva).await;
    let retract = || review(&eva, &evaluation, json!({"verdict": "retract"}));
    let (one, other) = tokio::join!(retract(), retract());
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    assert_eq!(app.history("d").await.len(), 3);
}

async fn what_an_answer_showed_goes_with_it(db: Db) {
    let app = TestApp::with(db, |settings| {
        judge(settings, "prices", json!({"criterion": "safety"}));
        for agent in settings.agents.values_mut() {
            agent.widgets = vec!["choices".to_owned()];
        }
    })
    .await;
    app.llm.forbids("12 euros");
    let eva = Person::expert(&app, "eva").await;
    let widget = r#"{"text": "Pay 12 euros?", "options": ["Yes", "No"]}"#;
    app.llm
        .calls("It costs 12 euros.", [["1", "show_choices", widget]]);
    app.say("d", "How much is it?").await;
    until(async || app.count("evaluations").await == 1).await;
    let history = app.get("d", "/chat/history").await.json();
    let mut shown = history["messages"].as_array().unwrap().iter();
    let shown = shown.rfind(|message| message["message_type"] == "widget");
    let shown = text(&shown.unwrap()["id"]);
    let evaluation = list(&eva, "failed").await.remove(0);
    let done = review(&eva, &evaluation, json!({"verdict": "retract"})).await;
    assert_eq!(done.status, 200, "{}", done.text);
    for path in ["/chat/history", "/chat/export"] {
        let said = app.get("d", path).await.text;
        assert!(!said.contains("euros"), "{path}: {said}");
    }
    let answer = json!({"answer": {"choice": "Yes"}});
    let path = format!("/chat/widgets/{shown}");
    assert_eq!(app.post("d", &path, answer).await.status, 404);
}

async fn a_verdict_that_comes_late_changes_nothing(db: Db) {
    let slow = Endpoint::start().await;
    slow.at("/judge", 500, "");
    let app = TestApp::with(db, |settings| {
        judge(settings, "prices", json!({"criterion": "safety"}));
        judge(settings, "ours", service(&slow));
    })
    .await;
    app.llm.forbids("12 euros");
    let eva = Person::expert(&app, "eva").await;
    let evaluation = failed(&app, &eva).await;
    until(async || app.count("jobs where last_error is not null").await == 1).await;
    slow.slowly("/judge", 200, r#"{"score": 0}"#, Duration::from_secs(2));
    app.advance(Duration::from_secs(3600)).await;
    until(async || slow.asked().len() == 2).await;
    let retract = json!({"verdict": "retract"});
    assert_eq!(review(&eva, &evaluation, retract).await.status, 200);
    until(async || app.count("jobs").await == 0).await;
    assert_eq!(list(&eva, "failed").await.len(), 0);
}

async fn only_who_has_the_conversation_says_what_is_right(db: Db) {
    let app = desk(db).await;
    let (eva, max) = (
        Person::expert(&app, "eva").await,
        Person::expert(&app, "max").await,
    );
    let evaluation = failed(&app, &eva).await;
    let id = text(&evaluation["conversation_id"]);
    assert_eq!(max.does("claim", &id).await.status, 200);
    let correct = json!({"verdict": "correct", "content": "It costs 15 euros."});
    let refused = review(&eva, &evaluation, correct.clone()).await;
    assert_eq!(refused.json()["code"], "already_claimed");
    assert_eq!(review(&max, &evaluation, correct).await.status, 200);
}
