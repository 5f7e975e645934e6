//! Thousands of misbehaving clients, and one well-behaved client that must still be served.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::{Client, Method};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::support::{Database, Db, FakeLlm, Process, Said, Stream, client, until};

const CROWD: usize = 2_000;
const IDLE: usize = 10_000;
/// Number of large answers that run at once.
const LARGE: usize = 150;
/// Number of clients that connect at the same time.
const AT_ONCE: usize = 64;

struct Desk {
    process: Process,
    llm: FakeLlm,
    database: Database,
    http: Client,
}

impl Desk {
    async fn start() -> Self {
        Self::run(Process::start).await
    }

    async fn run(start: impl FnOnce(&[(&str, &str)]) -> Process) -> Self {
        let database = Database::migrated(Db::Postgres).await;
        let llm = FakeLlm::start().await;
        let base_url = format!("{}/v1", llm.url);
        let process = start(&[
            ("DATABASE_URL", &database.url),
            ("OPENAI_BASE_URL", &base_url),
            ("FRONTDESK_LIMITS__ENABLED", "false"),
            ("FRONTDESK_DATABASE__ON_OUTAGE", "refuse"),
        ]);
        Self {
            process,
            llm,
            database,
            http: client(),
        }
    }

    fn call(&self, method: Method, device: &str, path: &str) -> reqwest::RequestBuilder {
        let call = self
            .http
            .request(method, format!("{}{path}", self.process.url));
        call.header("X-Device-ID", device)
    }

    /// Checks that a well-behaved client gets an answer.
    async fn others_are_served(&self) {
        self.llm.forget_scripts();
        let call = self.call(Method::POST, "bystander", "/chat");
        let said = call.json(&json!({"content": "Hi"})).send().await.unwrap();
        assert_eq!(Said::of(said).await.content(), "Very well.");
    }

