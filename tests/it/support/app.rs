//! The application, started as `cargo run` starts it, on a free port.

use std::{sync::Arc, time::Duration};

use clap::ValueEnum;
use frontdesk::{
    app::App,
    auth::Role,
    clock::{Clock, ManualClock, Timestamp},
    config::{Loaded, Settings, Sources},
    conversations::Conversations,
    server::Server,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{Db, FakeLlm, Stream, client, database::Database, tidy};

/// A server with a database, a clock and a fake model server of its own.
pub struct TestApp {
    pub url: String,
    pub app: Arc<App>,
    pub llm: FakeLlm,
    pub database: Arc<Database>,
    pub http: reqwest::Client,
    clock: Arc<ManualClock>,
    server: Server,
}

/// A response, read to its end.
pub struct Said {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl TestApp {
    /// With a fake OpenAI-compatible model.
    pub async fn start(db: Db) -> Self {
        Self::with(db, |_| {}).await
    }

    /// Without a model.
    pub async fn offline(db: Db) -> Self {
        Self::with(db, |settings| settings.llm.model = "offline".into()).await
    }

    /// With changed settings.
    pub async fn with(db: Db, change: impl FnOnce(&mut Settings)) -> Self {
        let database = Arc::new(Database::migrated(db).await);
        Self::on(database, FakeLlm::start().await, change).await
    }

    /// On an existing database and model server.
    pub async fn on(
        database: Arc<Database>,
        llm: FakeLlm,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = settings();
        settings.database = database.settings();
        settings.llm.model = "openai:fake".into();
        settings.llm.openai.base_url = format!("{}/v1", llm.url);
        settings.llm.anthropic.base_url = llm.url.clone();
        change(&mut settings);
        let clock = Arc::new(ManualClock::default());
        let app = App::new(settings, Arc::clone(&clock) as _).unwrap();
        let server = Server::start(Arc::clone(&app)).await.unwrap();
        Self {
            url: format!("http://{}", server.address),
            app,
            llm,
            database,
            http: client(),
            clock,
            server,
        }
    }

    /// Another server on the same database and model server.
    pub async fn another(&self) -> Self {
        Self::on(Arc::clone(&self.database), self.llm.clone(), |_| {}).await
    }

    /// Stops the server, as a signal does.
    pub async fn stop(self) {
        self.server.stop().await;
    }

    /// Moves the server's clock and the database's.
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        if self.database.url.starts_with("postgres") {
            let micros = by.as_micros();
            self.database
                .execute(format!(
                    "create table if not exists test_clock (ahead interval not null default '0');
                     insert into test_clock select where not exists (select from test_clock);
                     update test_clock set ahead = ahead + {micros} * interval '1 microsecond';
                     create or replace function db_now() returns timestamptz language sql stable as
                     $$ select statement_timestamp() + (select ahead from test_clock) $$;"
                ))
                .await;
        }
    }

    /// When the lease of the only running turn expires, in microseconds since 1970.
    pub async fn lease_until(&self) -> i64 {
        self.database.lease_until().await
    }

    /// The server's time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The server's Rust API for conversations.
    pub fn conversations(&self) -> Conversations {
        self.server.conversations()
    }

    /// A token for this subject and role, valid for 1 h.
    pub async fn token(&self, sub: &str, role: &str) -> String {
        let role = Role::from_str(role, false).unwrap();
        let life = Duration::from_secs(3600);
        self.app.auth.token(sub, role, life).await.unwrap()
    }

    /// A request from a device.
    pub fn request(&self, method: Method, device: &str, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .header("X-Device-ID", device)
    }

    /// `POST /chat`.
    pub async fn say(&self, device: &str, content: &str) -> Said {
        self.post(device, "/chat", json!({"content": content}))
            .await
    }

    /// Posts a JSON body.
    pub async fn post(&self, device: &str, path: &str, body: Value) -> Said {
        Said::of(
            self.request(Method::POST, device, path)
                .json(&body)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub async fn get(&self, device: &str, path: &str) -> Said {
        Said::of(
            self.request(Method::GET, device, path)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub async fn delete(&self, device: &str, path: &str) -> Said {
        Said::of(
            self.request(Method::DELETE, device, path)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    /// `POST /chat/stream`.
    pub async fn stream(&self, device: &str, content: &str) -> Stream {
        let call = self.request(Method::POST, device, "/chat/stream");
        Stream::of(
            call.json(&json!({"content": content}))
                .send()
                .await
                .unwrap(),
        )
    }

    /// `GET /chat/stream/{turn_id}` after this event id.
    pub async fn resume(&self, device: &str, last_event_id: &str) -> Stream {
        let turn = last_event_id.split('.').next().unwrap();
        let call = self.request(Method::GET, device, &format!("/chat/stream/{turn}"));
        Stream::of(
            call.header("Last-Event-ID", last_event_id)
                .send()
                .await
                .unwrap(),
        )
    }

    /// The messages of the device's conversation, as `role: content`.
    pub async fn history(&self, device: &str) -> Vec<String> {
        let history = self.get(device, "/chat/history").await.json();
        let messages = history["messages"].as_array().unwrap().iter();
        messages
            .map(|message| format!("{}: {}", text(&message["role"]), text(&message["content"])))
            .collect()
    }

    /// The number of rows in a table; a condition may follow the table's name.
    pub async fn count(&self, table: &str) -> i64 {
        self.database.count(table.to_owned()).await
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// The default settings, on a free port, without delays between offline words.
pub fn settings() -> Settings {
    let env = [
        ("PORT", "0"),
        ("FRONTDESK_SERVER__WORKERS", "1"),
        ("FRONTDESK_OFFLINE__WORD_DELAY_MILLISECONDS", "0"),
        ("FRONTDESK_SHUTDOWN_SECONDS", "2"),
    ];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let Loaded { settings, warnings } = Sources {
        env,
        ..Sources::default()
    }
    .load()
    .unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    settings
}

impl Said {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The text of an answer.
    pub fn content(&self) -> String {
        self.json()["content"]
            .as_str()
            .unwrap_or_else(|| panic!("no content: {}", self.text))
            .to_owned()
    }

    /// Status and body, for a snapshot.
    pub fn shown(&self) -> String {
        let body = match serde_json::from_str::<Value>(&self.text) {
            Ok(json) => serde_json::to_string_pretty(&json).unwrap(),
            Err(_) => self.text.clone(),
        };
        tidy(&format!("{}\n{body}", self.status.as_u16()))
    }
}
