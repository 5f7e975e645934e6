//! Clients that hold connections open, and other clients that must be served all the same.

use std::time::Duration;

use reqwest::{Client, Method, Response};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::support::{
    Database, Db, FakeLlm, Person, Process, Said, Stream, TestApp, client_builder, id_of, until,
};

/// Longer than any timeout of the server.
const PATIENCE: Duration = Duration::from_secs(60);

struct Desk {
    process: Process,
    llm: FakeLlm,
    http: Client,
    _database: Database,
}

impl Desk {
    async fn start(settings: &[(&str, &str)]) -> Self {
        Self::run(settings, Process::start).await
    }

    async fn run(
        settings: &[(&str, &str)],
        start: impl FnOnce(&[(&str, &str)]) -> Process,
    ) -> Self {
        let database = Database::migrated(Db::Postgres).await;
        let llm = FakeLlm::start().await;
        let base_url = format!("{}/v1", llm.url);
        let mut env = vec![
            ("DATABASE_URL", database.url.as_str()),
            ("OPENAI_BASE_URL", &base_url),
        ];
        env.extend_from_slice(settings);
        Self {
            process: start(&env),
            llm,
            // One connection per call: the tests check which connection the server closes first.
            http: client_builder().pool_max_idle_per_host(0).build().unwrap(),
            _database: database,
        }
    }

    fn address(&self) -> &str {
        self.process.url.trim_start_matches("http://")
    }

    fn call(&self, method: Method, device: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.process.url);
        let call = self.http.request(method, url);
        call.header("X-Device-ID", device)
    }

    async fn get(&self, device: &str, path: &str) -> Response {
        self.call(Method::GET, device, path).send().await.unwrap()
    }

    async fn say(&self, device: &str) -> Said {
        let call = self.call(Method::POST, device, "/chat");
        let call = call.json(&json!({"content": "Hi"}));
        Said::of(call.send().await.unwrap()).await
    }

    /// Starts an answer that pauses after its first frame; the stream and that frame's id.
    async fn begin(&self, device: &str) -> (Stream, String) {
        self.llm.says(["a", "b"]).pause_after(1);
        let call = self.call(Method::POST, device, "/chat/stream");
        let call = call.json(&json!({"content": "Hi"}));
        let mut stream = Stream::of(call.send().await.unwrap());
        let first = stream.next().await.unwrap();
        (stream, first.id)
    }

    async fn is_healthy(&self) -> bool {
        self.get("anyone", "/healthz").await.status() == 200
    }

    /// The value of a metric.
    async fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("anyone", "/metrics").await.text().await.unwrap();
        let mut lines = metrics.lines();
        let number = lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        number.unwrap_or(0)
    }
}

/// Whether the server has ended a stream: one that is silent for 1 s is still open.
async fn has_ended(mut response: Response) -> bool {
    loop {
        match timeout(Duration::from_secs(1), response.chunk()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None) | Err(_)) => return true,
            Err(_) => return false,
        }
    }
}

