//! Settings: one struct, filled from `default.toml`, a file, the environment and flags.
//!
//! `config/default.toml` is the defaults and the manual, and it is the schema too: a key that
//! it does not have is refused with a suggestion. All problems are reported at once, each with
//! its mend ([`rules::SettingsProblem`]). Nothing else in the crate reads the environment.

mod agents;
mod check;
mod environment;
mod judges;
mod llm;
mod load;
mod mcp;
mod people;
mod rules;
mod secrets;
mod tools;
mod widgets;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de::Error as _};

pub use agents::{
    AgentSettings, FlowSettings, HUMAN, SlotKind, SlotSettings, WebhookSettings, WhenBusy,
};
pub use environment::environment_names;
pub use judges::{Criterion, JudgeSettings};
pub use llm::{LlmSettings, ModelSettings, TimeoutSettings, VendorSettings};
pub use load::{Loaded, Sources, defaults_document};
pub use mcp::{BETWEEN, McpSettings};
pub use people::{AuthSettings, ExpertSettings, NotifySettings};
pub use rules::SettingsProblem;
pub use tools::{HANDOFF, ToolMethod, ToolSettings};
pub use widgets::WidgetSettings;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where and how to listen.
    pub server: ServerSettings,
    /// Where everything is kept.
    pub database: DatabaseSettings,
    /// Session locks.
    pub session: SessionSettings,
    /// Turns.
    pub turn: TurnSettings,
    /// Who is signed in.
    pub auth: AuthSettings,
    /// People at the desk.
    pub experts: ExpertSettings,
    /// Who is told outside.
    pub notify: NotifySettings,
    /// Who judges answers, by their names.
    pub judges: BTreeMap<String, JudgeSettings>,
    /// How long conversations are kept.
    pub retention: RetentionSettings,
    /// Rate limits.
    pub limits: LimitSettings,
    /// What models may cost.
    pub budgets: BudgetSettings,
    /// Models.
    pub llm: LlmSettings,
    /// Agents without a model.
    pub offline: OfflineSettings,
    /// Who takes a message.
    pub routing: RoutingSettings,
    /// Log lines.
    pub log: LogSettings,
    /// The agents by their paths.
    pub agents: BTreeMap<String, AgentSettings>,
    /// The tools by their names.
    pub tools: BTreeMap<String, ToolSettings>,
    /// The MCP servers by their names.
    pub mcp: BTreeMap<String, McpSettings>,
    /// The widgets by their names.
    pub widgets: BTreeMap<String, WidgetSettings>,
}

impl Settings {
    /// Whether visitors may talk to people: then no agent answers them without a database.
    pub fn has_people(&self) -> bool {
        let hands_over = |agent: &AgentSettings| {
            agent.guard.is_some() || agent.handoff_to.iter().any(|to| to == HUMAN)
        };
        self.agents.values().any(hands_over)
            || !self.experts.phrases.is_empty()
            || !self.notify.kinds().is_empty()
    }
}

/// Where and how to listen.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerSettings {
    /// The address to bind.
    #[serde(deserialize_with = "host")]
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Origins that CORS admits.
    pub allowed_origins: Vec<String>,
    /// Proxies that are believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header that names the caller, in small letters.
    pub client_ip_header: String,
    /// Origins that a form may be sent to.
    pub widget_callback_origins: Vec<String>,
    /// Whether there is a WebSocket for protocol test suites.
    pub ws_echo: bool,
    /// Which device ids are taken.
    pub device_ids: DeviceIds,
    /// From which all keys are derived; empty: kept in the database.
    pub secret: Secret,
    /// The drain, in seconds.
    pub shutdown_seconds: u64,
    /// How long a server that is told to stop still takes turns, in milliseconds.
    pub lame_duck_milliseconds: u64,
    /// Threads that serve connections; 0: one for each core.
    pub workers: usize,
    /// How many connections clients may have open.
    #[serde(deserialize_with = "some")]
    pub max_connections: usize,
}

/// An address, or `localhost`.
fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        text => text
            .parse()
            .map_err(|_| D::Error::custom("must be an IP address: 127.0.0.1, or 0.0.0.0 for all")),
    }
}

/// A number from 1 on.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("must be 1 or more")),
        some => Ok(some),
    }
}

/// Networks; an address is a network of its own.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        text.parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
    };
    let wrong = |text: &String| {
        D::Error::custom(format!("{text} is no address and no network: 10.0.0.0/8"))
    };
    texts
        .iter()
        .map(|text| network(text).map_err(|_| wrong(text)))
        .collect()
}

