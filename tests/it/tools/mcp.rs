//! Tools of a real MCP server, over both transports.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use frontdesk::config::{McpSettings, Settings};
use serde_json::{Value, json};

use super::shown;
use crate::support::{Db, TestApp, until_open};

/// The protocol's own test server; `scripts/test` installs it.
const SERVER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/browser/node_modules/.bin/mcp-server-everything"
);

fn with_mcp(server: Value) -> impl FnOnce(&mut Settings) {
    assert!(
        std::path::Path::new(SERVER).exists(),
        "scripts/test installs it"
    );
    move |settings| {
        let mut server: McpSettings = serde_json::from_value(server).unwrap();
        let path = std::env::var("PATH").unwrap();
        server
            .env
            .insert("PATH".to_owned(), frontdesk::config::Secret::new(path));
        settings.mcp = [("all".to_owned(), server)].into();
        settings.agents.retain(|path, _| path == "support");
        let agent = settings.agents.get_mut("support").unwrap();
        agent.prompt = "You help.".to_owned();
        agent.tools = vec!["all".to_owned()];
    }
}

fn over_stdio() -> Value {
    json!({
        "command": [SERVER, "stdio"],
        "env": {"GIVEN": "yes"},
        "tools": ["echo", "get-sum", "get-env"],
        "confirm": {"echo": "Say {message}?"},
    })
}

/// The results of the model's tool calls.
fn told(app: &TestApp) -> Vec<String> {
    let asked = app.llm.asked();
    let messages = asked.last().unwrap().body["messages"]
        .as_array()
        .unwrap()
        .clone();
    let results = messages.iter().filter(|message| message["role"] == "tool");
    results
        .map(|result| result["content"].as_str().unwrap().to_owned())
        .collect()
}

async fn adds_and_refuses(app: &TestApp) {
    app.llm.calls(
        "",
        [
            ["1", "all__get-sum", r#"{"a": 2, "b": 3}"#],
            ["2", "all__get-sum", r#"{"a": "two", "b": 3}"#],
            ["3", "all__get-tiny-image", "{}"],
        ],
    );
    app.llm.says(["Five."]);
    let events = app.stream("d", "2 + 3?").await.rest().await;
    assert!(shown(&events).contains(&"[all__get-sum done]".to_owned()));
    let told = told(app);
    assert!(told[0].contains('5'), "{told:?}");
    assert!(told[1].contains("do not fit"), "{told:?}");
    assert!(told[2].contains("There is no tool"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_stdio() {
    let app = TestApp::with(Db::Sqlite, with_mcp(over_stdio())).await;
    adds_and_refuses(&app).await;
    let tools = app.llm.asked()[0].body["tools"].clone();
    insta::assert_json_snapshot!("mcp_tools", tools);
    // The MCP server does not inherit frontdesk's environment, because it holds secrets.
    app.llm.calls("", [["4", "all__get-env", "{}"]]);
    app.llm.says(["Done."]);
    app.say("d", "And the environment?").await;
    let told = told(&app);
    assert!(told[0].contains("GIVEN"), "{told:?}");
    assert!(!told[0].contains("CARGO"), "{told:?}");
    // A tool with `confirm` asks the visitor first.
    app.llm
        .calls("", [["5", "all__echo", r#"{"message": "hello"}"#]]);
    let said = app.say("d", "Say hello").await.json();
    assert_eq!(said["widgets"][0]["data"]["text"], "Say hello?");
    let id = said["widgets"][0]["message_id"].as_str().unwrap();
    app.llm.says(["It said hello."]);
    let yes = json!({"answer": {"confirmed": true}});
    app.post("d", &format!("/chat/widgets/{id}"), yes).await;
    assert!(self::told(&app)[0].contains("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tool_of_a_server() {
    let with_mcp = with_mcp(over_stdio());
    let app = TestApp::with(Db::Sqlite, |settings| {
        with_mcp(settings);
        let agent = settings.agents.get_mut("support").unwrap();
        agent.tools = vec!["all__get-sum".to_owned()];
    })
    .await;
    app.llm.calls(
        "",
        [
            ["1", "all__get-sum", r#"{"a": 2, "b": 3}"#],
            ["2", "all__get-env", "{}"],
        ],
    );
    app.llm.says(["Five."]);
    app.say("d", "2 + 3?").await;
    let tools = app.llm.asked()[0].body["tools"].clone();
    assert_eq!(tools.as_array().unwrap().len(), 1, "{tools}");
    let told = told(&app);
    assert!(told[0].contains('5'), "{told:?}");
    assert!(told[1].contains("There is no tool"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_calls_a_tool_of_a_server() {
    let with_mcp = with_mcp(over_stdio());
    let app = TestApp::with(Db::Sqlite, |settings| {
        with_mcp(settings);
        settings.llm.model = "offline".to_owned();
        let slot = |name| json!({"name": name, "kind": "text", "ask": name, "retry": name});
        let agent = settings.agents.get_mut("support").unwrap();
        agent.slots = vec![serde_json::from_value(slot("message")).unwrap()];
        agent.flow.done = "It says: {result}".to_owned();
        agent.flow.tool = Some("all__echo".to_owned());
        agent.flow.failed = Some("That did not work.".to_owned());
    })
    .await;
    app.say("d", "Hello").await;
    let said = app.say("d", "Tuesday").await.json();
    let id = said["widgets"][0]["message_id"].as_str().unwrap();
    let yes = json!({"answer": {"confirmed": true}});
    let said = app.post("d", &format!("/chat/widgets/{id}"), yes).await;
    let words: Vec<&str> = said
        .text
        .lines()
        .filter(|line| line.contains("Tuesday"))
        .collect();
    assert!(!words.is_empty(), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_http_that_comes_and_goes() {
    let first = 30_000 + u16::try_from(std::process::id() % 2_000).unwrap();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (first..first + 700).find(is_free).unwrap();
    let url = format!("http://127.0.0.1:{port}/mcp");
    let settings = json!({"url": url, "tools": ["get-sum"], "timeout_seconds": 3});
    let app = TestApp::with(Db::Sqlite, with_mcp(settings)).await;
    // The MCP server is down: the agent answers without its tools.
    app.llm.says(["Hello."]);
    assert_eq!(app.say("d", "Hi").await.content(), "Hello.");
    assert!(app.llm.asked()[0].body.get("tools").is_none());
    let server = Server::start(port);
    adds_and_refuses(&app).await;
    // The MCP server restarts and does not know the session.
    drop(server);
    app.llm
        .calls("", [["1", "all__get-sum", r#"{"a": 1, "b": 1}"#]]);
    app.llm.says(["I do not know."]);
    app.say("d", "1 + 1?").await;
    assert!(told(&app)[0].contains("not"), "{:?}", told(&app));
    let _server = Server::start(port);
    adds_and_refuses(&app).await;
}

struct Server(Child);

impl Server {
    fn start(port: u16) -> Self {
        let child = Command::new(SERVER)
            .arg("streamableHttp")
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until_open(port);
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
