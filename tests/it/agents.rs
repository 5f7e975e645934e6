//! Which agent answers: flows without a model, prompts with a model, and the manager that chooses the agent.

use serde_json::json;

use crate::support::{Db, Step, TestApp};

both! {
    an_appointment_is_booked_without_a_model
    the_manager_routes_by_keywords_without_a_model
    a_visitor_who_says_no_is_not_pressed
    answers_that_do_not_fit_are_asked_again
    a_known_visitor_is_not_asked_for_the_name
    a_greeting_first_does_not_decide_who_answers
    nobody_is_asked_the_same_thing_for_ever
    a_correction_is_heard
    who_is_done_can_leave_or_come_back
    the_manager_routes_by_the_model
    a_visitor_who_changes_the_subject_is_moved
    a_manager_without_an_answer_routes_by_keywords
    a_name_is_kept_with_a_model_too
    the_prompt_holds_what_fits_and_begins_with_the_visitor
    recordings_and_files_are_named_to_the_model
}

/// Sends each message and returns the last answer.
async fn talk(app: &TestApp, device: &str, lines: &[&str]) -> String {
    let mut answer = String::new();
    for line in lines {
        answer = app.say(device, line).await.content();
    }
    answer
}

async fn an_appointment_is_booked_without_a_model(db: Db) {
    let app = TestApp::offline(db).await;
    let mut story = String::new();
    for line in [
        "Hello, I want to schedule an appointment",
        "My name is John Doe and I need help with hair transplant",
        "john.doe@example.com",
        "Tuesday morning",
        "no",
        "+49 30 1234567",
        "hair transplant",
        "Friday at 10:30",
        "yes, that's right",
        "When will I hear from you?",
    ] {
        story.push_str(&format!(
            "> {line}\n{}\n",
            app.say("d", line).await.content()
        ));
    }
    insta::assert_snapshot!("appointment", story);
    assert_eq!(
        app.count("users where phone_number = 'chat_d' and name = 'John Doe'")
            .await,
        1
    );
}

async fn the_manager_routes_by_keywords_without_a_model(db: Db) {
    let app = TestApp::offline(db).await;
    for (index, (line, agent)) in [
        ("Can I book a visit?", "scheduling"),
        ("I have a problem with my invoice", "support"),
        ("What is this?", "support"),
        ("APPOINTMENT!", "scheduling"),
        // Misspelt, inflected, or only in the description.
        ("an apointmnet", "scheduling"),
        ("My invioces", "support"),
        ("Some treatments please", "scheduling"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            app.say(&format!("d{index}"), line).await.json()["agent"],
            agent,
            "{line}"
        );
    }
}

async fn a_visitor_who_says_no_is_not_pressed(db: Db) {
    let app = TestApp::offline(db).await;
    let answer = talk(&app, "d", &["I want an appointment", "no"]).await;
    assert_eq!(
        answer,
        "Of course. Whenever you want to go on, just say yes."
    );
    assert_eq!(talk(&app, "d", &["yes"]).await, "What's your name, please?");
}

async fn answers_that_do_not_fit_are_asked_again(db: Db) {
    let app = TestApp::offline(db).await;
    talk(&app, "d", &["I want an appointment", "yes", "Eve"]).await;
    assert!(
        talk(&app, "d", &["call me maybe some day"])
            .await
            .contains("I need an e-mail address")
    );
    assert_eq!(
        talk(&app, "d", &["eve@example.com"]).await,
        "Which treatment would you like to come for?"
    );
    assert!(
        talk(&app, "d", &["?"])
            .await
            .contains("A few words are enough")
    );
}

async fn a_known_visitor_is_not_asked_for_the_name(db: Db) {
    let app = TestApp::offline(db).await;
    talk(
        &app,
        "d",
        &["I want an appointment", "My name is Eve Adams"],
    )
    .await;
    app.delete("d", "/chat/session").await;
    let answer = talk(&app, "d", &["I want an appointment", "yes"]).await;
    assert!(answer.starts_with("How can we reach you, Eve?"), "{answer}");
}

async fn a_greeting_first_does_not_decide_who_answers(db: Db) {
    let app = TestApp::offline(db).await;
    assert_eq!(app.say("d", "Hi").await.json()["agent"], "support");
    let moved = app
        .stream("d", "I want to schedule an appointment")
        .await
        .rest()
        .await;
    assert_eq!(
        (&moved[0].data["type"], &moved[0].data["agent"]),
        (&json!("agent"), &json!("scheduling"))
    );
    assert!(talk(&app, "d", &["yes"]).await.contains("your name"));
    assert_eq!(
        app.say("d", "My name is John, I have a question")
            .await
            .json()["agent"],
        "scheduling",
        "once begun it stays"
    );
}

async fn nobody_is_asked_the_same_thing_for_ever(db: Db) {
    let app = TestApp::offline(db).await;
    let answer = talk(
        &app,
        "d",
        &[
            "I want an appointment",
            "yes",
            "John",
            "I don't have any",
            "skip",
        ],
    )
    .await;
    assert_eq!(answer, "Which treatment would you like to come for?");
    let answer = talk(&app, "d", &["botox", "next Monday"]).await;
    assert!(answer.contains("reach you at (not given)"), "{answer}");
}

