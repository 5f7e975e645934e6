//! Tools that need the visitor's confirmation.

use std::time::Duration;

use frontdesk::config::Settings;
use serde_json::json;

use super::{shown, tool};
use crate::support::{Db, Endpoint, Event, Person, TestApp, until};

both! {
    a_visitor_is_asked_and_says_yes
    a_visitor_is_asked_and_says_no
    a_visitor_is_not_asked_about_a_call_that_does_not_fit
    another_message_is_no_yes
    a_call_is_made_as_the_agent_that_wanted_it
    what_was_only_asked_is_not_told_as_done
    offline_a_flow_asks_calls_and_hands_over
    a_question_outlives_the_person_who_took_over
}

const CANCEL: [&str; 3] = ["call-1", "cancel_order", r#"{"id": "A-1"}"#];

fn asking(endpoint: &Endpoint) -> impl FnOnce(&mut Settings) {
    let mut cancel = tool(endpoint, "/orders/{id}/cancel", "POST");
    cancel.confirm = Some("Cancel order {id}?".to_owned());
    move |settings| {
        settings.tools = [("cancel_order".to_owned(), cancel)].into();
        settings.agents.retain(|path, _| path == "support");
        let agent = settings.agents.get_mut("support").unwrap();
        agent.prompt = "You help.".to_owned();
        agent.tools = vec!["cancel_order".to_owned()];
    }
}

/// A server that has asked `d` whether to cancel an order; the question's id.
async fn asked(db: Db) -> (TestApp, Endpoint, String) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/orders/A-1/cancel", 200, r#"{"status": "cancelled"}"#);
    let app = TestApp::with(db, asking(&endpoint)).await;
    app.llm.calls("Let me see.", [CANCEL]);
    let events = app.stream("d", "Cancel A-1").await.rest().await;
    let steps = [
        "Let me see.",
        "[cancel_order running]",
        "[cancel_order waiting]",
        "[widget]",
        "|stop",
    ];
    assert_eq!(shown(&events), steps);
    assert_eq!(
        events[3].data["widget"],
        json!({"type": "confirm", "data": {"text": "Cancel order A-1?"}})
    );
    assert_eq!(endpoint.asked().len(), 0);
    let question = events[3].data["message_id"].as_str().unwrap().to_owned();
    (app, endpoint, question)
}

async fn say(app: &TestApp, question: &str, confirmed: bool) -> String {
    let path = format!("/chat/widgets/{question}");
    let said = app
        .post("d", &path, json!({"answer": {"confirmed": confirmed}}))
        .await;
    assert_eq!(said.status, 200, "{}", said.text);
    said.text
}

async fn a_visitor_is_asked_and_says_yes(db: Db) {
    let (app, endpoint, question) = asked(db).await;
    app.llm.says(["It is cancelled."]);
    let text = say(&app, &question, true).await;
    assert!(text.contains("It is cancelled."), "{text}");
    assert_eq!(endpoint.asked()[0].path, "/orders/A-1/cancel");
    assert_eq!(endpoint.asked().len(), 1);
    // The model sees the call as one of its own.
    let messages = &app.llm.asked()[1].body["messages"];
    insta::assert_json_snapshot!("confirmed", messages);
    assert_eq!(
        app.count("messages where message_type = 'tool_result' and body = 'cancelled'")
            .await,
        1
    );
    // Neither the question nor the answer reveals the tool's arguments.
    let history = app.get("d", "/chat/history").await.text;
    assert!(!history.contains("arguments"), "{history}");
    // The next turn does not make the call again.
    app.llm.says(["Bye."]);
    app.say("d", "Thanks").await;
    assert_eq!(endpoint.asked().len(), 1);
}

async fn a_visitor_is_asked_and_says_no(db: Db) {
    let (app, endpoint, question) = asked(db).await;
    app.llm.says(["Then not."]);
    say(&app, &question, false).await;
    assert_eq!(endpoint.asked().len(), 0);
    let told = app.llm.asked()[1].body["messages"].to_string();
    assert!(
        told.contains("The visitor was asked, and said no."),
        "{told}"
    );
    let denied = "messages where message_type = 'tool_result' and not tool_success";
    assert_eq!(app.count(denied).await, 1);
}

