//! Language models: requests, answers, errors, and the configured models.
//!
//! A [`Provider`] speaks one vendor's wire format and yields [`Chunk`]s. It does not retry:
//! [`retry`] repeats calls and falls back to other models, only before the first visible
//! word, and enforces the timeouts. Reasoning text is never shown.

mod anthropic;
mod call;
#[cfg(test)]
mod conformance;
mod events;
mod openai;
mod reasoning_filter;
mod refusal;
mod retry;
mod tools;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::{
    config::{self, ModelSettings, TimeoutSettings},
    error::{Code, Error},
    http::Clients,
    metrics::Metrics,
    store::messages::FinishReason,
};

pub(crate) use events::{Events, ResponseBody, body};
pub use retry::{Whole, complete, open};
pub use tools::{CallPart, Calls, ToolCall, ToolResult, ToolSpec};

/// A request to a model.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The system prompt.
    pub system: String,
    /// The conversation, oldest first. It begins and ends with the visitor.
    pub messages: Vec<PromptMessage>,
    /// Limit of the answer, in tokens; overrides the model's own setting.
    pub max_tokens: Option<u32>,
    /// The tools, sent even if `may_call` is false.
    pub tools: Arc<[ToolSpec]>,
    /// Whether the model may call tools now.
    pub may_call: bool,
    /// The tool that the model must call, so that its answer is structured.
    pub must_call: Option<String>,
}

impl Request {
    /// Bytes of text that the model reads, without the tools' schemas.
    pub fn bytes(&self) -> usize {
        let messages = self.messages.iter().map(|message| {
            let calls = message.calls.iter().map(|call| call.arguments.len());
            let results = message.results.iter().map(|result| result.content.len());
            message.text.len() + calls.chain(results).sum::<usize>()
        });
        let tools = self.tools.iter().map(|tool| tool.description.len());
        self.system.len() + messages.chain(tools).sum::<usize>()
    }
}

/// One message of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PromptMessage {
    /// True for the visitor's side and tool results, false for the agent's side.
    pub from_visitor: bool,
    /// The text; may be empty if there are images.
    pub text: String,
    /// URLs of images.
    pub images: Vec<String>,
    /// The model's tool calls, on the agent's side only.
    pub calls: Vec<ToolCall>,
    /// Results of the calls in the message before.
    pub results: Vec<ToolResult>,
}

/// A part of an answer. One without text, calls and finish reason only resets the timeouts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Text to append.
    pub text: String,
    /// Parts of tool calls.
    pub calls: Vec<CallPart>,
    /// Why the answer ends; only in the last chunk.
    pub finish: Option<FinishReason>,
    /// Tokens used so far. A vendor may report them in parts; a chunk that reaches an agent has the total.
    pub usage: Option<Usage>,
}

impl Chunk {
    /// A chunk of text.
    pub fn said(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// The last chunk of a complete answer.
    pub fn end() -> Self {
        Self {
            finish: Some(FinishReason::Stop),
            ..Self::default()
        }
    }
}

/// Tokens that an answer used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens that the model read.
    pub input: u64,
    /// Tokens that the model wrote.
    pub output: u64,
}

impl Usage {
    /// Merges a later report, by maximum: vendors report input and output separately, or repeat running totals.
    pub fn updated(self, later: Option<Self>) -> Self {
        let later = later.unwrap_or_default();
        Self {
            input: self.input.max(later.input),
            output: self.output.max(later.output),
        }
    }

    /// The sum with another answer's usage.
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }
}

/// An answer as a stream. It ends after the chunk with a finish reason, or with an error.
pub type Chunks = BoxStream<'static, Result<Chunk, LlmError>>;

/// A vendor's wire format.
pub trait Provider: Debug + Send + Sync {
    /// Sends the request without retries. Returns when the answer begins.
    fn ask<'a>(
        &'a self,
        model: &'a Model,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Chunks, LlmError>>;
}