    /// Starts an answer and disconnects; the turn's id and the last frame's id.
    async fn begin(&self, device: &str) -> (String, String) {
        for attempt in 0.. {
            let call = self.call(Method::POST, device, "/chat/stream");
            let call = call.header("Idempotency-Key", device);
            let response = call.json(&json!({"content": "Hi"})).send().await.unwrap();
            let mut stream = Stream::of(response);
            if stream.status() == 200 {
                let first = stream.next().await.unwrap();
                return (stream.turn_id(), first.id);
            }
            assert!(
                attempt < 20 && stream.status() == 503,
                "{}",
                stream.status()
            );
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        unreachable!("it returns or fails")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_vanishes_and_comes_back_misses_nothing() {
    let desk = Desk::start().await;
    let mut peaks = Vec::new();
    for round in 0..2 {
        for _ in 0..CROWD {
            desk.llm.says(["a", "b"]).pause_after(1);
        }
        let devices: Vec<String> = (0..CROWD).map(|n| format!("{round}-{n}")).collect();
        let begun: Vec<_> = stream::iter(&devices)
            .map(|device| desk.begin(device))
            .buffered(AT_ONCE)
            .collect()
            .await;
        // All clients have left; now they come back at once.
        let come_back = devices
            .iter()
            .zip(&begun)
            .map(async |(device, (turn, last))| {
                let call = desk.call(Method::GET, device, &format!("/chat/stream/{turn}"));
                Stream::of(call.header("Last-Event-ID", last).send().await.unwrap())
            });
        let streams = futures_util::future::join_all(come_back).await;
        desk.others_are_served().await;
        peaks.push(desk.process.memory());
        (0..CROWD).for_each(|_| desk.llm.go_on());
        for stream in streams {
            assert_eq!(stream.told().await, "b|stop");
        }
        desk.others_are_served().await;
    }
    // The second round reuses the memory of the first.
    assert!(peaks[1] < peaks[0] * 5 / 4, "{peaks:?} KiB");
    assert!(!desk.process.log().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_that_end_together_do_not_pile_up() {
    let desk = Desk::start().await;
    let piece = "x".repeat(64 * 1024);
    let answer = async |n: usize| {
        let call = desk.call(Method::POST, &format!("large-{n}"), "/chat");
        let said = call.json(&json!({"content": "Hi"})).send().await.unwrap();
        assert_eq!(Said::of(said).await.content().len(), 5 * piece.len());
    };
    let mut held = Vec::new();
    for round in 0..3 {
        for _ in 0..LARGE {
            desk.llm.says([&*piece; 5]).pause_after(5);
        }
        let all = (0..LARGE).map(|n| answer(round * LARGE + n));
        let all = futures_util::future::join_all(all);
        let go_on = async {
            until(async || desk.llm.asked().len() == (round + 1) * LARGE).await;
            // Wait until all of these answers are in the durable log.
            let flushed =
                "(select distinct turn_id from turn_pieces where last_seq = 5) as flushed";
            until(async || {
                desk.database.count(flushed.into()).await == i64::try_from(LARGE).unwrap()
            })
            .await;
            (0..LARGE).for_each(|_| desk.llm.go_on());
        };
        futures_util::future::join(all, go_on).await;
        held.push(desk.process.memory());
    }
    desk.others_are_served().await;
    assert!(held[2] < 400 * 1024, "{held:?} KiB");
}

/// Pages and exports of 9 MB of history, requested repeatedly by clients that read nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_read_is_not_kept() {
    const UNREAD: usize = 60;
    let desk = Desk::start().await;
    desk.others_are_served().await;
    let long = "insert into messages (id, conversation_id, seq, role, direction, message_type, body, media_urls, \
        audio_urls, created_at) select gen_random_uuid(), conversation_id, seq + n, role, direction, message_type, \
        repeat('x', 45000), media_urls, audio_urls, created_at from messages, generate_series(10, 209) n \
        where seq = 1";
    desk.database.execute(long).await;
    let before = desk.process.memory();
    let address = desk.process.url.trim_start_matches("http://");
    let mut sockets = Vec::new();
    for path in ["/chat/history?limit=200", "/chat/export"] {
        for _ in 0..UNREAD {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut socket = socket.connect(address.parse().unwrap()).await.unwrap();
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: desk\r\nX-Device-ID: bystander\r\n\r\n");
            // Three requests before the first response is read.
            for _ in 0..3 {
                socket.write_all(request.as_bytes()).await.unwrap();
            }
            sockets.push(socket);
        }
    }
    // Each response has begun.
    for socket in &sockets {
        socket.readable().await.unwrap();
    }
    desk.others_are_served().await;
    let held = desk.process.memory() - before;
    assert!(held < 150 * 1024, "{held} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_closed_and_harm_nobody() {
    let desk = Desk::start().await;
    let address = desk.process.url.trim_start_matches("http://").to_owned();
    let connect = stream::iter(0..IDLE).map(|_| TcpStream::connect(&address));
    let idle: Vec<TcpStream> = connect
        .buffer_unordered(AT_ONCE)
        .map(Result::unwrap)
        .collect()
        .await;
    desk.others_are_served().await;
    let held = desk.process.memory();
    for mut socket in idle {
        let mut said = Vec::new();
        let closed = timeout(Duration::from_secs(30), socket.read_to_end(&mut said));
        // A connection reset counts as closed, too.
        drop(closed.await.expect("it is closed"));
    }
    desk.others_are_served().await;
    assert!(held < 600 * 1024, "{held} KiB for {IDLE} connections");
    assert!(!desk.process.log().contains("panicked"));
}

/// The usual soft limit of open files is far below the hard limit, so the server raises it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_the_soft_limit_of_open_files_harm_nobody() {
    const SOFT: u32 = 128;
    let desk = Desk::run(|env| Process::with_ulimit(&format!("-S -n {SOFT}"), env)).await;
    let address = desk.process.url.trim_start_matches("http://").to_owned();
    let connect = stream::iter(0..2 * SOFT).map(|_| TcpStream::connect(&address));
    let idle: Vec<_> = connect.buffer_unordered(AT_ONCE).collect().await;
    desk.others_are_served().await;
    assert!(idle.iter().all(Result::is_ok));
}
