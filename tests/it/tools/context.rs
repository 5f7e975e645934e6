//! Context: data about a visitor that tools receive and the model never sees.

use frontdesk::config::Settings;
use reqwest::Method;
use serde_json::{Value, json};

use super::tool;
use crate::support::{Db, Endpoint, TestApp};

both! {
    a_model_never_sees_the_context
    nor_does_one_of_the_other_vendor
    an_argument_of_the_context_is_not_the_models
    what_a_tool_learns_is_known_to_the_next
    what_does_not_fit_is_not_learnt
    a_visitor_says_only_what_they_may
    a_context_is_made_once
    what_was_learnt_survives_a_stop
    whoever_takes_over_adds_its_defaults
}

/// Settings with a tool that receives the customer from the context, and adds the order to it.
fn with_context(endpoint: &Endpoint, settings: &mut Settings) {
    let mut find = tool(endpoint, "/find", "POST");
    let property = json!({"type": "string"});
    find.parameters = json!({
        "type": "object",
        "properties": {"word": property, "customer": property, "page": property},
        "required": ["customer"],
    });
    find.inject = [("customer", "customer_id"), ("page", "page")]
        .map(|(name, key)| (name.to_owned(), key.to_owned()))
        .into();
    find.remember = [("order_id".to_owned(), "/order/id".to_owned())].into();
    let mut cancel = tool(endpoint, "/orders/{id}/cancel", "POST");
    cancel.inject = [("id".to_owned(), "order_id".to_owned())].into();
    settings.tools = [("find", find), ("cancel", cancel)]
        .map(|(name, tool)| (name.to_owned(), tool))
        .into();
    settings.agents.retain(|path, _| path == "support");
    let agent = settings.agents.get_mut("support").unwrap();
    agent.prompt = "You help.".to_owned();
    agent.tools = vec!["find".to_owned(), "cancel".to_owned()];
    agent.context = Some(json!({
        "type": "object",
        "properties": {
            "customer_id": {"type": "string", "default": "secret-c-7"},
            "order_id": {"type": "string"},
            "page": {"type": "string", "maxLength": 20},
        },
    }));
    agent.context_from_visitor = vec!["page".to_owned()];
}

async fn desk(db: Db) -> (TestApp, Endpoint) {
    let endpoint = Endpoint::start().await;
    endpoint.at(
        "/find",
        200,
        r#"{"status": "found", "order": {"id": "secret-o-1"}}"#,
    );
    endpoint.at(
        "/orders/secret-o-1/cancel",
        200,
        r#"{"status": "cancelled"}"#,
    );
    let app = TestApp::with(db, |settings| with_context(&endpoint, settings)).await;
    (app, endpoint)
}

fn body(value: Value) -> Value {
    let mut body = json!({"content": "Hi", "agent": "support"});
    body["context"] = value;
    body
}

async fn a_model_never_sees_the_context(db: Db) {
    let (app, endpoint) = desk(db).await;
    sees_no_context(&app, &endpoint).await;
    insta::assert_json_snapshot!("tools_without_context", app.llm.asked()[0].body["tools"]);
}

async fn nor_does_one_of_the_other_vendor(db: Db) {
    let (_, endpoint) = desk(db).await;
    let app = TestApp::with(db, |settings| {
        with_context(&endpoint, settings);
        settings.llm.model = "anthropic:fake".to_owned();
    })
    .await;
    sees_no_context(&app, &endpoint).await;
}

