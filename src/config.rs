//! Settings: one struct, filled from `default.toml`, a file, the environment and flags.
//!
//! `config/default.toml` holds the defaults and the users' manual. It is also the schema: a key that
//! it does not contain is rejected, with a suggestion. All problems are reported at once, each with
//! its remedy ([`rules::SettingsProblem`]). No other module may read the environment.

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
pub use mcp::{McpSettings, TOOL_SEPARATOR};
pub use people::{AuthSettings, ExpertSettings, NotifySettings};
pub use rules::SettingsProblem;
pub use tools::{HANDOFF, ToolMethod, ToolSettings};
pub use widgets::WidgetSettings;

/// All settings.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    /// Where and how to listen.
    pub server: ServerSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Session locks.
    pub session: SessionSettings,
    /// Turns.
    pub turn: TurnSettings,
    /// Tokens of signed-in users.
    pub auth: AuthSettings,
    /// Human experts.
    pub experts: ExpertSettings,
    /// Notifications by webhook and e-mail.
    pub notify: NotifySettings,
    /// The judges, by name.
    pub judges: BTreeMap<String, JudgeSettings>,
    /// How long conversations are kept.
    pub retention: RetentionSettings,
    /// Rate limits.
    pub limits: LimitSettings,
    /// Token budgets.
    pub budgets: BudgetSettings,
    /// Models and their vendors.
    pub llm: LlmSettings,
    /// Agents without a model.
    pub offline: OfflineSettings,
    /// Which agent gets a message.
    pub routing: RoutingSettings,
    /// The server's log lines.
    pub log: LogSettings,
    /// The agents, by path.
    pub agents: BTreeMap<String, AgentSettings>,
    /// The tools, by name.
    pub tools: BTreeMap<String, ToolSettings>,
    /// The MCP servers, by name.
    pub mcp: BTreeMap<String, McpSettings>,
    /// The predefined widgets, by name.
    pub widgets: BTreeMap<String, WidgetSettings>,
}

impl Settings {
    /// Whether visitors can reach an expert. Then no agent answers while the database is away: only the database knows
    /// whether an expert has the conversation.
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
    /// Origins that CORS allows.
    pub allowed_origins: Vec<String>,
    /// Proxies that are trusted to report the client's address.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they report it, in lower case.
    pub client_ip_header: String,
    /// Origins to which widget forms may be sent, besides the chat's own routes.
    pub widget_callback_origins: Vec<String>,
    /// Whether `/ws/echo` exists, for protocol test suites.
    pub ws_echo: bool,
    /// Which device ids are accepted.
    pub device_ids: DeviceIds,
    /// The secret from which all keys are derived. Empty: it is generated once and kept in the database.
    pub secret: Secret,
    /// Maximum length of a shutdown, in seconds; running turns can finish in this time.
    pub shutdown_seconds: u64,
    /// How long a stopping server still accepts new turns, in milliseconds.
    pub lame_duck_milliseconds: u64,
    /// Threads that serve connections; 0: one per core.
    pub workers: usize,
    /// Maximum open client connections.
    #[serde(deserialize_with = "some")]
    pub max_connections: usize,
}

/// Reads an IP address, or `localhost`.
fn host<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        text => text
            .parse()
            .map_err(|_| D::Error::custom("must be an IP address: 127.0.0.1, or 0.0.0.0 for all")),
    }
}

/// Reads a number that is not 0.
fn some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("must be 1 or more")),
        some => Ok(some),
    }
}

/// Reads networks; a single address counts as a network.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let network = |text: &String| {
        text.parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
    };
    let wrong = |text: &String| {
        D::Error::custom(format!(
            "{text} is neither an address nor a network (10.0.0.0/8)"
        ))
    };
    texts
        .iter()
        .map(|text| network(text).map_err(|_| wrong(text)))
        .collect()
}

/// Which device ids are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceIds {
    /// Any well-formed id.
    Open,
    /// Only ids that this server issued.
    Signed,
}

