//! Agents that are HTTP services.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use frontdesk::config::{Secret, Settings};
use serde_json::{Value, json};

use crate::support::{Db, Endpoint, Person, TestApp, id_of, until_open};

both! {
    a_service_is_told_the_turn_and_answers
    a_service_is_told_what_a_person_noted
    a_service_that_fails_is_an_error_frame
    a_service_hands_over_where_it_may
    what_a_service_says_is_checked
    a_stream_that_breaks_off_is_interrupted
}

const SECRET: &str = "a secret of twenty-four characters";

/// Makes support a webhook agent, beside an agent with a model.
fn with_webhook(settings: &mut Settings, url: &str) {
    settings.routing.default_agent = "support".to_owned();
    let agent = settings.agents.get_mut("support").unwrap();
    let webhook = json!({"url": url, "secret": SECRET, "timeout_seconds": 1});
    agent.webhook = Some(serde_json::from_value(webhook).unwrap());
    agent.handoff_to.clear();
    agent.context = Some(json!({
        "type": "object",
        "properties": {"visits": {"type": "integer", "default": 1}},
    }));
}

async fn desk(db: Db, answer: &str) -> (TestApp, Endpoint) {
    let endpoint = Endpoint::start().await;
    endpoint.at("/agent", 200, answer);
    let url = format!("{}/agent", endpoint.url);
    let app = TestApp::with(db, |settings| with_webhook(settings, &url)).await;
    (app, endpoint)
}

async fn ask(app: &TestApp, content: &str) -> Value {
    let body = json!({"content": content, "agent": "support"});
    app.post("d", "/chat", body).await.json()
}

