//! An agent's limits: tool rounds, tokens, time.

use serde_json::{Value, json};

use super::{CALLS, with_tools};
use crate::support::{Db, Endpoint, TestApp};

both! {
    an_agent_has_to_answer_in_the_end
    an_agent_has_limits_of_its_own
    a_turn_has_an_end
}

async fn an_agent_has_limits_of_its_own(db: Db) {
    let endpoint = Endpoint::start().await;
    let tools = with_tools(&endpoint);
    let app = TestApp::with(db, |settings| {
        tools(settings);
        settings.llm.retries = 0;
        let agent = settings.agents.get_mut("support").unwrap();
        agent.tool_rounds = Some(1);
        agent.max_tokens = Some(77);
        agent.fallbacks = Some(vec!["openai:other".to_owned()]);
    })
    .await;
    app.llm.refuses(500, "", "{}");
    app.llm
        .calls("", [["1", "order_status", r#"{"id": "A-1"}"#]]);
    app.llm.says(["That is all."]);
    assert_eq!(app.say("d", "Hi").await.content(), "That is all.");
    let asked = app.llm.asked();
    assert_eq!(asked[1].body["model"], "other");
    assert_eq!(asked[1].body["max_tokens"], 77);
    // After its only tool round, the model has to answer.
    assert_eq!(asked[1].body.get("tool_choice"), None);
    assert_eq!(asked[2].body["tool_choice"], "none");
}

async fn a_turn_has_an_end(db: Db) {
    let app = TestApp::with(db, |settings| settings.turn.most_seconds = 1).await;
    app.llm.says(["So far", " and no further."]).pause_after(1);
    let said = app.say("d", "Hi").await.json();
    assert_eq!(said["code"], "upstream_timeout");
    assert_eq!(said["content"], "So far");
}

async fn an_agent_has_to_answer_in_the_end(db: Db) {
    let endpoint = Endpoint::start().await;
    let tools = with_tools(&endpoint);
    let app = TestApp::with(db, |settings| {
        tools(settings);
        settings.turn.tool_rounds = 2;
    })
    .await;
    for _ in 0..2 {
        app.llm.calls("", [CALLS[0]]);
    }
    app.llm.says(["Enough."]);
    assert_eq!(app.say("d", "Hi").await.content(), "Enough.");
    let choices: Vec<Value> = app
        .llm
        .asked()
        .iter()
        .map(|request| request.body["tool_choice"].clone())
        .collect();
    assert_eq!(choices, [Value::Null, Value::Null, json!("none")]);
    // A model that calls tools all the same gives no answer.
    for _ in 0..3 {
        app.llm.calls("", [CALLS[0]]);
    }
    let said = app.say("d", "Hi").await;
    assert_eq!(
        (said.status.as_u16(), said.json()["code"].clone()),
        (502, json!("upstream_error"))
    );
    assert_eq!(endpoint.asked().len(), 4);
}
