//! Widgets: what visitors are shown beside text, and their answers.

use frontdesk::config::Settings;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Db, Endpoint, Event, Said, TestApp, tidy, until};

both! {
    a_model_shows_choices_and_goes_on_with_the_answer
    a_widget_is_answered_once
    an_answer_that_does_not_fit_is_refused
    nobody_answers_for_another
    a_widget_that_is_none_is_not_shown
    an_answer_waits_for_the_turn_that_showed_the_widget
    the_same_answer_with_the_same_key_is_one_turn
    offline_a_form_answers_all_questions_at_once
    offline_a_no_is_no_yes
    two_answers_that_wait_are_one_and_a_refusal
    an_answer_that_waits_is_no_part_of_another_message
    a_widget_of_a_tool_does_not_end_the_answer
    a_form_is_sent_nowhere_else
}

fn with_widgets(settings: &mut Settings) {
    settings.agents.retain(|path, _| path == "support");
    let topics = json!({
        "type": "choices",
        "description": "Asks what it is about.",
        "data": {"text": "What is it about?", "options": [{"value": "o", "label": "My order"}, "Else"]},
    });
    settings.widgets = [("topics".to_owned(), serde_json::from_value(topics).unwrap())].into();
    let agent = settings.agents.get_mut("support").unwrap();
    agent.prompt = "You help.".to_owned();
    agent.widgets = ["topics", "form", "link"].map(str::to_owned).to_vec();
}

/// The id of the widget that a turn showed.
fn widget_of(events: &[Event]) -> String {
    let mut shown = events.iter().map(|event| &event.data);
    let shown = shown.find(|data| data["type"] == "widget").unwrap();
    shown["message_id"].as_str().unwrap().to_owned()
}

/// A server that has shown a choices widget to `d`; the widget's id.
async fn asked(db: Db) -> (TestApp, String) {
    let app = TestApp::with(db, with_widgets).await;
    app.llm.calls("Tell me:", [["1", "show_topics", "{}"]]);
    let events = app.stream("d", "Help").await.rest().await;
    let widget = widget_of(&events);
    (app, widget)
}

/// The frames of a stream that was read to its end.
fn events(said: &Said) -> Vec<Event> {
    let data = said
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let event = |data| Event {
        id: String::new(),
        data: serde_json::from_str(data).unwrap(),
    };
    data.map(event).collect()
}

async fn answer(app: &TestApp, device: &str, widget: &str, answer: Value) -> Said {
    let path = format!("/chat/widgets/{widget}");
    app.post(device, &path, json!({ "answer": answer })).await
}

async fn a_model_shows_choices_and_goes_on_with_the_answer(db: Db) {
    let app = TestApp::with(db, with_widgets).await;
    app.llm.calls("Tell me:", [["1", "show_topics", "{}"]]);
    let mut stream = app.stream("d", "Help").await;
    let mut transcript = Vec::new();
    while let Some(event) = stream.next().await {
        transcript.push(event);
    }
    insta::assert_snapshot!("frames", tidy(&stream.raw));
    // The visitor has to answer first: the model is not asked again.
    assert_eq!(app.llm.asked().len(), 1);
    let tools = &app.llm.asked()[0].body["tools"];
    assert_eq!(tools[0]["function"]["name"], "show_topics");
    app.llm.says(["Which order?"]);
    let said = answer(&app, "d", &widget_of(&transcript), json!({"choice": "o"})).await;
    assert_eq!(said.status, 200);
    assert!(said.text.contains("Which order?"), "{}", said.text);
    let conversation = [
        "user: Help",
        "assistant: Tell me:\n\nWhat is it about?\n- My order\n- Else",
        "user: My order",
    ];
    assert_eq!(app.llm.asked()[1].conversation(), conversation);
    insta::assert_snapshot!("history", app.get("d", "/chat/history").await.shown());
}

async fn a_widget_is_answered_once(db: Db) {
    let (app, widget) = asked(db).await;
    let answers =
        ["o", "Else", "o"].map(|choice| answer(&app, "d", &widget, json!({"choice": choice})));
    let said = futures_util::future::join_all(answers).await;
    let mut codes: Vec<u16> = said.iter().map(|said| said.status.as_u16()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [200, 409, 409]);
    let later = answer(&app, "d", &widget, json!({"choice": "o"})).await;
    assert_eq!(later.json()["code"], "already_answered");
    assert_eq!(app.count("messages where answers is not null").await, 1);
}

async fn an_answer_that_does_not_fit_is_refused(db: Db) {
    let (app, widget) = asked(db).await;
    for (wrong, param) in [
        (json!({}), json!("choice")),
        (json!({"choice": "x"}), json!("choice")),
        (json!({"choice": "o", "more": 1}), Value::Null),
    ] {
        let said = answer(&app, "d", &widget, wrong.clone()).await;
        assert_eq!(said.status, 422, "{wrong}");
        assert_eq!(said.json()["code"], "invalid_answer");
        assert_eq!(said.json()["param"], param, "{wrong}");
    }
    let path = format!("/chat/widgets/{widget}");
    let said = app.post("d", &path, json!({"answer": "o"})).await;
    assert_eq!(said.status, 400);
    assert_eq!(app.count("messages where role = 'user'").await, 1);
}

