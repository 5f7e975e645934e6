//! Notifications through outside services, which may fail and recover.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use frontdesk::config::{Secret, Settings};
use serde_json::{Value, json};

use crate::support::{Database, Db, Endpoint, Person, Process, TestApp, text, until};

both! {
    a_service_is_told_when_somebody_waits
    a_service_that_fails_is_told_later
    what_is_tried_often_enough_is_left_for_an_operator
    an_email_is_written_through_a_server_that_refuses_first
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn telling(service: &Endpoint) -> impl FnOnce(&mut Settings) + use<> {
    let url = format!("{}/told", service.url);
    move |settings| {
        settings.notify.webhook_url = url;
        settings.notify.webhook_secret = Secret::new(SECRET);
    }
}

/// A user asks for an expert; the conversation's id.
async fn asks(app: &TestApp) -> String {
    let user = Person::of(app, "ann").await;
    let body = json!({"session_id": "s", "message": "I want a person"});
    assert_eq!(user.post("/expert", body).await.status, 200);
    let list = user.get("/conversations").await.json();
    text(&list["conversations"][0]["id"])
}

async fn a_service_is_told_when_somebody_waits(db: Db) {
    let service = Endpoint::start().await;
    service.at("/told", 204, "");
    let app = TestApp::with(db, telling(&service)).await;
    let id = asks(&app).await;
    until(async || !service.asked().is_empty()).await;
    let told = service.asked().remove(0);
    assert_eq!(told.body["type"], "expert.asked");
    assert_eq!(
        (
            &told.body["data"]["conversation_id"],
            &told.body["data"]["position"]
        ),
        (&json!(id), &json!(1))
    );
    assert!(
        !told.body.to_string().contains("I want"),
        "no word of the visitor's"
    );
    let signature = told.header("webhook-signature").unwrap();
    let signed = format!(
        "{}.{}.{}",
        told.header("webhook-id").unwrap(),
        told.header("webhook-timestamp").unwrap(),
        told.body
    );
    assert_eq!(signature, format!("v1,{}", hmac(&signed)));
    until(async || app.count("jobs").await == 0).await;
    assert_eq!(service.asked().len(), 1);
}

fn hmac(text: &str) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use hmac::{Hmac, Mac};
    let mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    BASE64_STANDARD.encode(mac.chain_update(text).finalize().into_bytes())
}

async fn a_service_that_fails_is_told_later(db: Db) {
    let service = Endpoint::start().await;
    // A redirect is not a success.
    service.at("/told", 302, "");
    let app = TestApp::with(db, telling(&service)).await;
    asks(&app).await;
    until(async || app.count("jobs where last_error is not null").await == 1).await;
    assert_eq!(service.asked().len(), 1);
    service.at("/told", 200, "{}");
    app.advance(Duration::from_secs(6)).await;
    until(async || app.count("jobs").await == 0).await;
    let told = service.asked();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].header("webhook-id"), told[1].header("webhook-id"));
}

async fn what_is_tried_often_enough_is_left_for_an_operator(db: Db) {
    let service = Endpoint::start().await;
    let app = TestApp::with(db, telling(&service)).await;
    asks(&app).await;
    until(async || app.count("jobs where last_error is not null").await == 1).await;
    let unread = "update jobs set attempts = attempts + $1, last_error = null";
    for (before, tried) in [("7", "attempts = 9"), ("0", "attempts = 10 and dead")] {
        // The loop waits for each try to end before it moves the clock, which would also end the try's lease.
        app.database.execute(&unread.replace("$1", before)).await;
        app.advance(Duration::from_secs(3601)).await;
        let failed = format!("jobs where {tried} and last_error is not null");
        until(async || app.count(&failed).await == 1).await;
    }
    app.advance(Duration::from_secs(100_000)).await;
    assert_eq!(app.app.jobs.work().await.unwrap(), 0, "nothing is due");
    assert_eq!(service.asked().len(), 3);
    // A job whose workers all died before they reported is not tried again, either.
    let untold = "update jobs set dead = false, last_error = null";
    app.database.execute(untold).await;
    until(async || {
        app.count("jobs where dead and last_error is not null")
            .await
            == 1
    })
    .await;
    assert_eq!(service.asked().len(), 3);
}

/// A mail server that refuses the first messages.
struct Mailbox {
    child: Child,
    lines: BufReader<ChildStdout>,
    port: u16,
}

impl Mailbox {
    fn start(refusals: u32) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/mailbox.mjs");
        let mut child = Command::new("node")
            .args([script, &port.to_string(), &refusals.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        lines.read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "scripts/test installs it");
        Self { child, lines, port }
    }

    fn letter(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

async fn an_email_is_written_through_a_server_that_refuses_first(db: Db) {
    let mut mailbox = Mailbox::start(1);
    let url = format!("smtp://127.0.0.1:{}", mailbox.port);
    let app = TestApp::with(db, |settings| {
        settings.notify.smtp_url = Secret::new(url);
        settings.notify.email_from = "The desk <desk@example.com>".to_owned();
        settings.notify.email_to = vec!["one@example.com".to_owned(), "two@example.com".to_owned()];
    })
    .await;
    let id = asks(&app).await;
    until(async || app.count("jobs where last_error is not null").await == 1).await;
    // The mail server's error has a NUL in it, which PostgreSQL cannot store.
    assert_eq!(
        app.count("jobs where last_error like '%Not _ now%'").await,
        1
    );
    app.advance(Duration::from_secs(6)).await;
    until(async || app.count("jobs").await == 0).await;
    let letter = tokio::task::spawn_blocking(move || mailbox.letter())
        .await
        .unwrap();
    assert_eq!(letter["from"], "desk@example.com");
    assert_eq!(letter["to"], json!(["one@example.com", "two@example.com"]));
    let text = text(&letter["text"]);
    assert!(
        text.contains("Subject: Somebody waits at the desk"),
        "{text}"
    );
    assert!(text.contains(&id) && !text.contains("I want"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_before_it_has_told_leaves_it_to_another() {
    let database = Database::empty(Db::Postgres).await;
    let service = Endpoint::start().await;
    service.slowly("/told", 200, "", Duration::from_secs(600));
    let url = format!("{}/told", service.url);
    let start = || {
        Process::start(&[
            ("DATABASE_URL", database.url.as_str()),
            ("FRONTDESK_MODEL", "offline"),
            ("FRONTDESK_NOTIFY__WEBHOOK_URL", url.as_str()),
            ("FRONTDESK_NOTIFY__WEBHOOK_SECRET", SECRET),
            ("FRONTDESK_EXPERTS__PHRASES", "person"),
        ])
    };
    let server = start();
    let call = crate::support::client().post(format!("{}/chat", server.url));
    let call = call.json(&json!({"content": "A person, please"}));
    assert_eq!(call.send().await.unwrap().status(), 200);
    until(async || service.asked().len() == 1).await;
    server.kill();
    service.at("/told", 200, "");
    // Skips the two minutes after which another server takes the killed server's job.
    database.execute("update jobs set run_at = db_now()").await;
    let _other = start();
    until(async || database.count("jobs".to_owned()).await == 0).await;
    assert_eq!(service.asked().len(), 2);
}
