//! Two instances on one PostgreSQL, one of which dies, stops or stands still.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{Database, Db, Event, FakeLlm, Process, Said, Stream, client};

/// Longer than the durable log may be behind.
const FLUSHED: Duration = Duration::from_millis(400);
/// The instances' lease, and a little more.
const LEASE: Duration = Duration::from_millis(3_300);

/// Two instances, one database, one model's server.
struct Fleet {
    first: Process,
    second: Process,
    database: Database,
    llm: FakeLlm,
    http: reqwest::Client,
}

impl Fleet {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let database = Database::empty(Db::Postgres).await;
        let url = database.url.clone();
        Self::on(database, &url, settings).await
    }

    /// Instances that reach the database by this URL.
    async fn on(database: Database, url: &str, settings: &[(&str, &str)]) -> Self {
        let llm = FakeLlm::start().await;
        let base_url = format!("{}/v1", llm.url);
        let mut env = vec![
            ("DATABASE_URL", url),
            ("OPENAI_BASE_URL", base_url.as_str()),
            ("FRONTDESK_LEASE_SECONDS", "3"),
            ("FRONTDESK_SHUTDOWN_SECONDS", "3"),
        ];
        env.extend(settings);
        Self {
            first: Process::start(&env),
            second: Process::start(&env),
            database,
            llm,
            http: client(),
        }
    }

    fn call(&self, process: &Process, method: Method, path: &str) -> RequestBuilder {
        self.call_of("d", process, method, path)
    }

    fn call_of(
        &self,
        device: &str,
        process: &Process,
        method: Method,
        path: &str,
    ) -> RequestBuilder {
        let call = self.http.request(method, format!("{}{path}", process.url));
        call.header("X-Device-ID", device)
    }

    /// A message to the first instance, whose model says "a" and then nothing more.
    async fn begin(&self) -> (Stream, Event) {
        self.llm.says(["a", "b"]).pause_after(1);
        let call = self.call(&self.first, Method::POST, "/chat/stream");
        let mut stream = Stream::of(call.json(&json!({"content": "one"})).send().await.unwrap());
        let first = stream.next().await.unwrap();
        (stream, first)
    }

    async fn resume(&self, turn: &str, last: &str, query: &str) -> Stream {
        let path = format!("/chat/stream/{turn}{query}");
        let call = self.call(&self.second, Method::GET, &path);
        Stream::of(call.header("Last-Event-ID", last).send().await.unwrap())
    }

    /// Reads a turn to its end from the second instance, coming back as often as it is cut.
    async fn read_to_the_end(&self, turn: &str, mut last: String, query: &str) -> Vec<Event> {
        let mut all: Vec<Event> = Vec::new();
        for _ in 0..100 {
            let stream = self.resume(turn, &last, query).await;
            assert!(matches!(stream.status(), 200 | 503), "{}", stream.status());
            if stream.status() == 200 {
                all.extend(stream.rest().await);
            }
            match all.last() {
                Some(event) if event.is_final() => return all,
                Some(event) => last.clone_from(&event.id),
                None => {}
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the turn never ends: {all:?}");
    }

    async fn history(&self) -> Vec<String> {
        let call = self.call(&self.second, Method::GET, "/chat/history");
        let history = Said::of(call.send().await.unwrap()).await.json();
        let messages = history["messages"].as_array().unwrap().iter();
        messages
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn ids(events: &[Event]) -> Vec<&str> {
    let number = |event: &Event| {
        event
            .id
            .split_once('.')
            .map_or(0, |(turn, _)| turn.len() + 1)
    };
    events
        .iter()
        .map(|event| &event.id[number(event)..])
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instances_answer_is_read_as_it_comes() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    let mut elsewhere = fleet.resume(&turn, &format!("{turn}.1:0"), "").await;
    let seen = elsewhere.next().await.unwrap();
    assert_eq!((&seen.id, &seen.data), (&first.id, &first.data));
    fleet.llm.go_on();
    let (here, there) = tokio::join!(stream.rest(), elsewhere.rest());
    assert_eq!(ids(&here), ["1:2", "1:3"]);
    assert_eq!(ids(&here), ids(&there));
    assert_eq!(here.last().unwrap().data, there.last().unwrap().data);
    assert_eq!(fleet.database.count("turn_pieces".into()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_turn_is_answered_anew_by_another() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    sleep(FLUSHED).await;
    fleet.first.signal("KILL");
    let all = fleet
        .read_to_the_end(&turn, first.id.clone(), "?restart=1")
        .await;
    assert_eq!(ids(&all), ["2:1", "2:2", "2:3"]);
    assert_eq!(all[0].data["type"], "reset");
    assert_eq!(all[1].content(), "Very well.");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
    assert_eq!(fleet.llm.asked().len(), 2);
    // A client that does not know `reset` keeps what it has, and is told that this was all.
    let rest = fleet
        .resume(&turn, &format!("{turn}.1:0"), "")
        .await
        .rest()
        .await;
    assert_eq!(ids(&rest), ["1:1", "2:0"]);
    assert_eq!(rest[1].data["finish_reason"], "interrupted");
    assert_eq!(fleet.resume(&turn, &rest[1].id, "").await.status(), 204);
    assert_eq!(
        fleet.resume(&turn, &all[2].id, "?restart=1").await.status(),
        204
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_servers_turn_is_answered_though_nobody_comes_back() {
    let fleet = Fleet::start(&[]).await;
    drop(fleet.begin().await);
    fleet.first.signal("KILL");
    sleep(LEASE).await;
    // Any request does a piece of the housekeeping.
    let other = fleet
        .call_of("other", &fleet.second, Method::POST, "/chat")
        .json(&json!({"content": "Hi"}));
    assert_eq!(other.send().await.unwrap().status(), 200);
    let mut tries = 0;
    while fleet.history().await != ["one", "Very well."] {
        tries += 1;
        assert!(tries < 50, "{:?}", fleet.history().await);
        sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_ends_as_interrupted_after_its_last_attempt() {
    let fleet = Fleet::start(&[("FRONTDESK_TURN__ATTEMPTS", "1")]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.first.signal("KILL");
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(ids(&all), ["2:0"]);
    assert_eq!(all[0].data["error"]["code"], "interrupted");
    assert_eq!(fleet.history().await, ["one"]);
    assert_eq!(fleet.llm.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_hands_its_turns_over_at_once() {
    let fleet = Fleet::start(&[("FRONTDESK_LEASE_SECONDS", "600")]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    let json = fleet
        .call_of("json", &fleet.first, Method::POST, "/chat")
        .json(&json!({"content": "one"}));
    fleet.llm.says(["c", "d"]).pause_after(1);
    let json = tokio::spawn(json.send());
    sleep(FLUSHED).await;
    fleet.first.signal("TERM");
    // Cut after a whole frame, not ended; JSON is told to come back.
    assert_eq!(stream.rest().await.len(), 0);
    let json = json.await.unwrap().unwrap();
    assert_eq!(json.status(), 503);
    assert!(json.headers().contains_key("retry-after"));
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(ids(&all), ["2:1", "2:2", "2:3"]);
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_says_nothing_more() {
    let fleet = Fleet::start(&[]).await;
    let (stream, first) = fleet.begin().await;
    let turn = stream.turn_id();
    fleet.first.signal("STOP");
    let all = fleet.read_to_the_end(&turn, first.id, "?restart=1").await;
    assert_eq!(all.last().unwrap().data["finish_reason"], "stop");
    // It wakes, its model goes on, and it must not say or store a word.
    fleet.llm.go_on();
    fleet.first.signal("CONT");
    let late = stream.rest().await;
    assert!(late.iter().all(|event| !event.is_final()), "{late:?}");
    assert!(
        late.iter().all(|event| event.content().is_empty()),
        "{late:?}"
    );
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_finds_its_turn_after_a_crash() {
    let fleet = Fleet::start(&[]).await;
    fleet.llm.says(["a", "b"]).pause_after(1);
    let ask = |process: &Process| {
        let call = fleet.call(process, Method::POST, "/chat/stream");
        let call = call.header("Idempotency-Key", "k");
        call.json(&json!({"content": "one"}))
    };
    let mut stream = Stream::of(ask(&fleet.first).send().await.unwrap());
    stream.next().await.unwrap();
    fleet.first.signal("KILL");
    sleep(LEASE).await;
    let again = Stream::of(ask(&fleet.second).send().await.unwrap());
    assert_eq!(again.turn_id(), stream.turn_id());
    assert_eq!(again.told().await, "Very well.|stop");
    assert_eq!(fleet.history().await, ["one", "Very well."]);
}

/// PgBouncer in transaction mode with three server connections, before one database.
struct Pooler {
    url: String,
    child: std::process::Child,
    _directory: tempfile::TempDir,
}

impl Pooler {
    async fn start(database: &Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let direct = url::Url::parse(&database.url).unwrap();
        let name = direct.path().trim_start_matches('/');
        let users = directory.path().join("users");
        std::fs::write(&users, "\"frontdesk\" \"\"\n").unwrap();
        let config = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n{name} = host=127.0.0.1 port={} user=frontdesk pool_size=3\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             auth_file = {}\npool_mode = transaction\nmax_client_conn = 200\n",
            direct.port().unwrap(),
            users.display()
        );
        std::fs::write(&config, text).unwrap();
        // It refuses to run as root, as PostgreSQL does.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).unwrap();
        let mut command = std::process::Command::new("pgbouncer");
        command
            .arg("-q")
            .args(is_root().then_some(["-u", "nobody"]).into_iter().flatten());
        let child = command
            .arg(&config)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        Self {
            url: format!("postgres://frontdesk@127.0.0.1:{port}/{name}"),
            child,
            _directory: directory,
        }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn is_root() -> bool {
    let owner = std::fs::metadata("/proc/self").unwrap();
    std::os::unix::fs::MetadataExt::uid(&owner) == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_of_three_connections_is_enough_for_two_instances() {
    let database = Database::empty(Db::Postgres).await;
    let pooler = Pooler::start(&database).await;
    let fleet = Fleet::on(database, &pooler.url, &[]).await;
    let (stream, _) = fleet.begin().await;
    let turn = stream.turn_id();
    let elsewhere = fleet.resume(&turn, &format!("{turn}.1:0"), "").await;
    let devices: Vec<String> = (0..20).map(|n| format!("d{n}")).collect();
    for _ in 0..5 {
        let says = devices.iter().enumerate().map(|(n, device)| {
            let process = if n % 2 == 0 {
                &fleet.first
            } else {
                &fleet.second
            };
            let call = fleet.call_of(device, process, Method::POST, "/chat");
            async { Said::of(call.json(&json!({"content": "Hi"})).send().await.unwrap()).await }
        });
        for said in futures_util::future::join_all(says).await {
            assert_eq!(said.content(), "Very well.");
        }
    }
    fleet.llm.go_on();
    assert_eq!(stream.told().await, "b|stop");
    assert_eq!(elsewhere.told().await, "ab|stop");
    assert_eq!(
        fleet.database.count("messages".into()).await,
        20 * 5 * 2 + 2
    );
}