async fn a_correction_is_heard(db: Db) {
    let app = TestApp::offline(db).await;
    talk(
        &app,
        "d",
        &[
            "I want an appointment on 2026-12-01 at 10:30",
            "John, john@x.org",
            "botox",
        ],
    )
    .await;
    let answer = talk(
        &app,
        "d",
        &["no, my name is Jane Roe, and make it Friday at 10"],
    )
    .await;
    assert_eq!(
        answer,
        "Let me repeat: Jane Roe, botox, Friday at 10, and we reach you at john@x.org. Is that right?"
    );
    assert_eq!(app.count("users where name = 'Jane Roe'").await, 1);
}

async fn who_is_done_can_leave_or_come_back(db: Db) {
    let app = TestApp::offline(db).await;
    talk(
        &app,
        "d",
        &[
            "I want an appointment tomorrow",
            "John, john@x.org",
            "botox",
            "yes",
        ],
    )
    .await;
    assert_eq!(
        talk(&app, "d", &["no, thank you"]).await,
        "Then have a good day, John!"
    );
    assert_eq!(
        talk(&app, "d", &["Can I make another appointment"]).await,
        "Which treatment would you like to come for?"
    );
}

async fn the_manager_routes_by_the_model(db: Db) {
    let app = TestApp::start(db).await;
    assert_eq!(
        app.say("d", "What does it cost?").await.json()["agent"],
        "scheduling"
    );
    assert_eq!((app.llm.routed(), app.llm.asked().len()), (1, 1));
    // The model must choose one of these agents.
    let asked = app.llm.manager_asked();
    assert_eq!(asked["tool_choice"]["function"]["name"], "choose_agent");
    let choice = &asked["tools"][0]["function"]["parameters"]["properties"]["agent"];
    assert_eq!(choice["enum"], json!(["scheduling", "support"]));
    // A model server without tools answers in plain text.
    app.llm.manager_talks();
    let said = app.say("e", "What does it cost?").await.json();
    assert_eq!(said["agent"], "scheduling");
}

async fn a_visitor_who_changes_the_subject_is_moved(db: Db) {
    let app = TestApp::start(db).await;
    app.say("d", "Book a visit").await;
    let handoff = json!({"agent": "support", "reason": "A bill.", "summary": ""}).to_string();
    app.llm.calls("", [["1", "handoff", handoff.as_str()]]);
    app.llm.says(["Which bill?"]);
    let said = app.say("d", "By the way, my bill is wrong").await.json();
    assert_eq!(
        (&said["content"], &said["agent"]),
        (&json!("Which bill?"), &json!("support"))
    );
}

async fn a_manager_without_an_answer_routes_by_keywords(db: Db) {
    let app = TestApp::start(db).await;
    app.llm.manager_fails();
    assert_eq!(
        app.say("d", "My invoice is wrong").await.json()["agent"],
        "support"
    );
}

async fn a_name_is_kept_with_a_model_too(db: Db) {
    let app = TestApp::start(db).await;
    app.llm
        .says(["May I ask a few questions?"])
        .says(["Fine. What is your name?"]);
    talk(
        &app,
        "d",
        &[
            "I want an appointment",
            "yes",
            "eve adams",
            "eve@example.com",
        ],
    )
    .await;
    assert_eq!(app.count("users where name = 'eve adams'").await, 1);
    let last = app.llm.asked().pop().unwrap();
    assert!(
        last.system()
            .ends_with(r#"{"contact":"eve@example.com","name":"eve adams"}"#),
        "{}",
        last.system()
    );
}

async fn the_prompt_holds_what_fits_and_begins_with_the_visitor(db: Db) {
    let app = TestApp::with(db, |settings| settings.turn.history_tokens = 60).await;
    app.llm.says(["one"]).says(["two"]).says(["three"]);
    let long = "word ".repeat(30);
    talk(&app, "d", &[&long, "Hi", "Still there?"]).await;
    assert_eq!(
        app.llm.asked()[2].conversation(),
        ["user: Hi", "assistant: two", "user: Still there?"]
    );
    let longest = "word ".repeat(1_000);
    talk(&app, "d", &[&longest]).await;
    assert_eq!(
        app.llm.asked()[3].conversation(),
        [format!("user: {longest}")]
    );
}

async fn recordings_and_files_are_named_to_the_model(db: Db) {
    let app = TestApp::start(db).await;
    let body = json!({
        "content": "",
        "media_urls": ["https://example.com/a.pdf"],
        "audio_urls": ["https://example.com/a.ogg"],
    });
    app.llm
        .script([Step::Text("ok".into()), Step::Finish("stop")]);
    app.post("d", "/chat", body).await;
    assert_eq!(
        app.llm.asked()[0].conversation(),
        ["user: [file: https://example.com/a.pdf]\n[recording: https://example.com/a.ogg]"]
    );
}