async fn a_service_is_told_the_turn_and_answers(db: Db) {
    let (app, endpoint) = desk(db, r#"{"content": "Hello.", "context": {"visits": 2}}"#).await;
    assert_eq!(ask(&app, "Hi").await["content"], "Hello.");
    ask(&app, "Again").await;
    let asked = endpoint.asked();
    let told = &asked[1];
    assert_eq!(told.body["message"]["content"], "Again");
    assert_eq!(told.body["history"].as_array().unwrap().len(), 3);
    assert_eq!(told.body["context"], json!({"visits": 2}));
    assert_eq!(told.header("webhook-id"), told.body["turn_id"].as_str());
    assert!(told.header("webhook-signature").unwrap().starts_with("v1,"));
    assert!(app.llm.asked().is_empty());
}

async fn a_service_is_told_what_a_person_noted(db: Db) {
    let (app, endpoint) = desk(db, r#"{"content": "Hello."}"#).await;
    ask(&app, "Hi").await;
    let id = id_of(&app.get("d", "/chat/session").await.json());
    let eva = Person::expert(&app, "eva").await;
    eva.does("claim", &id).await;
    let path = format!("/conversations/{id}/release");
    eva.post(&path, json!({"note": "Order 7 was sent again."}))
        .await;
    ask(&app, "And now?").await;
    let told = endpoint.asked().pop().unwrap().body["history"].clone();
    assert_eq!(
        (&told[2]["mode"], &told[3]["mode"], &told[3]["note"]),
        (
            &json!("expert"),
            &json!("ai"),
            &json!("Order 7 was sent again.")
        )
    );
    // The next expert sees the note, too.
    let admin = Person::with_role(&app, "root", "admin").await;
    let noted = admin
        .get(&format!("/conversations/{id}/messages"))
        .await
        .json();
    assert_eq!(
        noted[3]["additional_data"]["note"],
        "Order 7 was sent again."
    );
    let history = app.get("d", "/chat/history").await.text;
    assert!(!history.contains("Order 7"), "{history}");
}

async fn a_service_that_fails_is_an_error_frame(db: Db) {
    let (app, endpoint) = desk(db, "{}").await;
    for (status, body, code) in [
        (500, r#"{"secret": "reason"}"#, "upstream_error"),
        (200, "<html>", "upstream_error"),
        (200, r#"{"content": 7}"#, "upstream_error"),
        (200, "{}", "upstream_error"),
    ] {
        endpoint.at("/agent", status, body);
        let said = ask(&app, "Hi").await;
        assert_eq!(said["code"], code, "{body}");
        assert!(!said.to_string().contains("reason"), "{said}");
    }
    endpoint.slowly("/agent", 200, "{}", Duration::from_secs(3));
    assert_eq!(ask(&app, "Hi").await["code"], "upstream_timeout");
}

async fn a_service_hands_over_where_it_may(db: Db) {
    let endpoint = Endpoint::start().await;
    let handoff = r#"{"content": "One moment.", "handoff": {"agent": "scheduling", "reason": "r", "summary": "s"}}"#;
    endpoint.at("/agent", 200, handoff);
    let url = format!("{}/agent", endpoint.url);
    let app = TestApp::with(db, |settings| {
        with_webhook(settings, &url);
        let agent = settings.agents.get_mut("support").unwrap();
        agent.handoff_to = vec!["scheduling".to_owned()];
    })
    .await;
    app.llm.says(["I am Anna."]);
    let said = ask(&app, "Book it").await;
    assert_eq!(said["content"], "One moment.\n\nI am Anna.");
    assert_eq!(said["agent"], "scheduling");
    // A service that may not hand over still answers; its handoff is ignored.
    let (app, _endpoint) = desk(db, handoff).await;
    let said = ask(&app, "Book it").await;
    assert_eq!(said["content"], "One moment.");
    assert_eq!(said["agent"], "support");
}

async fn what_a_service_says_is_checked(db: Db) {
    let (app, endpoint) = desk(db, "").await;
    for (body, code) in [
        (
            r#"{"content": "a", "context": {"visits": "many"}}"#,
            "upstream_error",
        ),
        (
            r#"{"content": "a", "widgets": [{"type": "link", "data": {"text": "x", "url": "javascript:1"}}]}"#,
            "upstream_error",
        ),
    ] {
        endpoint.at("/agent", 200, body);
        assert_eq!(ask(&app, "Hi").await["code"], code, "{body}");
    }
}

async fn a_stream_that_breaks_off_is_interrupted(db: Db) {
    let (app, endpoint) = desk(
        db,
        "data: {\"content\": \"Hel\"}\n\ndata: {\"content\": \"lo\"}\n\n",
    )
    .await;
    let said = ask(&app, "Hi").await;
    assert_eq!(said["code"], "interrupted");
    assert_eq!(said["content"], "Hello");
    let whole =
        "data: {\"content\": \"Hello\"}\n\ndata: {\"is_final\": true, \"content\": \"!\"}\n\n";
    endpoint.at("/agent", 200, whole);
    assert_eq!(ask(&app, "Hi").await["content"], "Hello!");
}

/// One of the example services, killed with its test.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(program: &str, file: &str) -> Self {
        // No ephemeral port: `until_open` could be given the same port as its own, and connect to itself.
        let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (first..first + 1_000).find(is_free).unwrap();
        let child = Command::new(program)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/").to_owned() + file)
            .env("PORT", port.to_string())
            .env("SECRET", SECRET)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until_open(port);
        let url = format!("http://127.0.0.1:{port}/");
        Self { child, url }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_in_other_languages_run() {
    let python = Service::start("python3", "webhook.py");
    let app = TestApp::with(Db::Sqlite, |settings| with_webhook(settings, &python.url)).await;
    let said = ask(&app, "Good morning").await;
    assert_eq!(said["content"], "You said: Good morning", "{said}");

    let node = Service::start("node", "webhook.mjs");
    let app = TestApp::with(Db::Sqlite, |settings| with_webhook(settings, &node.url)).await;
    assert_eq!(ask(&app, "Hi").await["content"], "Visit 1.");
    let said = ask(&app, "Hi").await;
    assert_eq!(said["content"], "Visit 2.");
    let id = said["widgets"][0]["message_id"].as_str().unwrap();
    let answer = json!({"answer": {"rating": 4}});
    let said = app.post("d", &format!("/chat/widgets/{id}"), answer).await;
    assert!(said.text.contains("4 points, thank you."), "{}", said.text);

    // With a wrong secret, the service does not answer.
    let app = TestApp::with(Db::Sqlite, |settings| {
        with_webhook(settings, &node.url);
        let agent = settings.agents.get_mut("support").unwrap();
        agent.webhook.as_mut().unwrap().secret = Secret::new("another secret that is long");
    })
    .await;
    assert_eq!(ask(&app, "Hi").await["code"], "upstream_error");
}
