//! The guard: each sentence of an answer must pass a judge before the visitor sees it.

use super::*;
use crate::support::Step;

both! {
    each_sentence_is_shown_once_it_has_passed
    what_is_refused_goes_to_a_person_and_not_to_the_visitor
    what_cannot_be_judged_goes_to_a_person
    what_a_widget_says_is_judged_too
    what_a_question_says_is_judged_too
    what_is_forbidden_is_found_across_pieces
    rules_guard_a_desk_without_a_model
}

fn guarded(settings: &mut Settings) {
    judge(
        settings,
        "safety",
        json!({"criterion": "safety", "percent": 0}),
    );
    for agent in settings.agents.values_mut() {
        agent.guard = Some("safety".to_owned());
    }
}

async fn each_sentence_is_shown_once_it_has_passed(db: Db) {
    let app = TestApp::with(db, guarded).await;
    app.llm.says([
        "It ",
        "costs",
        " 12. It",
        " is blue.",
        " Anything",
        " else?",
    ]);
    let stream = app.stream("d", "Hi").await;
    let frames = stream.rest().await;
    let texts: Vec<&str> = frames.iter().map(|frame| frame.content()).collect();
    let whole = "It costs 12. It is blue. Anything else?";
    assert_eq!(texts.concat(), whole);
    let cases = app.llm.judged();
    // Sentences that arrived while the judge was busy are judged together.
    assert!((2..=3).contains(&cases.len()), "{cases:?}");
    let judged: String = cases
        .iter()
        .map(|case| case["answer"].as_str().unwrap())
        .collect();
    assert_eq!(judged, whole);
    let before: Vec<_> = cases
        .iter()
        .map(|case| case["passed"].as_str().unwrap())
        .collect();
    assert_eq!(before[0], "");
    assert!(whole.starts_with(before[1]) && !before[1].is_empty());
    assert_eq!(cases[0]["history"][0]["content"], "Hi");
    assert_eq!(app.history("d").await[1], format!("assistant: {whole}"));
    // Nothing is sampled, so no answer is judged again later. The judge's tokens count in the turn.
    assert_eq!(app.count("jobs").await, 0);
    assert_eq!(app.count("turns where input_tokens >= 100").await, 1);
}

async fn what_is_refused_goes_to_a_person_and_not_to_the_visitor(db: Db) {
    let app = TestApp::with(db, guarded).await;
    app.llm.forbids("secret");
    app.llm
        .says(["Welcome. ", "The code is secret", " 42. ", "Bye."]);
    let frames = app.stream("d", "What is the code?").await.rest().await;
    let told = format!("{frames:?}");
    assert!(!told.contains("secret") && !told.contains("Bye"), "{told}");
    let texts: Vec<&str> = frames.iter().map(|frame| frame.content()).collect();
    assert_eq!(texts.concat(), "Welcome. ");
    let last = &frames.last().unwrap().data;
    assert_eq!(
        (&last["finish_reason"], &last["mode"]),
        (&json!("handoff"), &json!("expert"))
    );
    let history = app.history("d").await;
    assert_eq!(history[1], "assistant: Welcome. ");
    let all = app.get("d", "/chat/export").await.text;
    assert!(!all.contains("secret"), "{all}");
    let eva = Person::expert(&app, "eva").await;
    let queue = eva.get("/experts/queue").await.json();
    let reason = queue["conversations"][0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("It says secret.") && reason.contains("The code is secret 42."),
        "{reason}"
    );
}

async fn what_cannot_be_judged_goes_to_a_person(db: Db) {
    let endpoint = Endpoint::start().await;
    let app = TestApp::with(db, |settings| {
        guarded(settings);
        judge(settings, "safety", service(&endpoint));
    })
    .await;
    app.llm.says(["Hello there."]);
    let said = app.say("d", "Hi").await.json();
    assert_eq!(
        (&said["content"], &said["finish_reason"]),
        (&json!(""), &json!("handoff"))
    );
    assert_eq!(app.get("d", "/chat/session").await.json()["mode"], "expert");
}

