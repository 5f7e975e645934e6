//! Tools, in both vendors' wire formats.

mod confirm;
mod context;
mod handoffs;
mod hostile;
mod limits;
mod mcp;

use std::time::Duration;

use frontdesk::config::{Settings, ToolSettings};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Db, Endpoint, Event, Step, TestApp};

both! {
    two_tools_at_once_one_of_them_with_bad_arguments
    the_other_vendor_is_told_the_same
    a_tool_that_an_agent_was_not_given_is_not_called
    an_address_of_our_own_network_is_not_asked
    what_goes_wrong_with_a_tool_is_for_the_model_to_mend
    a_visitor_is_shown_neither_arguments_nor_results
    later_turns_do_not_read_of_tools
    nothing_is_called_that_cannot_be_recorded
    an_agent_may_have_nothing_to_add_to_its_tools
    a_call_that_was_cut_off_is_not_made
    what_was_done_in_a_turn_that_was_stopped_is_told_later
    arguments_that_the_schema_does_not_name_are_refused
}

fn tool(endpoint: &Endpoint, path: &str, method: &str) -> ToolSettings {
    let settings = json!({
        "description": "Where an order is.",
        "url": format!("{}{path}", endpoint.url),
        "method": method,
        "headers": {"Authorization": "Bearer secret"},
        "parameters": {
            "type": "object",
            "properties": {"id": {"type": "string"}, "note": {"type": "string"}},
            "required": ["id"],
        },
        "result": "/status",
        "timeout_seconds": 1,
        "allow_private": true,
    });
    serde_json::from_value(settings).unwrap()
}

/// Settings with one agent that has two tools; a third tool belongs to no agent.
fn with_tools(endpoint: &Endpoint) -> impl FnOnce(&mut Settings) {
    let tools = [
        ("order_status", tool(endpoint, "/orders/{id}", "GET")),
        (
            "cancel_order",
            tool(endpoint, "/orders/{id}/cancel", "POST"),
        ),
        ("refund", tool(endpoint, "/refunds", "POST")),
    ];
    move |settings| {
        settings.tools = tools.map(|(name, tool)| (name.to_owned(), tool)).into();
        settings.agents.retain(|path, _| path == "support");
        let agent = settings.agents.get_mut("support").unwrap();
        agent.prompt = "You help.".to_owned();
        agent.tools = vec!["order_status".to_owned(), "cancel_order".to_owned()];
    }
}

async fn desk(db: Db) -> (TestApp, Endpoint) {
    let endpoint = Endpoint::start().await;
    endpoint.at(
        "/orders/A-1",
        200,
        r#"{"status": "on its way", "internal": "x"}"#,
    );
    (TestApp::with(db, with_tools(&endpoint)).await, endpoint)
}

/// A short form of a stream's frames.
fn shown(events: &[Event]) -> Vec<String> {
    let one = |event: &Event| match event.data["type"].as_str() {
        Some("tool") => format!(
            "[{} {}]",
            event.data["tool"]["name"].as_str().unwrap(),
            event.data["tool"]["status"].as_str().unwrap()
        ),
        Some(other) => format!("[{other}]"),
        None if event.is_final() => format!("|{}", event.data["finish_reason"].as_str().unwrap()),
        None => event.content().to_owned(),
    };
    events.iter().map(one).collect()
}