/// Which device ids are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceIds {
    /// Any that is well-formed.
    Open,
    /// Those that this server issued.
    Signed,
}

/// Where everything is kept.
#[derive(Debug, Clone, Deserialize)]
pub struct DatabaseSettings {
    /// `postgres://…` or `sqlite:PATH`. A secret, as it may hold a password.
    pub url: Secret,
    /// A direct connection to the same database, where `url` is a transaction pooler's.
    pub listen_url: Secret,
    /// Connections at the most.
    pub pool_size: u32,
    /// What a message gets while the database is away.
    pub on_outage: OnOutage,
    /// Whether statements stay prepared on their connections.
    pub statement_cache: StatementCache,
}

/// Whether statements stay prepared on their connections, which a transaction pooler takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatementCache {
    /// Unless a pooler is found at the start.
    Auto,
    /// Never: behind a transaction pooler.
    Off,
}

/// What a message gets while the database is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// A stateless answer that says so.
    Answer,
    /// 503.
    Refuse,
}

/// Session locks.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionSettings {
    /// A lock's life after the last message, in seconds.
    pub ttl_seconds: u64,
}

/// Turns.
#[derive(Debug, Clone, Deserialize)]
pub struct TurnSettings {
    /// A lease's length, in seconds.
    pub lease_seconds: u64,
    /// How often a turn may be begun anew when its server dies, the first time included.
    pub attempts: u32,
    /// How often an agent may call tools before it has to answer.
    pub tool_rounds: u32,
    /// How long a turn may take, its tools included, in seconds.
    pub most_seconds: u64,
    /// How long a message waits while its conversation is answering another, in seconds.
    pub wait_seconds: u64,
    /// How many messages the model is shown at the most.
    pub history_messages: u32,
    /// How many tokens of them, about.
    pub history_tokens: usize,
    /// How long a finished turn's frames are kept, in seconds.
    pub log_kept_seconds: u64,
}

/// How long conversations are kept.
#[derive(Debug, Clone, Deserialize)]
pub struct RetentionSettings {
    /// Days after the last message; 0: for ever.
    pub days: u32,
}

/// Rate limits.
#[derive(Debug, Clone, Deserialize)]
pub struct LimitSettings {
    /// Whether there are any.
    pub enabled: bool,
    /// From one device, on all instances together.
    pub device_messages_per_minute: u32,
    /// From one user who is signed in, on all instances together.
    pub user_messages_per_minute: u32,
    /// From one address, on each instance.
    pub address_messages_per_minute: u32,
    /// Requests of one device or one user, of whatever kind, on each instance.
    pub device_requests_per_minute: u32,
    /// Streams that one device, or one user, may read at once, on each instance.
    #[serde(deserialize_with = "some")]
    pub device_streams: usize,
    /// Connections that one address may have, on each instance.
    #[serde(deserialize_with = "some")]
    pub address_connections: usize,
}

/// What models may cost, in tokens of a day (UTC); 0: no limit.
#[derive(Debug, Clone, Deserialize)]
pub struct BudgetSettings {
    /// For one device.
    pub device_tokens_per_day: u64,
    /// For one address.
    pub address_tokens_per_day: u64,
    /// For all together.
    pub site_tokens_per_day: u64,
    /// What a turn reserves before it is known what it costs.
    pub reserved_tokens: u64,
    /// What a visitor is told when it is spent.
    pub answer: String,
}

impl BudgetSettings {
    /// Whether there is a limit.
    pub fn are_set(&self) -> bool {
        self.device_tokens_per_day + self.address_tokens_per_day + self.site_tokens_per_day > 0
    }
}

/// Agents without a model.
#[derive(Debug, Clone, Deserialize)]
pub struct OfflineSettings {
    word_delay_milliseconds: u64,
}

impl OfflineSettings {
    /// The pause between two words.
    pub fn word_delay(&self) -> Duration {
        Duration::from_millis(self.word_delay_milliseconds)
    }
}

/// Who takes a message.
#[derive(Debug, Clone, Deserialize)]
pub struct RoutingSettings {
    /// The agent for what fits none better.
    pub default_agent: String,
    /// What the manager tells the model.
    pub prompt: String,
}

/// Log lines.
#[derive(Debug, Clone, Deserialize)]
pub struct LogSettings {
    /// How they look.
    pub format: LogFormat,
    /// Which there are, as `RUST_LOG`.
    pub filter: String,
    /// More of them.
    pub debug: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// A string that no log line and no error ever shows.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}
