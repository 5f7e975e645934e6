//! The binary itself: what survives a kill, how it stops, and its commands.

use std::{net::SocketAddr, path::Path};

use reqwest::Method;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

use crate::support::{Database, Db, FakeLlm, Process, Said, Step, Stream, client};

both! {
    what_was_acknowledged_is_there_after_a_kill
    a_kill_in_the_middle_of_an_answer_loses_no_message
    signals_stop_the_server_cleanly
    tick_cleans_up_once_and_says_how_much
    readers_that_stop_reading_do_not_fill_the_memory
}

/// A server process with its own database and model server.
struct Desk {
    process: Process,
    database: Database,
    llm: FakeLlm,
    http: reqwest::Client,
}

impl Desk {
    async fn open(db: Db) -> Self {
        let (database, llm) = (Database::empty(db).await, FakeLlm::start().await);
        let process = start(&database, &llm);
        Self {
            process,
            database,
            llm,
            http: client(),
        }
    }

    /// kill -9, and a new process.
    fn kill(&mut self) {
        let killed = std::mem::replace(&mut self.process, start(&self.database, &self.llm));
        killed.kill();
    }

    fn call(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.process.url))
            .header("X-Device-ID", "d")
    }

    async fn say(&self, content: &str) -> Said {
        Said::of(
            self.call(Method::POST, "/chat")
                .json(&json!({"content": content}))
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    async fn stream(&self, content: &str) -> Stream {
        let call = self
            .call(Method::POST, "/chat/stream")
            .json(&json!({"content": content}));
        Stream::of(call.send().await.unwrap())
    }

    async fn history(&self) -> Vec<String> {
        let history = Said::of(
            self.call(Method::GET, "/chat/history")
                .send()
                .await
                .unwrap(),
        )
        .await
        .json();
        let messages = history["messages"].as_array().unwrap().iter();
        messages
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn start(database: &Database, llm: &FakeLlm) -> Process {
    Process::start(
        &env(database, llm)
            .each_ref()
            .map(|(name, value)| (*name, value.as_str())),
    )
}

fn env(database: &Database, llm: &FakeLlm) -> [(&'static str, String); 4] {
    [
        ("DATABASE_URL", database.url.clone()),
        ("OPENAI_BASE_URL", format!("{}/v1", llm.url)),
        ("FRONTDESK_LEASE_SECONDS", "3".into()),
        ("FRONTDESK_SHUTDOWN_SECONDS", "3".into()),
    ]
}

async fn what_was_acknowledged_is_there_after_a_kill(db: Db) {
    let mut desk = Desk::open(db).await;
    let first = desk.say("one").await.json();
    desk.kill();
    let second = desk.say("two").await.json();
    assert_eq!(first["conversation_id"], second["conversation_id"]);
    assert_eq!(second["agent"], "scheduling");
    assert_eq!(
        desk.history().await,
        ["one", "Very well.", "two", "Very well."]
    );
}

async fn a_kill_in_the_middle_of_an_answer_loses_no_message(db: Db) {
    let mut desk = Desk::open(db).await;
    desk.llm.says(["a", "b"]).pause_after(1);
    let mut stream = desk.stream("one").await;
    let turn = stream.turn_id();
    let seen = stream.next().await.unwrap();
    desk.kill();
    // The new server answers the turn when the dead server's lease expires; the next message waits for that.
    assert_eq!(desk.say("two").await.content(), "Very well.");
    assert_eq!(
        desk.history().await,
        ["one", "Very well.", "two", "Very well."]
    );
    // A client that does not know `reset` is told that its attempt has ended.
    let call = desk
        .call(Method::GET, &format!("/chat/stream/{turn}"))
        .header("Last-Event-ID", &seen.id);
    let rest = Stream::of(call.send().await.unwrap()).rest().await;
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].id, format!("{turn}.2:0"));
    assert_eq!(rest[0].data["finish_reason"], "interrupted");
    assert_eq!(rest[0].data["error"]["code"], "interrupted");
    let call = desk
        .call(Method::GET, &format!("/chat/stream/{turn}"))
        .header("Last-Event-ID", &rest[0].id);
    assert_eq!(call.send().await.unwrap().status(), 204);
}

async fn signals_stop_the_server_cleanly(db: Db) {
    for signal in ["TERM", "INT"] {
        let desk = Desk::open(db).await;
        desk.llm.says(["a", "b"]).pause_after(1);
        let mut stream = desk.stream("one").await;
        stream.next().await.unwrap();
        let stopped = tokio::task::spawn_blocking(move || desk.process.stop(signal));
        // The stream is cut after a whole frame, so that the reader resumes it on another server.
        assert_eq!(stream.rest().await.len(), 0, "{signal}");
        assert_eq!(stopped.await.unwrap(), Some(0), "{signal}");
    }
}

async fn tick_cleans_up_once_and_says_how_much(db: Db) {
    let desk = Desk::open(db).await;
    desk.say("one").await;
    let an_hour_ago = match db {
        Db::Postgres => "locked_at - interval '1 hour'",
        Db::Sqlite => "locked_at - 3600000000",
    };
    desk.database
        .execute(format!(
            "update session_locks set expires_at = {an_hour_ago}, window_began = {an_hour_ago};
             update turn_events set expires_at = (select expires_at from session_locks)"
        ))
        .await;
    desk.process.kill();
    let env = env(&desk.database, &desk.llm);
    let tick = || {
        Process::run(
            &["tick"],
            &env.each_ref().map(|(name, value)| (*name, value.as_str())),
        )
    };
    let (code, said) = tick();
    assert_eq!(code, Some(0));
    assert!(
        said.starts_with(
            "cleaned up: 1 expired sessions, 0 abandoned turns, 1 old logs, 0 old conversations; tried: 0 jobs\n"
        ),
        "{said}"
    );
    assert!(
        said.contains(r#""cleaned.sessions":1,"cleaned.turns":0,"cleaned.logs":1"#),
        "{said}"
    );
    assert_eq!(
        tick().1,
        "cleaned up: 0 expired sessions, 0 abandoned turns, 0 old logs, 0 old conversations; tried: 0 jobs\n"
    );
}

async fn readers_that_stop_reading_do_not_fill_the_memory(db: Db) {
    let desk = Desk::open(db).await;
    // 3 MiB of text; 200 readers with a copy each would hold 600 MiB.
    let text = (0..3 * 64).map(|_| Step::Text("x".repeat(16 * 1024)));
    desk.llm.script(text.chain([Step::Finish("stop")]));
    let stream = desk.stream("one").await;
    let turn = stream.turn_id();
    assert_eq!(stream.rest().await.len(), 3 * 64 + 1);
    let before = desk.process.memory();
    let address: SocketAddr = desk.process.url["http://".len()..].parse().unwrap();
    let mut readers = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        let head = format!("GET /chat/stream/{turn} HTTP/1.1\r\nHost: a\r\nX-Device-ID: d\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        socket.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        readers.push(socket);
    }
    // Other clients are answered as before.
    assert_eq!(desk.say("two").await.content(), "Very well.");
    let grown = desk.process.memory().saturating_sub(before) / 1024;
    assert!(grown < 100, "{grown} MiB for 200 readers");
    drop(readers);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_needs_no_file_and_no_certificate_of_its_own() {
    let (database, llm) = (Database::empty(Db::Postgres).await, FakeLlm::start().await);
    let env = env(&database, &llm);
    let nowhere = [
        ("SSL_CERT_FILE", "/nowhere"),
        ("SSL_CERT_DIR", "/nowhere"),
        ("HOME", "/proc"),
        ("TMPDIR", "/proc"),
    ];
    let env = env.iter().map(|(name, value)| (*name, value.as_str()));
    // Nobody can create a file in /proc, not even root.
    let env: Vec<_> = env.chain(nowhere).collect();
    let process = Process::start_in(Path::new("/proc"), &env);
    let call = client()
        .post(format!("{}/chat", process.url))
        .json(&json!({"content": "Hi"}));
    assert_eq!(
        Said::of(call.send().await.unwrap()).await.content(),
        "Very well."
    );
}

#[test]
fn the_commands_explain_themselves() {
    let quiet = [("RUST_LOG", "off")];
    let (code, help) = Process::run(&["--help"], &quiet);
    assert_eq!(code, Some(0));
    for word in [
        "serve",
        "migrate",
        "tick",
        "config",
        "DATABASE_URL",
        "OPENAI_API_KEY",
        "FRONTDESK_LLM__TOTAL_TIMEOUT_SECONDS",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    let (code, defaults) = Process::run(&["config", "default"], &quiet);
    assert_eq!(code, Some(0));
    assert!(toml::from_str::<toml::Table>(&defaults).is_ok());
    assert_eq!(
        Process::run(&["config", "check"], &quiet),
        (Some(0), "The settings are in order: 2 agents.\n".into())
    );
    let (code, said) = Process::run(&["config", "check"], &[("PORT", "http")]);
    assert_eq!(
        (code, said.as_str()),
        (
            Some(1),
            "The settings are wrong:\n  PORT: must be a whole number\n"
        )
    );
    let (code, said) = Process::run(&["migrate"], &quiet);
    let all = std::fs::read_dir("migrations/sqlite").unwrap().count();
    let applied = format!("SQLite (data/frontdesk.db): {all} migrations applied\n");
    assert_eq!((code, said), (Some(0), applied));
    let (code, said) = Process::run(
        &["migrate"],
        &[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:9/x")],
    );
    assert_eq!(code, Some(1));
    assert!(!said.contains("hunter2"), "{said}");
}
