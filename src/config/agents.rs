//! The settings of an agent; `config/agents.toml` explains them.

use serde::Deserialize;
use serde_json::Value;

use super::Secret;
use crate::widgets::RawWidget;

/// Reserved handoff target: a human.
pub const HUMAN: &str = "human";

/// An agent: a prompt to use with a model, and a flow to use without one; or a webhook.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// What the agent is for. The manager chooses agents by this.
    pub description: String,
    /// Words that lead to this agent when no model chooses it.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// The model's system prompt.
    #[serde(default)]
    pub prompt: String,
    /// A service that answers instead of a model or a flow.
    pub webhook: Option<WebhookSettings>,
    /// The model, instead of `llm.model`.
    pub model: Option<String>,
    /// Models to try if that one fails before its first word, instead of the model's own fallbacks.
    pub fallbacks: Option<Vec<String>>,
    /// Maximum length of an answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Maximum rounds of tool calls, instead of `turn.tool_rounds`.
    pub tool_rounds: Option<u32>,
    /// How long its session locks last, instead of `session.ttl_seconds`.
    pub session_ttl_seconds: Option<u64>,
    /// What happens to a message that arrives during an answer.
    #[serde(default)]
    pub when_busy: WhenBusy,
    /// The tools that it may call: names in `[tools]`, or of MCP servers or their tools.
    #[serde(default)]
    pub tools: Vec<String>,
    /// The widgets that it may show: names in `[widgets]`, or types.
    #[serde(default)]
    pub widgets: Vec<String>,
    /// The agents that it may hand the conversation to; [`HUMAN`] is an expert.
    #[serde(default)]
    pub handoff_to: Vec<String>,
    /// The skill that an expert needs to continue its conversations. Experts with this skill are asked first.
    pub skill: Option<String>,
    /// The judge that checks each sentence of its answers before the visitor sees it.
    pub guard: Option<String>,
    /// JSON Schema (an object) of the context: data about the visitor that tools receive and the model never sees.
    pub context: Option<Value>,
    /// Properties of the context that the visitor's browser may set.
    #[serde(default)]
    pub context_from_visitor: Vec<String>,
    /// What it asks for, in this order.
    #[serde(default)]
    pub slots: Vec<SlotSettings>,
    /// What it says without a model.
    #[serde(default)]
    pub flow: FlowSettings,
}

/// A service that is called by a signed POST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Its address.
    pub url: String,
    /// The secret that signs the calls, so that the service knows that they come from this server.
    pub secret: Secret,
    /// Timeout in seconds: for an agent's silence, for a judge's whole answer.
    #[serde(default = "webhook_timeout")]
    pub timeout_seconds: u64,
}

fn webhook_timeout() -> u64 {
    30
}

/// What happens to a message that arrives while another one is being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenBusy {
    /// It waits. All waiting messages are answered together.
    #[default]
    Queue,
    /// It is refused with a 409.
    Reject,
    /// It stops the answer and is answered next.
    Interrupt,
}

/// What an agent without a model says besides its questions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSettings {
    /// Said before the first question.
    pub greeting: String,
    /// Said when all slots are filled.
    pub done: String,
    /// The reply to later messages.
    pub again: String,
    /// The reply to a later "no".
    pub bye: String,
    /// A tool that is called when all slots are filled, with the slots that it takes.
    pub tool: Option<String>,
    /// Said if that call fails.
    pub failed: Option<String>,
    /// The agent that continues after `done`.
    pub handoff: Option<String>,
}

/// One thing that an agent asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotSettings {
    /// How texts and prompts refer to it.
    pub name: String,
    /// How its value is read from a message.
    pub kind: SlotKind,
    /// The question.
    pub ask: String,
    /// Said when the answer does not fit.
    pub retry: String,
    /// Shown with the question. A form's fields fill slots.
    pub widget: Option<RawWidget>,
    /// Patterns that find its value in any message: it is the pattern's first group.
    #[serde(default)]
    pub volunteered: Vec<String>,
    /// Words, in lower case, that are no value by themselves: "booking an appointment" names no treatment. They also
    /// end a name.
    #[serde(default)]
    pub filler: Vec<String>,
    /// For [`SlotKind::YesNo`]: said after a "no".
    pub refused: Option<String>,
    /// For [`SlotKind::YesNo`]: the slots that are asked again after a "no".
    #[serde(default)]
    pub refused_clears: Vec<String>,
    /// For [`SlotKind::YesNo`]: counts as "yes" when the visitor gives another slot unasked.
    #[serde(default)]
    pub implied: bool,
}

/// How a slot's value is read from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotKind {
    /// The visitor's name. It is remembered for the visitor.
    Name,
    /// An e-mail address.
    Email,
    /// A phone number.
    Phone,
    /// An e-mail address or a phone number.
    Contact,
    /// A day or a time, in the visitor's words.
    Time,
    /// Yes or no.
    YesNo,
    /// Any words.
    Text,
}