async fn a_visitor_is_not_asked_about_a_call_that_does_not_fit(db: Db) {
    let endpoint = Endpoint::start().await;
    let app = TestApp::with(db, asking(&endpoint)).await;
    app.llm.calls("", [["1", "cancel_order", r#"{"id": 7}"#]]);
    app.llm.says(["Which one?"]);
    let said = app.say("d", "Cancel it").await.json();
    assert_eq!(said["widgets"], json!([]));
    assert_eq!(said["content"], "Which one?");
}

async fn another_message_is_no_yes(db: Db) {
    let (app, endpoint, _) = asked(db).await;
    // The model takes the text for a yes, but the visitor is asked again.
    app.llm.calls("", [CANCEL]);
    let said = app.say("d", "Yes, do it, confirmed: true").await.json();
    assert_eq!(said["widgets"][0]["type"], "confirm");
    assert_eq!(endpoint.asked().len(), 0);
}

async fn offline_a_flow_asks_calls_and_hands_over(db: Db) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/orders/A-1/cancel", 200, r#"{"status": "number 7"}"#);
    let mut cancel = tool(&endpoint, "/orders/{id}/cancel", "POST");
    cancel.confirm = Some("Cancel order {id}?".to_owned());
    let app = TestApp::with(db, |settings| {
        settings.llm.model = "offline".to_owned();
        settings.tools = [("cancel_order".to_owned(), cancel)].into();
        settings.routing.default_agent = "support".to_owned();
        let slot = json!({"name": "id", "kind": "text", "ask": "Which order?", "retry": "Which?"});
        let agent = settings.agents.get_mut("support").unwrap();
        agent.slots = vec![serde_json::from_value(slot).unwrap()];
        agent.tools = vec!["cancel_order".to_owned()];
        agent.handoff_to = vec!["scheduling".to_owned()];
        agent.flow.greeting = "Hello.".to_owned();
        agent.flow.done = "Done: {result}.".to_owned();
        agent.flow.tool = Some("cancel_order".to_owned());
        agent.flow.failed = Some("That did not work.".to_owned());
        agent.flow.handoff = Some("scheduling".to_owned());
    })
    .await;
    assert_eq!(app.say("d", "Help").await.content(), "Hello. Which order?");
    let events = app.stream("d", "A-1").await.rest().await;
    let steps = [
        "[cancel_order running]",
        "[cancel_order waiting]",
        "[widget]",
        "|stop",
    ];
    assert_eq!(shown(&events), steps);
    let text = say(&app, events[2].data["message_id"].as_str().unwrap(), true).await;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let event = |data| Event {
        id: String::new(),
        data: serde_json::from_str(data).unwrap(),
    };
    let said: String = data
        .map(event)
        .map(|event| event.content().to_owned())
        .collect();
    assert!(
        said.starts_with("Done: number 7.\n\nHello! I'm Anna"),
        "{said}"
    );
    assert_eq!(endpoint.asked().len(), 1);
    let session = app.get("d", "/chat/session").await.json();
    assert_eq!(session["active_agent"], "scheduling");
}

async fn a_call_is_made_as_the_agent_that_wanted_it(db: Db) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/orders/A-1/cancel", 200, r#"{"status": "cancelled"}"#);
    let asking = asking(&endpoint);
    let app = TestApp::with(db, |settings| {
        let other = settings.agents["scheduling"].clone();
        asking(settings);
        settings.agents.insert("scheduling".to_owned(), other);
        settings.routing.default_agent = "support".to_owned();
    })
    .await;
    app.llm.calls("", [CANCEL]);
    let said = app
        .post(
            "d",
            "/chat",
            json!({"content": "Cancel A-1", "agent": "support"}),
        )
        .await
        .json();
    let question = said["widgets"][0]["message_id"]
        .as_str()
        .unwrap()
        .to_owned();
    // The visitor talks to another agent, and then answers the question.
    app.llm.says(["I am Anna."]);
    app.post(
        "d",
        "/chat",
        json!({"content": "Book", "agent": "scheduling"}),
    )
    .await;
    app.llm.says(["Your order is cancelled."]);
    say(&app, &question, true).await;
    assert_eq!(endpoint.asked().len(), 1);
}

async fn what_was_only_asked_is_not_told_as_done(db: Db) {
    let endpoint = Endpoint::start().await;
    let slow = std::time::Duration::from_millis(900);
    endpoint.slowly("/orders/A-1", 200, r#"{"status": "on its way"}"#, slow);
    let asking = asking(&endpoint);
    let look = tool(&endpoint, "/orders/{id}", "GET");
    let app = TestApp::with(db, |settings| {
        asking(settings);
        settings.tools.insert("look".to_owned(), look);
        settings
            .agents
            .get_mut("support")
            .unwrap()
            .tools
            .push("look".to_owned());
    })
    .await;
    app.llm
        .calls("", [CANCEL, ["2", "look", r#"{"id": "A-1"}"#]]);
    let mut stream = app.stream("d", "Cancel A-1").await;
    let mut frame = stream.next().await.unwrap();
    while frame.data["type"] != "widget" {
        frame = stream.next().await.unwrap();
    }
    let turn = stream.turn_id();
    app.delete("d", &format!("/chat/stream/{turn}")).await;
    app.llm.says(["Then not."]);
    app.say("d", "No, wait").await;
    let told = app.llm.asked()[1].system();
    assert!(
        told.contains("not done: the visitor had to be asked"),
        "{told}"
    );
    // The question still exists, and can be answered.
    endpoint.at("/orders/A-1/cancel", 200, r#"{"status": "cancelled"}"#);
    app.llm.says(["It is cancelled."]);
    say(&app, frame.data["message_id"].as_str().unwrap(), true).await;
    assert!(
        endpoint
            .asked()
            .iter()
            .any(|asked| asked.path.ends_with("/cancel"))
    );
}

async fn a_question_outlives_the_person_who_took_over(db: Db) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/orders/A-1/cancel", 200, r#"{"status": "cancelled"}"#);
    endpoint.slowly("/orders/A-2", 200, "{}", Duration::from_secs(5));
    let mut find = tool(&endpoint, "/orders/{id}", "GET");
    find.timeout_seconds = 5;
    let ask = asking(&endpoint);
    let app = TestApp::with(db, |settings| {
        ask(settings);
        settings.tools.insert("find_order".to_owned(), find);
        let agent = settings.agents.get_mut("support").unwrap();
        agent.tools.push("find_order".to_owned());
    })
    .await;
    let slow = ["call-2", "find_order", r#"{"id": "A-2"}"#];
    app.llm.calls("Let me see.", [CANCEL, slow]);
    let mut stream = app.stream("d", "Cancel A-1").await;
    let id = stream.conversation_id();
    let mut last = stream.next().await.unwrap();
    while last.data["type"] != "widget" {
        last = stream.next().await.unwrap();
    }
    // Wait until the durable log has the widget's frame.
    let (_, seq) = last.id.rsplit_once(':').unwrap();
    let stored = format!("turn_pieces where last_seq >= {seq}");
    until(async || app.count(&stored).await > 0).await;
    let eva = Person::expert(&app, "eva").await;
    assert_eq!(eva.does("claim", &id).await.status, 200);
    stream.rest().await;
    assert_eq!(eva.does("release", &id).await.status, 200);
    let history = app.get("d", "/chat/history").await.json();
    let messages = history["messages"].as_array().unwrap().iter();
    let mut widgets = messages.filter(|message| message["message_type"] == "widget");
    let question = widgets.next().expect("the question was shown")["id"].as_str();
    app.llm.says(["It is cancelled."]);
    say(&app, question.unwrap(), true).await;
    assert_eq!(endpoint.asked().last().unwrap().path, "/orders/A-1/cancel");
}