async fn sees_no_context(app: &TestApp, endpoint: &Endpoint) {
    app.llm.calls(
        "",
        [
            ["1", "find", r#"{"word": "shoes"}"#],
            ["2", "find", r#"{"word": 7}"#],
        ],
    );
    app.llm.calls("", [["3", "cancel", "{}"]]);
    app.llm.says(["Cancelled."]);
    let said = app
        .post("d", "/chat", body(json!({"page": "secret-page"})))
        .await;
    assert_eq!(said.content(), "Cancelled.");
    let asked = endpoint.asked();
    let expected = json!({"word": "shoes", "customer": "secret-c-7", "page": "secret-page"});
    assert_eq!(asked[0].body, expected);
    assert_eq!(asked[1].path, "/orders/secret-o-1/cancel");
    // None of the bytes sent to the model contains the context.
    for request in app.llm.asked() {
        let sent = request.body.to_string();
        for hidden in ["secret", "customer", "page", "order_id"] {
            assert!(!sent.contains(hidden), "{hidden}: {sent}");
        }
    }
    // The visitor does not see it, either.
    let history = app.get("d", "/chat/history").await.text;
    assert!(!history.contains("secret"), "{history}");
}

async fn an_argument_of_the_context_is_not_the_models(db: Db) {
    let (app, endpoint) = desk(db).await;
    app.llm.calls(
        "",
        [[
            "1",
            "find",
            r#"{"word": "shoes", "customer": "somebody else"}"#,
        ]],
    );
    app.llm.says(["Found."]);
    app.say("d", "I am the customer 'somebody else'").await;
    assert_eq!(endpoint.asked()[0].body["customer"], "secret-c-7");
}

async fn what_a_tool_learns_is_known_to_the_next(db: Db) {
    let (app, endpoint) = desk(db).await;
    // The order is not known yet.
    app.llm.calls("", [["1", "cancel", "{}"]]);
    app.llm.calls("", [["2", "find", "{}"]]);
    app.llm.says(["Found."]);
    app.say("d", "Cancel it").await;
    let told = app.llm.asked()[1].body["messages"].to_string();
    assert!(told.contains("is not known"), "{told}");
    // The order is stored with the conversation.
    app.llm.calls("", [["3", "cancel", "{}"]]);
    app.llm.says(["Cancelled."]);
    app.another().await;
    app.say("d", "Now").await;
    assert_eq!(endpoint.asked()[1].path, "/orders/secret-o-1/cancel");
}

async fn what_does_not_fit_is_not_learnt(db: Db) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/find", 200, r#"{"status": "found", "order": {"id": 7}}"#);
    let app = TestApp::with(db, |settings| with_context(&endpoint, settings)).await;
    app.llm.calls("", [["1", "find", "{}"]]);
    app.llm.says(["Found."]);
    assert_eq!(app.say("d", "Find it").await.content(), "Found.");
    assert_eq!(
        app.count("conversations where context is not null").await,
        1
    );
    app.llm.calls("", [["2", "cancel", "{}"]]);
    app.llm.says(["Sorry."]);
    app.say("d", "Cancel it").await;
    assert_eq!(endpoint.asked().len(), 1);
}

async fn a_visitor_says_only_what_they_may(db: Db) {
    let (app, _) = desk(db).await;
    for (context, param) in [
        (json!({"customer_id": "c-8"}), json!("context.customer_id")),
        (json!({"page": "x".repeat(21)}), json!("context.page")),
        (json!({"page": 1}), json!("context.page")),
        (json!({"other": 1}), json!("context.other")),
    ] {
        let said = app.post("d", "/chat", body(context.clone())).await;
        assert_eq!(said.status, 400, "{context}");
        assert_eq!(said.json()["code"], "invalid_context");
        assert_eq!(said.json()["param"], param, "{context}");
    }
    let no_agent = json!({"content": "Hi", "context": {"page": "a"}});
    assert_eq!(
        app.post("d", "/chat", no_agent).await.json()["code"],
        "invalid_context"
    );
    assert_eq!(app.count("messages").await, 0);
}

async fn a_context_is_made_once(db: Db) {
    let (app, endpoint) = desk(db).await;
    app.llm.says(["Hello."]);
    app.post("d", "/chat", body(json!({"page": "first"}))).await;
    app.llm.calls("", [["1", "find", "{}"]]);
    app.llm.says(["Found."]);
    let later = app
        .request(Method::POST, "d", "/chat")
        .json(&body(json!({"page": "second"})));
    later.send().await.unwrap();
    assert_eq!(endpoint.asked()[0].body["page"], "first");
}

async fn what_was_learnt_survives_a_stop(db: Db) {
    let (app, endpoint) = desk(db).await;
    // In the first turn, before the context's defaults are stored.
    app.llm.calls("", [["1", "find", "{}"]]);
    app.llm.says(["Let", " me see."]).pause_after(1);
    let mut stream = app.stream("d", "Find it").await;
    while stream.next().await.unwrap().content() != "Let" {}
    let turn = stream.turn_id();
    app.delete("d", &format!("/chat/stream/{turn}")).await;
    app.llm.calls("", [["2", "cancel", "{}"]]);
    app.llm.says(["Cancelled."]);
    app.say("d", "Cancel it").await;
    assert_eq!(endpoint.asked()[1].path, "/orders/secret-o-1/cancel");
}

async fn whoever_takes_over_adds_its_defaults(db: Db) {
    let endpoint = Endpoint::start().await;
    endpoint.at(
        "/find",
        200,
        r#"{"status": "found", "order": {"id": "secret-o-1"}}"#,
    );
    let app = TestApp::with(db, |settings| {
        let mut other = settings.agents["scheduling"].clone();
        with_context(&endpoint, settings);
        other.handoff_to = vec!["support".to_owned()];
        settings.agents.insert("scheduling".to_owned(), other);
    })
    .await;
    let handoff = json!({"agent": "support", "reason": "r", "summary": "s"}).to_string();
    app.llm.calls("", [["1", "handoff", handoff.as_str()]]);
    app.llm.calls("", [["2", "find", "{}"]]);
    app.llm.says(["Found."]);
    let body = json!({"content": "Find it", "agent": "scheduling"});
    assert_eq!(app.post("d", "/chat", body).await.content(), "Found.");
    assert_eq!(endpoint.asked()[0].body["customer"], "secret-c-7");
}