/// The database.
#[derive(Debug, Clone, Deserialize)]
pub struct DatabaseSettings {
    /// `postgres://…` or `sqlite:PATH`. A secret, as it may hold a password.
    pub url: Secret,
    /// A direct connection to the same database, for `LISTEN`, if `url` leads to a transaction pooler.
    pub listen_url: Secret,
    /// Maximum connections.
    pub pool_size: u32,
    /// What a message gets while the database is unreachable.
    pub on_outage: OnOutage,
    /// Whether prepared statements are kept on their connection.
    pub statement_cache: StatementCache,
}

/// Whether prepared statements are kept on their connection. Behind a transaction pooler they are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatementCache {
    /// Kept, unless a pooler is detected at the start.
    Auto,
    /// Never kept.
    Off,
}

/// What a message gets while the database is unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// An answer that is not stored and is marked as degraded.
    Answer,
    /// A 503.
    Refuse,
}

/// Session locks.
#[derive(Debug, Clone, Deserialize)]
pub struct SessionSettings {
    /// How long a lock lasts after the last message, in seconds.
    pub ttl_seconds: u64,
}

/// Turns.
#[derive(Debug, Clone, Deserialize)]
pub struct TurnSettings {
    /// How long a lease lasts without renewal, in seconds.
    pub lease_seconds: u64,
    /// Maximum attempts per turn, the first included. A new attempt starts when a turn's server has died.
    pub attempts: u32,
    /// Maximum rounds of tool calls; then the agent must answer.
    pub tool_rounds: u32,
    /// Maximum length of a turn, tools included, in seconds.
    pub most_seconds: u64,
    /// Maximum time that a message waits while its conversation answers another one, in seconds.
    pub wait_seconds: u64,
    /// Maximum messages that the model sees.
    pub history_messages: u32,
    /// Their maximum length, in estimated tokens.
    pub history_tokens: usize,
    /// How long a finished turn's frames are kept, in seconds.
    pub log_kept_seconds: u64,
}

/// How long conversations are kept.
#[derive(Debug, Clone, Deserialize)]
pub struct RetentionSettings {
    /// Days after the last message until a conversation is erased; 0: never.
    pub days: u32,
}

/// Rate limits.
#[derive(Debug, Clone, Deserialize)]
pub struct LimitSettings {
    /// Whether these limits apply.
    pub enabled: bool,
    /// Messages per device, counted on all instances together.
    pub device_messages_per_minute: u32,
    /// Messages per signed-in user, counted on all instances together.
    pub user_messages_per_minute: u32,
    /// Messages per address, counted on each instance.
    pub address_messages_per_minute: u32,
    /// Requests of any kind per device or user, counted on each instance.
    pub device_requests_per_minute: u32,
    /// Open streams per device or user, on each instance.
    #[serde(deserialize_with = "some")]
    pub device_streams: usize,
    /// Open connections per address, on each instance.
    #[serde(deserialize_with = "some")]
    pub address_connections: usize,
}

/// Token budgets: the tokens that models may use per day (UTC); 0: no limit.
#[derive(Debug, Clone, Deserialize)]
pub struct BudgetSettings {
    /// Per device or user.
    pub device_tokens_per_day: u64,
    /// Per address.
    pub address_tokens_per_day: u64,
    /// For the whole site.
    pub site_tokens_per_day: u64,
    /// Tokens set aside before each answer.
    pub reserved_tokens: u64,
    /// The answer to a visitor when a budget is used up.
    pub answer: String,
}

impl BudgetSettings {
    /// Whether any budget is limited.
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

/// Which agent gets a message.
#[derive(Debug, Clone, Deserialize)]
pub struct RoutingSettings {
    /// The agent for messages that fit no other agent better.
    pub default_agent: String,
    /// The manager's prompt for the model that chooses an agent.
    pub prompt: String,
}

/// The server's log lines.
#[derive(Debug, Clone, Deserialize)]
pub struct LogSettings {
    /// Their format.
    pub format: LogFormat,
    /// Which are written, in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Whether frontdesk's debug lines are added.
    pub debug: bool,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

/// A string that is never shown in log lines or errors.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself. Only for the place that uses it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is empty, which means not set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}