async fn what_a_widget_says_is_judged_too(db: Db) {
    let app = TestApp::with(db, |settings| {
        guarded(settings);
        for agent in settings.agents.values_mut() {
            agent.widgets = vec!["choices".to_owned()];
        }
    })
    .await;
    app.llm.forbids("secret");
    let widget = r#"{"text": "The secret is 42", "options": ["Yes", "No"]}"#;
    app.llm.calls("Look. ", [["1", "show_choices", widget]]);
    let frames = app.stream("d", "Hi").await.rest().await;
    let told = format!("{frames:?}");
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(frames.last().unwrap().data["finish_reason"], "handoff");
    let widget = r#"{"text": "Which?", "options": ["Yes", "No"]}"#;
    app.llm.script([
        Step::Calls(vec![["1", "show_choices", widget].map(str::to_owned)]),
        Step::Finish("tool_calls"),
    ]);
    let shown = app.stream("e", "Hi").await.rest().await;
    assert_eq!(shown[0].data["type"], "widget", "{shown:?}");
}

async fn rules_guard_a_desk_without_a_model(db: Db) {
    let app = TestApp::with(db, |settings| {
        settings.llm.model = "offline".to_owned();
        judge(
            settings,
            "words",
            json!({"criterion": "quality", "forbids": ["Anna"]}),
        );
        for agent in settings.agents.values_mut() {
            agent.guard = Some("words".to_owned());
        }
    })
    .await;
    let said = app.say("d", "I want an appointment").await.json();
    assert_eq!(said["finish_reason"], "handoff", "{said}");
    assert!(
        !said["content"].as_str().unwrap().contains("Anna"),
        "{said}"
    );
}

async fn what_a_question_says_is_judged_too(db: Db) {
    let app = TestApp::with(db, |settings| {
        guarded(settings);
        let tool = json!({
            "description": "Sends a letter.",
            "url": "http://127.0.0.1:9/send",
            "method": "POST",
            "confirm": "Send this: {text}?",
            "allow_private": true,
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        });
        let tool = serde_json::from_value(tool).unwrap();
        settings.tools.insert("send".to_owned(), tool);
        for agent in settings.agents.values_mut() {
            agent.tools = vec!["send".to_owned()];
        }
    })
    .await;
    app.llm.forbids("secret");
    app.llm
        .calls("", [["1", "send", r#"{"text": "the s\u0065cret"}"#]]);
    let frames = app.stream("d", "Hi").await.rest().await;
    assert!(!format!("{frames:?}").contains("secret"), "{frames:?}");
    assert_eq!(frames.last().unwrap().data["finish_reason"], "handoff");
    // The expert sees what was rejected.
    let eva = Person::expert(&app, "eva").await;
    let queue = eva.get("/experts/queue").await.text;
    assert!(queue.contains("Send this: the secret?"), "{queue}");
    // The tool `away` does not exist. The call is judged all the same: such a tool may be back before the call runs.
    app.llm
        .calls("", [["1", "away", r#"{"text": "the secret"}"#]]);
    let frames = app.stream("f", "Hi").await.rest().await;
    assert_eq!(frames.last().unwrap().data["finish_reason"], "handoff");
    app.llm
        .calls("", [["1", "send", r#"{"text": "a greeting"}"#]]);
    let asked = app.stream("e", "Hi").await.rest().await;
    assert!(
        format!("{asked:?}").contains("Send this: a greeting?"),
        "{asked:?}"
    );
}

async fn what_is_forbidden_is_found_across_pieces(db: Db) {
    let app = TestApp::with(db, |settings| {
        guarded(settings);
        let rules = json!({"criterion": "safety", "forbids": ["(?i)full\\s+refund"]});
        judge(settings, "safety", rules);
    })
    .await;
    app.llm.says(["You get a full\n", "refund of it."]);
    let said = app.say("d", "Hi").await.json();
    assert_eq!(said["finish_reason"], "handoff", "{said}");
    assert!(
        !said["content"].as_str().unwrap().contains("refund"),
        "{said}"
    );
}
