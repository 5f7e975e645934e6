//! Models: what is asked, what they answer with, and which there are.
//!
//! A [`Provider`] speaks one vendor's wire format and yields [`Chunk`]s. It does not repeat
//! itself: [`retry`] repeats calls and falls back to other models, before the first visible
//! word only, and holds the timers. Reasoning text is never shown.

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

/// What a model is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The instructions.
    pub system: String,
    /// The conversation, oldest first. It begins and ends with the visitor.
    pub messages: Vec<PromptMessage>,
    /// The longest answer, in tokens, where the model's own setting is not meant.
    pub max_tokens: Option<u32>,
    /// The tools that there are.
    pub tools: Arc<[ToolSpec]>,
    /// Whether it may call them now.
    pub may_call: bool,
    /// The one that it has to call: so its answer has a shape.
    pub must_call: Option<String>,
}

impl Request {
    /// How much text a model has to read, but for the shapes of its tools.
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
    /// Whether the visitor said it, or the desk.
    pub from_visitor: bool,
    /// The text; may be empty where there are images.
    pub text: String,
    /// URLs of images.
    pub images: Vec<String>,
    /// The tools that the model called then, where the desk said it.
    pub calls: Vec<ToolCall>,
    /// What came of the calls just before.
    pub results: Vec<ToolResult>,
}

/// A piece of an answer. One without text, calls and reason is a sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Text to append.
    pub text: String,
    /// Pieces of the calls of tools that it asks for.
    pub calls: Vec<CallPart>,
    /// Why the answer ends here.
    pub finish: Option<FinishReason>,
    /// What the answer has cost so far. A vendor says it in parts; what reaches an agent has all of it.
    pub usage: Option<Usage>,
}

impl Chunk {
    /// Text.
    pub fn said(text: String) -> Self {
        Self {
            text,
            ..Self::default()
        }
    }

    /// The end of an answer that is complete.
    pub fn end() -> Self {
        Self {
            finish: Some(FinishReason::Stop),
            ..Self::default()
        }
    }
}

/// What an answer has cost, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// What the model read.
    pub input: u64,
    /// What it wrote.
    pub output: u64,
}

impl Usage {
    /// What is known after more was said of it: vendors say the parts apart, or all again and again.
    pub fn updated(self, later: Option<Self>) -> Self {
        let later = later.unwrap_or_default();
        Self {
            input: self.input.max(later.input),
            output: self.output.max(later.output),
        }
    }

    /// This and that of another answer.
    pub fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
        }
    }
}

/// The rest of an answer. It ends after the chunk with a finish reason, or with an error.
pub type Chunks = BoxStream<'static, Result<Chunk, LlmError>>;

/// A vendor's wire format.
pub trait Provider: Debug + Send + Sync {
    /// Asks once. The answer's head has arrived when this returns.
    fn ask<'a>(
        &'a self,
        model: &'a Model,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Chunks, LlmError>>;
}

/// A model that can be asked.
#[derive(Debug, Clone)]
pub struct Model {
    /// As configured: `openai:gpt-5-mini`.
    pub spec: String,
    /// As the vendor calls it.
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
    /// What the log says of it; never shown to a visitor.
    pub detail: String,
    /// How long the vendor asks to wait.
    pub retry_after: Option<Duration>,
}

/// What kind of failure a call had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No connection.
    #[error("no connection")]
    Connect,
    /// The vendor refused, with this status.
    #[error("status {0}")]
    Status(u16),
    /// The vendor reported an error within the answer.
    #[error("error event")]
    Reported,
    /// What came cannot be read.
    #[error("unreadable")]
    Unreadable,
    /// The answer has no text.
    #[error("empty answer")]
    Empty,
    /// The connection ended before the answer did.
    #[error("cut off")]
    Cut,
    /// A timer ran out.
    #[error("timeout")]
    Timeout,
}

impl Failure {
    /// The kind without its details.
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

    /// Whether the same call may succeed a moment later.
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
    /// How calls are repeated and timed.
    pub policy: Policy,
    metrics: Arc<Metrics>,
}

/// How calls are repeated and timed.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Tries after the first.
    pub retries: u32,
    /// The timers.
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

    /// The model of the desk; none: it is offline.
    pub fn default_model(&self) -> Option<Model> {
        self.default_spec.as_deref().map(|spec| self.model(spec))
    }

    /// A model by its name. The part before the first colon is a provider only if it is one
    /// that is known: `llama3:8b` is a model's name, and the vendor that is set up has it.
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

    /// A model and those to try after it.
    pub fn with_fallbacks(&self, model: &Model) -> Vec<Model> {
        let fallbacks = model.settings.fallbacks.iter().map(|spec| self.model(spec));
        std::iter::once(model.clone()).chain(fallbacks).collect()
    }
}
