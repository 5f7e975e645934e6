//! An agent's reply: text, tool calls, widgets, and changes to store.

use futures_util::stream::BoxStream;
use serde_json::{Map, Value};

use crate::{
    error::Result,
    llm::Chunk,
    tools::handoff::Handoff,
    widgets::{RawWidget, Widget},
};

/// The reply as a stream, up to the chunk with a finish reason. If it contains tool calls, the agent is asked
/// again with their results.
pub type AgentReply = BoxStream<'static, Result<ReplyPart>>;

/// A part of a reply.
#[derive(Debug)]
pub enum ReplyPart {
    /// Text, or parts of tool calls.
    Chunk(Chunk),
    /// A widget to show. It is checked before the visitor sees it.
    Widget(RawWidget),
    /// Changes to store with the answer.
    Effects(Effects),
}

/// Changes that an answer makes. The turn stores them in the transaction that finishes it.
#[derive(Debug, Default)]
pub struct Effects {
    /// The agents' new memory, by agent path.
    pub state: Map<String, Value>,
    /// The visitor's name, if the agent has learnt it.
    pub user_name: Option<String>,
    /// The new context, if it has changed.
    pub context: Option<Map<String, Value>>,
    /// Metadata of the answer, shown to clients as `additional_data`.
    pub metadata: Option<Value>,
}

impl Effects {
    /// Merges later changes into these; later values win.
    pub fn add(&mut self, later: Self) {
        self.state.extend(later.state);
        self.user_name = later.user_name.or(self.user_name.take());
        self.context = later.context.or(self.context.take());
        self.metadata = later.metadata.or(self.metadata.take());
    }
}

/// What an agent's call is for.
#[derive(Debug)]
pub enum CallPurpose {
    /// A handoff to another agent, or why it is not possible.
    Handoff(std::result::Result<Handoff, String>),
    /// A widget to show, or why it is invalid.
    Widget(std::result::Result<Widget, String>),
    /// A tool call that the visitor has to confirm; the question.
    Confirm(String),
    /// Any other tool call.
    Tool,
}