async fn nobody_answers_for_another(db: Db) {
    let (app, widget) = asked(db).await;
    app.say("e", "Hi").await;
    for (device, id) in [
        ("e", widget.as_str()),
        ("d", "x"),
        ("d", "0198c0de-0000-7000-8000-000000000000"),
    ] {
        let said = answer(&app, device, id, json!({"choice": "o"})).await;
        assert_eq!(said.status, 404, "{device} {id}");
    }
    // A message that is no widget cannot be answered.
    let history = app.get("d", "/chat/history").await.json();
    let first = history["messages"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(answer(&app, "d", &first, json!({})).await.status, 404);
    // Nor can a widget whose session is over.
    app.delete("d", "/chat/session").await;
    assert_eq!(
        answer(&app, "d", &widget, json!({"choice": "o"}))
            .await
            .status,
        404
    );
}

async fn a_widget_that_is_none_is_not_shown(db: Db) {
    let app = TestApp::with(db, with_widgets).await;
    let wrong = json!({"text": "x", "url": "javascript:alert(1)"}).to_string();
    app.llm.calls(
        "",
        [
            ["1", "show_link", wrong.as_str()],
            ["2", "show_rating", "{}"],
        ],
    );
    app.llm.says(["Sorry."]);
    let events = app.stream("d", "Hi").await.rest().await;
    assert!(events.iter().all(|event| event.data["type"] != "widget"));
    let told = app.llm.asked()[1].body["messages"].to_string();
    assert!(told.contains("The widget's data do not fit"), "{told}");
    assert!(told.contains("There is no tool"), "{told}");
}

async fn an_answer_waits_for_the_turn_that_showed_the_widget(db: Db) {
    let app = TestApp::with(db, with_widgets).await;
    let link = json!({"text": "x", "url": "https://a.test"}).to_string();
    app.llm.calls(
        "",
        [["1", "show_topics", "{}"], ["2", "handoff", link.as_str()]],
    );
    app.llm.says(["Please", " choose."]).pause_after(1);
    app.llm.says(["Fine."]);
    let mut stream = app.stream("d", "Hi").await;
    let mut seen = Vec::new();
    while seen
        .iter()
        .all(|event: &Event| event.data["type"] != "widget")
    {
        seen.push(stream.next().await.unwrap());
    }
    let widget = widget_of(&seen);
    let answering = answer(&app, "d", &widget, json!({"choice": "o"}));
    let (said, ()) = tokio::join!(answering, async {
        tokio::task::yield_now().await;
        app.llm.go_on();
    });
    assert_eq!(said.status, 200, "{}", said.text);
    assert!(said.text.contains("Fine."), "{}", said.text);
}

async fn the_same_answer_with_the_same_key_is_one_turn(db: Db) {
    let (app, widget) = asked(db).await;
    app.llm.says(["Which order?"]);
    let path = format!("/chat/widgets/{widget}");
    let mut turns = Vec::new();
    for (choice, status) in [("o", 200), ("o", 200), ("Else", 422)] {
        let call = app.request(Method::POST, "d", &path);
        let call = call.header("Idempotency-Key", "k");
        let call = call.json(&json!({"answer": {"choice": choice}}));
        let said = Said::of(call.send().await.unwrap()).await;
        assert_eq!(said.status, status);
        turns.push(said.header("x-turn-id").to_owned());
    }
    assert_eq!(turns[0], turns[1]);
    assert_eq!(app.llm.asked().len(), 2);
}

async fn offline_a_form_answers_all_questions_at_once(db: Db) {
    let app = TestApp::offline(db).await;
    app.say("d", "I want to schedule an appointment").await;
    let said = app.say("d", "Yes").await.json();
    let form = &said["widgets"][0];
    assert_eq!(form["type"], "appointment_form");
    let filled = json!({
        "name": "John Doe", "contact": "john@example.com", "treatment": "a check-up", "time": "Tuesday morning",
    });
    let said = answer(&app, "d", form["message_id"].as_str().unwrap(), filled).await;
    let events = events(&said);
    let text: String = events.iter().map(Event::content).collect();
    assert_eq!(
        text,
        "Let me repeat: John Doe, a check-up, Tuesday morning, and we reach you at john@example.com. \
         Is that right?"
    );
    let yes = answer(&app, "d", &widget_of(&events), json!({"confirmed": true})).await;
    assert!(yes.text.contains("Wonderful,"), "{}", yes.text);
    let history = app.history("d").await;
    assert!(
        history.contains(&"user: Yes, that's right".to_owned()),
        "{history:?}"
    );
    assert_eq!(app.count("users where name = 'John Doe'").await, 1);
}

async fn a_form_is_sent_nowhere_else(db: Db) {
    let app = TestApp::with(db, |settings| {
        with_widgets(settings);
        settings.server.widget_callback_origins = vec!["https://forms.test".to_owned()];
    })
    .await;
    let form = |url: &str| {
        let field = json!({"name": "a", "label": "A", "type": "text"});
        json!({"fields": [field], "callback_url": url}).to_string()
    };
    for (url, is_shown) in [
        ("/chat/widgets/x", true),
        ("https://forms.test/a", true),
        ("https://forms.test.evil.test/a", false),
        ("https://forms.test@evil.test/a", false),
        ("//evil.test/chat/", false),
        ("/chat/../evil", false),
        ("javascript:alert(1)", false),
    ] {
        app.llm.forget_scripts();
        app.llm.calls("", [["1", "show_form", form(url).as_str()]]);
        app.llm.says(["Sorry."]);
        let said = app.say("d", "Hi").await.json();
        assert_eq!(said["widgets"][0].is_object(), is_shown, "{url}: {said}");
    }
}

async fn offline_a_no_is_no_yes(db: Db) {
    let app = TestApp::offline(db).await;
    app.say("d", "I want to schedule an appointment").await;
    let said = app.say("d", "Yes").await.json();
    let form = said["widgets"][0]["message_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let filled = json!({
        "name": "John Doe", "contact": "nowhere", "treatment": "a check-up", "time": "Tuesday morning",
    });
    // An invalid contact is asked for again, as it is without the form.
    let said = events(&answer(&app, "d", &form, filled).await);
    let text: String = said.iter().map(Event::content).collect();
    assert!(text.starts_with("How can we reach you, John?"), "{text}");
    let said = app.say("d", "john@example.com").await.json();
    let question = said["widgets"][0]["message_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let said = events(&answer(&app, "d", &question, json!({"confirmed": false})).await);
    let text: String = said.iter().map(Event::content).collect();
    assert!(
        text.starts_with("Then let's go through it once more."),
        "{text}"
    );
}

async fn two_answers_that_wait_are_one_and_a_refusal(db: Db) {
    let (app, widget) = asked(db).await;
    app.llm.says(["One", " moment."]).pause_after(1);
    app.llm.says(["Fine."]);
    let mut stream = app.stream("d", "Wait").await;
    stream.next().await.unwrap();
    let answers = ["o", "Else"].map(|choice| answer(&app, "d", &widget, json!({"choice": choice})));
    let (said, ()) = tokio::join!(futures_util::future::join_all(answers), async {
        until(async || app.app.engine.waiting() == 2).await;
        app.llm.go_on();
    });
    let mut codes: Vec<u16> = said.iter().map(|said| said.status.as_u16()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [200, 409]);
    assert!(!said.iter().any(|said| said.text.contains("degraded")));
}

async fn an_answer_that_waits_is_no_part_of_another_message(db: Db) {
    let (app, widget) = asked(db).await;
    app.llm.says(["One", " moment."]).pause_after(1);
    app.llm.says(["Your order."]);
    app.llm.says(["You're welcome."]);
    let mut stream = app.stream("d", "Wait").await;
    stream.next().await.unwrap();
    let answering = answer(&app, "d", &widget, json!({"choice": "o"}));
    let waiting = async |count| until(async || app.app.engine.waiting() == count).await;
    let saying = async {
        waiting(1).await;
        app.say("d", "Thanks").await
    };
    let going_on = async {
        waiting(2).await;
        app.llm.go_on();
    };
    let (answered, said, ()) = tokio::join!(answering, saying, going_on);
    assert!(answered.text.contains("Your order."), "{}", answered.text);
    assert_eq!(said.content(), "You're welcome.");
}

async fn a_widget_of_a_tool_does_not_end_the_answer(db: Db) {
    let endpoint = Endpoint::start().await;
    let shown = json!({"status": "ok", "widget": {"type": "card", "data": {"title": "Number 7"}}});
    endpoint.at("/book", 200, &shown.to_string());
    let url = format!("{}/book", endpoint.url);
    let app = TestApp::with(db, |settings| {
        with_widgets(settings);
        let tool = json!({
            "description": "Books.", "url": url, "allow_private": true, "result": "/status",
            "widget": "/widget",
        });
        settings.tools = [("book".to_owned(), serde_json::from_value(tool).unwrap())].into();
        let agent = settings.agents.get_mut("support").unwrap();
        agent.tools = vec!["book".to_owned()];
    })
    .await;
    app.llm.calls("", [["1", "book", "{}"]]);
    app.llm.says(["It is booked."]);
    let said = app.say("d", "Book it").await.json();
    assert_eq!(said["content"], "It is booked.");
    assert_eq!(said["widgets"][0]["data"]["title"], "Number 7");
}
