//! Two or more instances on one PostgreSQL, and the faults that they must survive.

mod deaths;
mod elsewhere;
mod hostile;
mod pooler;
mod soak;
mod tools;
mod world;

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::time::sleep;

use crate::support::{
    Database, Db, Event, FakeLlm, Process, Said, Stream, client, until, until_open,
};

/// A little longer than the instances' lease of 3 s.
const LONGER_THAN_LEASE: Duration = Duration::from_millis(3_300);

/// Two instances on one database and one model server.
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

    /// Two instances whose settings differ.
    async fn with(first: &[(&str, &str)], second: &[(&str, &str)]) -> Self {
        let database = Database::empty(Db::Postgres).await;
        let url = database.url.clone();
        Self::of(database, &url, [first, second]).await
    }

    /// Instances that reach the database by this URL.
    async fn on(database: Database, url: &str, settings: &[(&str, &str)]) -> Self {
        Self::of(database, url, [settings, settings]).await
    }

    async fn of(database: Database, url: &str, settings: [&[(&str, &str)]; 2]) -> Self {
        let llm = FakeLlm::start().await;
        let base_url = format!("{}/v1", llm.url);
        let env = [
            ("DATABASE_URL", url),
            ("OPENAI_BASE_URL", base_url.as_str()),
            ("FRONTDESK_LEASE_SECONDS", "3"),
            ("FRONTDESK_SHUTDOWN_SECONDS", "3"),
        ];
        let [first, second] = settings.map(|own| Process::start(&[&env[..], own].concat()));
        Self {
            first,
            second,
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

    /// Sends a message to the first instance; the model says "a" and pauses.
    async fn begin(&self) -> (Stream, Event) {
        self.llm.says(["a", "b"]).pause_after(1);
        let call = self.call(&self.first, Method::POST, "/chat/stream");
        let mut stream = Stream::of(call.json(&json!({"content": "one"})).send().await.unwrap());
        let first = stream.next().await.unwrap();
        (stream, first)
    }

    /// Waits until this many turns have a frame in the durable log.
    async fn flushed(&self, turns: i64) {
        let flushed = "(select distinct turn_id from turn_pieces) as flushed".to_owned();
        until(async || self.database.count(flushed.clone()).await == turns).await;
    }

    /// Waits until the lease of a turn has expired.
    async fn expired(&self) {
        let expired = "conversations where lease_until <= now()".to_owned();
        until(async || self.database.count(expired.clone()).await == 1).await;
    }

    async fn resume(&self, turn: &str, last: &str, query: &str) -> Stream {
        let path = format!("/chat/stream/{turn}{query}");
        let call = self.call(&self.second, Method::GET, &path);
        Stream::of(call.header("Last-Event-ID", last).send().await.unwrap())
    }

    /// Reads a turn to its end on the second instance, resuming whenever the stream is cut.
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
