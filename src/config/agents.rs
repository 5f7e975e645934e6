//! What an agent's section holds; `config/agents.toml` explains it.

use serde::Deserialize;
use serde_json::Value;

use super::Secret;
use crate::widgets::RawWidget;

/// Reserved handoff target: a human.
pub const HUMAN: &str = "human";

/// An agent: a prompt for when there is a model, a flow for when there is none.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSettings {
    /// What it is for; the manager reads it.
    pub description: String,
    /// Words that bring a visitor here when there is no model to ask.
    #[serde(default)]
    pub keywords: Vec<String>,
    /// What the model is told.
    #[serde(default)]
    pub prompt: String,
    /// The service that answers, instead of a model or a flow.
    pub webhook: Option<WebhookSettings>,
    /// Instead of `llm.model`.
    pub model: Option<String>,
    /// Models to try when that one fails before its first word, instead of its own.
    pub fallbacks: Option<Vec<String>>,
    /// The longest answer, in tokens.
    pub max_tokens: Option<u32>,
    /// Instead of `turn.tool_rounds`.
    pub tool_rounds: Option<u32>,
    /// Instead of `session.ttl_seconds`.
    pub session_ttl_seconds: Option<u64>,
    /// What becomes of a message that comes while it answers another one.
    #[serde(default)]
    pub when_busy: WhenBusy,
    /// The tools that it may call, by their names in `[tools]`.
    #[serde(default)]
    pub tools: Vec<String>,
    /// The widgets that it may show, by their names in `[widgets]` or their types.
    #[serde(default)]
    pub widgets: Vec<String>,
    /// The agents that it may hand the conversation to.
    #[serde(default)]
    pub handoff_to: Vec<String>,
    /// What a person has to know who goes on where it leaves: those who say that they do are asked first.
    pub skill: Option<String>,
    /// The judge that passes each sentence of its answers before the visitor reads it.
    pub guard: Option<String>,
    /// What may be known of its visitors and not told to its model: a JSON Schema of an object.
    pub context: Option<Value>,
    /// What of that a visitor's browser may say.
    #[serde(default)]
    pub context_from_visitor: Vec<String>,
    /// What it wants to know, in the order of asking.
    #[serde(default)]
    pub slots: Vec<SlotSettings>,
    /// What it says when there is no model.
    #[serde(default)]
    pub flow: FlowSettings,
}

/// A service that answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Its address.
    pub url: String,
    /// By which it knows that it is asked by this desk.
    pub secret: Secret,
    /// How long it may be silent.
    #[serde(default = "webhook_timeout")]
    pub timeout_seconds: u64,
}

fn webhook_timeout() -> u64 {
    30
}

/// What becomes of a message that comes while another one is being answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenBusy {
    /// It waits; those that wait are answered together.
    #[default]
    Queue,
    /// It is refused.
    Reject,
    /// It stops the answer, and is answered next.
    Interrupt,
}

/// What an agent says around its questions when there is no model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowSettings {
    /// Before the first question.
    pub greeting: String,
    /// When all is known.
    pub done: String,
    /// To whatever comes after that.
    pub again: String,
    /// To a visitor who wants nothing else.
    pub bye: String,
    /// The tool that is called when all is known, with the slots that it takes.
    pub tool: Option<String>,
    /// When that failed.
    pub failed: Option<String>,
    /// The agent that goes on when all is done.
    pub handoff: Option<String>,
}

/// One thing an agent wants to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotSettings {
    /// How texts and prompts refer to it.
    pub name: String,
    /// How it is read from what the visitor says.
    pub kind: SlotKind,
    /// The question.
    pub ask: String,
    /// Said instead when the answer does not fit.
    pub retry: String,
    /// Shown with the question. A form's fields are slots.
    pub widget: Option<RawWidget>,
    /// Patterns whose first group gives it, wherever it is said.
    #[serde(default)]
    pub volunteered: Vec<String>,
    /// Words that are no value of it by themselves: "booking an appointment" names no treatment. In a name they
    /// end it. In small letters.
    #[serde(default)]
    pub filler: Vec<String>,
    /// Said to a "no".
    pub refused: Option<String>,
    /// What is asked again after a "no".
    #[serde(default)]
    pub refused_clears: Vec<String>,
    /// True when the visitor gives another slot unasked.
    #[serde(default)]
    pub implied: bool,
}

/// How a slot is read from what the visitor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotKind {
    /// A person's name; kept for the visitor.
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