/// A model and its provider.
#[derive(Debug, Clone)]
pub struct Model {
    /// As configured: `openai:gpt-5-mini`.
    pub spec: String,
    /// The vendor's name for it.
    pub name: String,
    /// Its settings.
    pub settings: ModelSettings,
    provider: Arc<dyn Provider>,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct LlmError {
    /// What kind of failure it was.
    pub kind: Failure,
    /// Details for the log; never shown to a visitor.
    pub detail: String,
    /// How long the vendor asks to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
}

/// What kind of failure a call had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("no connection")]
    Connect,
    /// The vendor answered with this error status.
    #[error("status {0}")]
    Status(u16),
    /// The vendor reported an error within the answer.
    #[error("error event")]
    Reported,
    /// The answer cannot be parsed or is too large.
    #[error("unreadable")]
    Unreadable,
    /// The answer has no text.
    #[error("empty answer")]
    Empty,
    /// The connection ended before the answer did.
    #[error("cut off")]
    Cut,
    /// A timeout expired.
    #[error("timeout")]
    Timeout,
}

impl Failure {
    /// The kind without its details, as a metrics label.
    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Status(_) => "status",
            Self::Reported => "reported",
            Self::Unreadable => "unreadable",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
        }
    }
}

impl LlmError {
    fn new(kind: Failure, detail: impl ToString) -> Self {
        Self {
            kind,
            detail: detail.to_string(),
            retry_after: None,
        }
    }

    /// True if the same call may succeed when it is retried.
    fn is_passing(&self) -> bool {
        match self.kind {
            Failure::Connect | Failure::Cut | Failure::Empty | Failure::Reported => true,
            Failure::Status(status) => matches!(status, 408 | 409 | 425 | 429 | 500 | 502..=599),
            Failure::Unreadable | Failure::Timeout => false,
        }
    }

    /// The code that a client sees.
    pub fn code(&self) -> Code {
        match self.kind {
            Failure::Timeout => Code::UpstreamTimeout,
            Failure::Cut => Code::Interrupted,
            _ => Code::UpstreamError,
        }
    }
}

impl From<LlmError> for Error {
    fn from(error: LlmError) -> Self {
        Self::new(error.code()).caused_by(error)
    }
}

/// The configured models.
#[derive(Debug)]
pub struct Models {
    openai: Arc<dyn Provider>,
    anthropic: Arc<dyn Provider>,
    default_spec: Option<String>,
    only_anthropic: bool,
    settings: BTreeMap<String, ModelSettings>,
    /// Retries and timeouts of calls.
    pub policy: Policy,
    metrics: Arc<Metrics>,
}

/// Retries and timeouts of calls.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Maximum retries after a failed call.
    pub retries: u32,
    /// The timeouts.
    pub timeouts: TimeoutSettings,
}

impl Models {
    /// The models of a configuration.
    pub fn new(
        settings: &config::LlmSettings,
        clients: Arc<Clients>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let timeouts = settings.timeouts();
        Self {
            openai: Arc::new(openai::OpenAi::new(
                &settings.openai,
                Arc::clone(&clients),
                timeouts,
            )),
            anthropic: Arc::new(anthropic::Anthropic::new(
                &settings.anthropic,
                clients,
                timeouts,
            )),
            default_spec: settings.default_model(),
            only_anthropic: settings.anthropic.is_set() && !settings.openai.is_set(),
            settings: settings.models.clone(),
            policy: Policy {
                retries: settings.retries,
                timeouts,
            },
            metrics,
        }
    }

    /// The default model; `None` if the server is offline.
    pub fn default_model(&self) -> Option<Model> {
        self.default_spec.as_deref().map(|spec| self.model(spec))
    }

    /// A model by its spec. The part before the first colon is a provider only if it is `openai` or
    /// `anthropic`: `llama3:8b` is a model's name, and the configured vendor serves it.
    pub fn model(&self, spec: &str) -> Model {
        let (provider, name) = match spec.split_once(':') {
            Some(("openai", name)) => (&self.openai, name),
            Some(("anthropic", name)) => (&self.anthropic, name),
            _ if self.only_anthropic => (&self.anthropic, spec),
            _ => (&self.openai, spec),
        };
        Model {
            spec: spec.to_owned(),
            name: name.to_owned(),
            settings: self.settings.get(spec).cloned().unwrap_or_default(),
            provider: Arc::clone(provider),
        }
    }

    /// A model, followed by its fallbacks.
    pub fn with_fallbacks(&self, model: &Model) -> Vec<Model> {
        let fallbacks = model.settings.fallbacks.iter().map(|spec| self.model(spec));
        std::iter::once(model.clone()).chain(fallbacks).collect()
    }
}