const CALLS: [[&str; 3]; 2] = [
    ["call-1", "order_status", r#"{"id": "A-1"}"#],
    ["call-2", "cancel_order", r#"{"id": 7}"#],
];

/// The turn's second request to the model, with the tool results.
fn told(app: &TestApp) -> Value {
    let asked = app.llm.asked();
    assert_eq!(asked.len(), 2);
    json!({
        "messages": asked[1].body["messages"],
        "system": asked[1].body["system"],
        "tools": asked[1].body["tools"],
    })
}

async fn two_tools_at_once_one_of_them_with_bad_arguments(db: Db) {
    let (app, endpoint) = desk(db).await;
    app.llm.calls("Let me look.", CALLS);
    app.llm.says(["It is", " on its way."]);
    let events = app.stream("d", "Where is A-1?").await.rest().await;
    // Results come in any order, because the calls run in parallel.
    let mut shown = shown(&events);
    shown[3..5].sort();
    assert_eq!(
        shown,
        [
            "Let me look.",
            "[order_status running]",
            "[cancel_order running]",
            "[cancel_order failed]",
            "[order_status done]",
            "\n\nIt is",
            " on its way.",
            "|stop"
        ]
    );
    // The frames of a call have the id of its message, so that parallel calls can be told apart.
    let history = app.get("d", "/chat/history").await.json();
    let calls = history["messages"].as_array().unwrap().iter();
    let calls = calls.filter(|message| message["message_type"] == "tool_call");
    let calls: Vec<_> = calls
        .map(|call| (&call["tool_name"], &call["id"]))
        .collect();
    assert_eq!(calls.len(), 2);
    for (name, id) in calls {
        let frames = events
            .iter()
            .filter(|event| event.data["tool"]["id"] == *id);
        let names: Vec<_> = frames.map(|frame| &frame.data["tool"]["name"]).collect();
        assert_eq!(names, [name, name]);
    }
    let asked = endpoint.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/orders/A-1");
    assert_eq!(asked[0].header("authorization"), Some("Bearer secret"));
    insta::assert_json_snapshot!("told_openai", told(&app));
    assert_eq!(
        app.count("messages where message_type = 'tool_call'").await,
        2
    );
    assert_eq!(
        app.count("messages where message_type = 'tool_result' and tool_success")
            .await,
        1
    );
    assert_eq!(
        app.count("messages where body = 'Let me look.\n\nIt is on its way.'")
            .await,
        1
    );
}

async fn the_other_vendor_is_told_the_same(db: Db) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/orders/A-1", 200, r#"{"status": "on its way"}"#);
    let tools = with_tools(&endpoint);
    let app = TestApp::with(db, |settings| {
        tools(settings);
        settings.llm.model = "anthropic:fake".into();
    })
    .await;
    app.llm.calls("Let me look.", CALLS);
    app.llm.says(["It is on its way."]);
    let said = app.say("d", "Where is A-1?").await;
    assert_eq!(said.content(), "Let me look.\n\nIt is on its way.");
    assert_eq!(endpoint.asked().len(), 1);
    insta::assert_json_snapshot!("told_anthropic", told(&app));
}

async fn a_tool_that_an_agent_was_not_given_is_not_called(db: Db) {
    let (app, endpoint) = desk(db).await;
    app.llm.calls(
        "",
        [
            ["1", "refund", r#"{"id": "A-1"}"#],
            ["2", "rm -rf\u{0} <b>", "{}"],
        ],
    );
    app.llm.says(["I cannot do that."]);
    let events = app.stream("d", "Refund me").await.rest().await;
    assert_eq!(shown(&events), ["I cannot do that.", "|stop"]);
    assert!(endpoint.asked().is_empty());
    let results = &told(&app)["messages"];
    assert_eq!(results[3]["content"], "There is no tool \"refund\".");
    assert_eq!(
        app.count("messages where message_type = 'tool_result' and not tool_success")
            .await,
        2
    );
}

async fn an_address_of_our_own_network_is_not_asked(db: Db) {
    let endpoint = Endpoint::start().await;
    let tools = with_tools(&endpoint);
    let app = TestApp::with(db, |settings| {
        tools(settings);
        for tool in settings.tools.values_mut() {
            tool.allow_private = false;
        }
        let by_name = settings.tools.get_mut("cancel_order").unwrap();
        by_name.url = by_name.url.replace("127.0.0.1", "localhost");
    })
    .await;
    let calls = CALLS.map(|[id, name, _]| [id, name, r#"{"id": "A-1"}"#]);
    app.llm.calls("", calls);
    app.llm.says(["It did not work."]);
    assert_eq!(app.say("d", "Hi").await.content(), "It did not work.");
    assert!(endpoint.asked().is_empty());
    let messages = &told(&app)["messages"];
    assert_eq!(messages[3]["content"], "The tool's address is not allowed.");
    assert_eq!(messages[4]["content"], "The tool cannot be reached.");
}

async fn what_goes_wrong_with_a_tool_is_for_the_model_to_mend(db: Db) {
    let (app, endpoint) = desk(db).await;
    let large = format!(r#"{{"status": "{}"}}"#, "ü".repeat(20_000));
    endpoint.at("/orders/broken", 500, "out of order");
    endpoint.at("/orders/large", 200, &large);
    endpoint.slowly("/orders/slow", 200, "{}", Duration::from_secs(5));
    let ids = ["broken", "large", "slow", "..", ""];
    let arguments = ids.map(|id| json!({"id": id}).to_string());
    let [a, b, c, d, e] = arguments.each_ref().map(String::as_str);
    let calls = [a, b, c, d, e, "{\"id\": "].map(|arguments| ["", "order_status", arguments]);
    app.llm.calls("", calls);
    app.llm.says(["I am sorry."]);
    assert_eq!(app.say("d", "Hi").await.content(), "I am sorry.");
    let messages = &told(&app)["messages"];
    let result = |at: usize| messages[at + 3]["content"].as_str().unwrap();
    assert_eq!(result(0), "The tool answered with status 500.");
    assert!(result(1).len() < 17_000 && result(1).ends_with("[The rest is left out.]"));
    assert_eq!(
        result(2),
        "The tool took too long; it may have done its work."
    );
    assert_eq!(result(3), "The argument \"id\" cannot be \"..\".");
    assert_eq!(result(4), "The argument \"id\" cannot be \"\".");
    assert!(
        result(5).starts_with("The arguments are not JSON"),
        "{}",
        result(5)
    );
}

async fn a_visitor_is_shown_neither_arguments_nor_results(db: Db) {
    let (app, _endpoint) = desk(db).await;
    app.llm.calls("", [CALLS[0]]);
    app.llm.says(["It is on its way."]);
    app.say("d", "Where is A-1?").await;
    let history = app.get("d", "/chat/history").await;
    let messages = history.json()["messages"].clone();
    let kinds: Vec<&str> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["message_type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "user_input",
            "tool_call",
            "tool_result",
            "assistant_response"
        ]
    );
    assert_eq!(messages[2]["tool_name"], "order_status");
    assert_eq!(messages[2]["tool_success"], true);
    for hidden in [&messages[1], &messages[2]] {
        assert_eq!(
            (&hidden["content"], &hidden["additional_data"]),
            (&json!(""), &Value::Null)
        );
    }
}

async fn later_turns_do_not_read_of_tools(db: Db) {
    let (app, _endpoint) = desk(db).await;
    app.llm.calls("", [CALLS[0]]);
    app.llm.says(["It is on its way."]);
    app.say("d", "Where is A-1?").await;
    app.say("d", "Thanks").await;
    let asked = app.llm.asked();
    assert_eq!(
        asked[2].conversation(),
        [
            "user: Where is A-1?",
            "assistant: It is on its way.",
            "user: Thanks"
        ]
    );
}

async fn nothing_is_called_that_cannot_be_recorded(db: Db) {
    let (app, endpoint) = desk(db).await;
    app.llm.script([
        Step::Text("Let me look.".to_owned()),
        Step::Pause,
        Step::Calls(vec![CALLS[0].map(str::to_owned)]),
        Step::Finish("tool_calls"),
    ]);
    let mut stream = app.stream("d", "Where is A-1?").await;
    stream.next().await.unwrap();
    // As if another instance had taken the turn.
    let fence = "update conversations set fence = fence + 1";
    app.database.execute(fence.to_owned()).await;
    app.llm.go_on();
    stream.rest().await;
    assert!(endpoint.asked().is_empty());
    assert_eq!(app.count("messages where role = 'tool'").await, 0);
    assert_eq!(
        app.request(Method::GET, "d", "/healthz")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

async fn an_agent_may_have_nothing_to_add_to_its_tools(db: Db) {
    let (app, _endpoint) = desk(db).await;
    app.llm.calls("I am looking.", [CALLS[0]]);
    app.llm.script([Step::Finish("stop")]);
    let said = app.say("d", "Where is A-1?").await;
    assert_eq!(said.content(), "I am looking.");
    assert_eq!(app.llm.asked().len(), 2);
}

async fn a_call_that_was_cut_off_is_not_made(db: Db) {
    let (app, endpoint) = desk(db).await;
    app.llm.script([
        Step::Text("Let me look.".to_owned()),
        Step::Calls(vec![CALLS[0].map(str::to_owned)]),
        Step::Finish("length"),
    ]);
    let said = app.say("d", "Where is A-1?").await;
    assert_eq!(said.json()["finish_reason"], "length");
    assert!(endpoint.asked().is_empty());
}

async fn arguments_that_the_schema_does_not_name_are_refused(db: Db) {
    let (app, endpoint) = desk(db).await;
    let more = r#"{"id": "A-1", "tenant": "other"}"#;
    app.llm.calls("", [["1", "order_status", more]]);
    assert_eq!(app.say("d", "Hi").await.content(), "Very well.");
    assert!(endpoint.asked().is_empty());
    let told = told(&app)["messages"][3]["content"].clone();
    assert!(told.as_str().unwrap().contains("tenant"), "{told}");
}

async fn what_was_done_in_a_turn_that_was_stopped_is_told_later(db: Db) {
    let (app, _endpoint) = desk(db).await;
    app.llm.calls("", [CALLS[0]]);
    app.llm.says(["It is", " on its way."]).pause_after(1);
    let mut stream = app.stream("d", "Where is A-1?").await;
    while stream.next().await.unwrap().content() != "It is" {}
    let path = format!("/chat/stream/{}", stream.turn_id());
    app.request(Method::DELETE, "d", &path)
        .send()
        .await
        .unwrap();
    assert_eq!(app.say("d", "And now?").await.content(), "Very well.");
    let asked = app.llm.asked();
    let told = r#"["order_status {\"id\": \"A-1\"}: done"]"#;
    assert!(asked[2].system().contains(told), "{}", asked[2].system());
}