/// Reads a socket until the server closes it; panics if it stays open.
async fn rest(mut socket: TcpStream) -> String {
    let mut said = Vec::new();
    let closed = timeout(PATIENCE, socket.read_to_end(&mut said));
    // A connection reset counts as closed, too.
    drop(closed.await.expect("it is closed"));
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_device_reads_so_many_streams_and_the_oldest_goes_for_the_next() {
    let desk = Desk::start(&[("FRONTDESK_LIMITS__DEVICE_STREAMS", "3")]).await;
    desk.say("many").await;
    desk.say("other").await;
    let others = desk.get("other", "/chat/events").await;
    let mut streams = Vec::new();
    for _ in 0..6 {
        let stream = desk.get("many", "/chat/events").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let ended = futures_util::future::join_all(streams.into_iter().map(has_ended)).await;
    assert_eq!(ended, [true, true, true, false, false, false]);
    assert!(!has_ended(others).await);
    let metric = "frontdesk_too_many_connections_total{of=\"device\"}";
    assert_eq!(desk.metric(metric).await, 3);
}

/// A device over its limit loses an idle event stream before one that carries an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_goes_before_what_is_being_answered() {
    let desk = Desk::start(&[("FRONTDESK_LIMITS__DEVICE_STREAMS", "2")]).await;
    let (mut answer, _) = desk.begin("many").await;
    let older = desk.get("many", "/chat/events").await;
    let newer = desk.get("many", "/chat/events").await;
    assert!(has_ended(older).await);
    assert!(!has_ended(newer).await);
    desk.llm.go_on();
    assert_eq!(answer.next().await.unwrap().content(), "b");
}

/// 400 streams where only 256 files may be open: of one device, or, without limits, of 40 devices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_with_streams_without_end_harms_nobody() {
    for limits in ["true", "false"] {
        let limits = [("FRONTDESK_LIMITS__ENABLED", limits)];
        let desk = Desk::run(&limits, |env| Process::with_ulimit("-n 256", env)).await;
        let (answer, _) = desk.begin("visitor").await;
        let devices = match limits {
            [(_, "true")] => vec!["attacker".to_owned()],
            _ => (0..40).map(|n| format!("attacker-{n}")).collect(),
        };
        for device in &devices {
            desk.say(device).await;
        }
        let mut streams = Vec::new();
        for n in 0..400 {
            streams.push(desk.get(&devices[n % devices.len()], "/chat/events").await);
        }
        assert!(desk.is_healthy().await);
        assert_eq!(desk.say("bystander").await.content(), "Very well.");
        desk.llm.go_on();
        assert_eq!(answer.told().await, "b|stop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_those_of_trusted_proxies_are_their_clients() {
    let one = [("FRONTDESK_LIMITS__ADDRESS_CONNECTIONS", "4")];
    let desk = Desk::start(&one).await;
    let mut sockets = Vec::new();
    for _ in 0..12 {
        sockets.push(TcpStream::connect(desk.address()).await.unwrap());
    }
    let closed = futures_util::future::join_all(sockets.into_iter().map(rest)).await;
    // 8 sockets are over the limit and get no response. The other 4 get one when the request timeout ends.
    let at_once = closed.iter().filter(|said| said.is_empty());
    assert_eq!(at_once.count(), 8, "{closed:?}");
    assert_eq!(desk.say("somebody").await.content(), "Very well.");

    let desk = Desk::start(&[one[0], ("FRONTDESK_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let from = |address: &str, device: &str| {
        let call = desk.call(Method::GET, device, "/chat/events");
        call.header("X-Forwarded-For", address).send()
    };
    let mut near = Vec::new();
    for n in 0..6 {
        desk.say(&format!("near-{n}")).await;
        near.push(from("192.0.2.1", &format!("near-{n}")).await.unwrap());
    }
    desk.say("far").await;
    let far = from("198.51.100.1", "far").await.unwrap();
    let ended = futures_util::future::join_all(near.into_iter().map(has_ended)).await;
    assert_eq!(ended, [true, true, false, false, false, false]);
    assert!(!has_ended(far).await);
}

/// When every connection carries an answer, the reserve serves health checks and clients that resume an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reserve_serves_who_comes_back_and_who_asks_how_it_is() {
    let desk = Desk::start(&[
        ("FRONTDESK_SERVER__MAX_CONNECTIONS", "4"),
        ("FRONTDESK_LIMITS__ENABLED", "false"),
    ])
    .await;
    let mut answers = Vec::new();
    for n in 0..4 {
        answers.push(desk.begin(&format!("visitor-{n}")).await);
    }
    assert!(desk.is_healthy().await);
    let refused = desk.say("one-more").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["code"], "unavailable");
    let (first, last) = &answers[0];
    let path = format!("/chat/stream/{}", first.turn_id());
    let call = desk.call(Method::GET, "visitor-0", &path);
    let again = call.header("Last-Event-ID", last).send().await.unwrap();
    let again = Stream::of(again);
    (0..4).for_each(|_| desk.llm.go_on());
    assert_eq!(again.told().await, "b|stop");
    for (stream, _) in answers {
        assert_eq!(stream.told().await, "b|stop");
    }
    assert_eq!(desk.say("one-more").await.content(), "Very well.");
}

/// Clients that send a head or a body one byte every 500 ms, with and without a length: on a known path, on an
/// unknown one, and on one that needs a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_dripped_is_cut() {
    let desk = Desk::start(&[]).await;
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let requests = [
        format!("POST /chat HTTP/1.1\r\nHost: desk\r\nContent-Type: application/json\r\n{chunked}"),
        format!("POST /nothing HTTP/1.1\r\nHost: desk\r\n{chunked}"),
        format!("POST /api/v1/chat/messages HTTP/1.1\r\nHost: desk\r\n{chunked}"),
        format!("GET /healthz HTTP/1.1\r\nHost: desk\r\n{chunked}"),
        "POST /chat HTTP/1.1\r\nHost: desk\r\nContent-Length: 1000\r\n\r\n".to_owned(),
        "POST /nothing HTTP/1.1\r\nHost: desk\r\nContent-Length: 1000\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\n".to_owned(),
        // The head of a second request.
        "GET /healthz HTTP/1.1\r\nHost: desk\r\n\r\nGET /healthz HTTP/1.1\r\n".to_owned(),
    ];
    let dripped = requests.iter().map(async |request| {
        let mut socket = TcpStream::connect(desk.address()).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = socket.into_split();
        let drip = async {
            let byte = match request.contains("chunked") {
                true => "1\r\nx\r\n",
                false => "x",
            };
            loop {
                sleep(Duration::from_millis(500)).await;
                if writer.write_all(byte.as_bytes()).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let closed = async {
            let mut said = Vec::new();
            drop(reader.read_to_end(&mut said).await);
        };
        let cut = timeout(PATIENCE, async {
            tokio::select! { () = drip => {}, () = closed => {} }
        });
        assert!(cut.await.is_ok(), "{request}");
    });
    futures_util::future::join_all(dripped).await;
    assert!(desk.is_healthy().await);
}

/// Data that a client pipelines behind an unfinished response is bounded: the server closes the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_standing_stream_is_bounded() {
    let desk = Desk::start(&[]).await;
    desk.say("d").await;
    let mut socket = TcpStream::connect(desk.address()).await.unwrap();
    let stands = "GET /chat/events HTTP/1.1\r\nHost: desk\r\nX-Device-ID: d\r\n\r\n";
    socket.write_all(stands.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    socket.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
    let junk = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    let sent = timeout(PATIENCE, async {
        while socket.write_all(junk.as_bytes()).await.is_ok() {}
    });
    assert!(sent.await.is_ok());
}

/// The timeout for receiving a request does not cut off a slow answer whose handler never reads the body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_to_a_body_that_is_not_read_is_given() {
    let app = TestApp::start(Db::Postgres).await;
    let user = Person::of(&app, "ann").await;
    let conversation = id_of(&user.say(None, "Hi").await);
    let expert = Person::expert(&app, "eva").await;
    assert_eq!(expert.does("claim", &conversation).await.status, 200);
    user.say(Some(&conversation), "And now?").await;
    app.llm.says(["a", "b"]).pause_after(1);
    let before = app.llm.asked().len();
    let path = format!("/conversations/{conversation}/draft");
    let draft = expert.post(&path, json!({}));
    let later = async {
        until(async || app.llm.asked().len() > before).await;
        // Longer than the timeout for receiving a request.
        sleep(Duration::from_secs(17)).await;
        app.llm.go_on();
    };
    let (draft, ()) = tokio::join!(draft, later);
    assert_eq!(draft.status, 200, "{}", draft.text);
}

/// An endless body is not read for ever, even after its request was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_body_without_end_is_cut() {
    let desk = Desk::start(&[]).await;
    let mut socket = TcpStream::connect(desk.address()).await.unwrap();
    let head = "POST /nothing HTTP/1.1\r\nHost: desk\r\nTransfer-Encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let sent = timeout(PATIENCE, async {
        while socket.write_all(piece.as_bytes()).await.is_ok() {}
    });
    assert!(sent.await.is_ok());
    assert!(desk.is_healthy().await);
}

/// A client that requests much and reads nothing is disconnected, so that its responses do not stay in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut() {
    let desk = Desk::start(&[]).await;
    let text = "x".repeat(10_000);
    for _ in 0..20 {
        desk.llm.says([text.as_str(); 20]);
        let call = desk.call(Method::POST, "reader", "/chat");
        let said = call.json(&json!({"content": text})).send().await.unwrap();
        assert_eq!(said.status(), 200);
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = desk.address().parse().unwrap();
    let mut socket = socket.connect(address).await.unwrap();
    let request = "GET /chat/history HTTP/1.1\r\nHost: desk\r\nX-Device-ID: reader\r\n\r\n";
    // All at once: more than any kernel buffers for a client that does not read.
    for _ in 0..16 {
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    until(async || {
        desk.metric("frontdesk_slow_connections_total{to=\"read\"}")
            .await
            == 1
    })
    .await;
    drop(rest(socket).await);
}
