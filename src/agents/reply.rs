//! What an agent answers: pieces of text, calls, widgets, and what changes by it.

use futures_util::stream::BoxStream;
use serde_json::{Map, Value};

use crate::{
    error::Result,
    llm::Chunk,
    tools::handoff::Handoff,
    widgets::{RawWidget, Widget},
};

/// An answer, as it is made, up to the chunk that has a finish reason. After calls of tools the agent is
/// asked again, with what came of them.
pub type AgentReply = BoxStream<'static, Result<ReplyPart>>;

/// A piece of an answer.
#[derive(Debug)]
pub enum ReplyPart {
    /// Text, or calls of tools.
    Chunk(Chunk),
    /// A widget to show. It is checked before the visitor sees it.
    Widget(RawWidget),
    /// What changes by the answer.
    Effects(Effects),
}

/// What an answer changes. The turn applies it when it finishes, in the same transaction.
#[derive(Debug, Default)]
pub struct Effects {
    /// What agents remember from now on, by their paths.
    pub state: Map<String, Value>,
    /// The visitor's name, if it was learnt.
    pub user_name: Option<String>,
    /// What is known of the visitor from now on, if that has changed.
    pub context: Option<Map<String, Value>>,
    /// What is stored with the answer, for its readers.
    pub metadata: Option<Value>,
}

impl Effects {
    /// These and later ones.
    pub fn add(&mut self, later: Self) {
        self.state.extend(later.state);
        self.user_name = later.user_name.or(self.user_name.take());
        self.context = later.context.or(self.context.take());
        self.metadata = later.metadata.or(self.metadata.take());
    }
}

/// What a call of an agent's is for.
#[derive(Debug)]
pub enum CallPurpose {
    /// To hand the conversation to another agent, or why that cannot be.
    Handoff(std::result::Result<Handoff, String>),
    /// To show a widget, or why that cannot be.
    Widget(std::result::Result<Widget, String>),
    /// To ask the visitor first, in these words.
    Confirm(String),
    /// To call a tool.
    Tool,
}
