//! What an agent is given of a turn.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    llm::{ToolCall, ToolResult},
    store::{
        ConversationId, TurnId,
        messages::{Message, MessageType},
    },
    tools::handoff::{self, Handoff},
    widgets::Widget,
};

/// What an agent knows of a turn.
#[derive(Debug, Clone, Default)]
pub struct TurnInput {
    /// The turn; none where it is not stored.
    pub turn_id: Option<TurnId>,
    /// Its conversation.
    pub conversation_id: Option<ConversationId>,
    /// The conversation as far as it fits, oldest first. The last message is the visitor's.
    pub history: Vec<Message>,
    /// What the agents remember of this conversation, by their paths.
    pub state: Value,
    /// What is known of the visitor and not for the model.
    pub context: Map<String, Value>,
    /// The same as it was when the agent was asked first.
    pub context_before: Map<String, Value>,
    /// The visitor's name, where a conversation begins with somebody known.
    pub user_name: Option<String>,
    /// The tools that were called in this turn, and what came of it.
    pub rounds: Vec<Round>,
    /// Whether it may call more.
    pub may_call: bool,
    /// What tools did in earlier turns that were not answered to the end.
    pub unfinished: Vec<String>,
    /// Calls that the visitor was asked about, and what they said.
    pub consents: Vec<(Consent, bool)>,
    /// Who handed the conversation to it in this turn.
    pub handed_over: Option<HandedOver>,
}

/// A conversation that another agent had before, in the same turn.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// The other agent.
    pub from: String,
    /// What it said of it.
    pub handoff: Handoff,
    /// How many of the turn's rounds were its own, or of those before it.
    pub rounds: usize,
}

/// Tools that an agent called at once.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What the agent said and did before.
    pub said: Preamble,
    /// The calls.
    pub calls: Vec<ToolCall>,
    /// What came of each, in the same order.
    pub results: Vec<ToolResult>,
    /// What the visitor was shown by them.
    pub widgets: Vec<ShownWidget>,
}

/// What an agent said and did before it called tools. It is recorded with the calls: whoever adopts the
/// turn says it again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Preamble {
    /// The text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The widgets that it showed itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub widgets: Vec<Widget>,
    /// What agents remember since then.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub state: Map<String, Value>,
}

/// A widget that a call showed.
#[derive(Debug, Clone)]
pub struct ShownWidget {
    /// The widget.
    pub widget: Widget,
    /// The call that is made when the visitor says yes to it, and the agent that wants it.
    pub confirms: Option<Consent>,
    /// Whether a tool made it: then the agent has something to say about that.
    pub is_made: bool,
}

/// A call that the visitor is asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// The agent that wants it.
    pub agent: String,
    /// The tool.
    pub name: String,
    /// The arguments, as JSON text.
    pub arguments: String,
}

impl ShownWidget {
    /// Whether a call waits for it.
    pub fn asks(&self) -> bool {
        self.confirms.is_some()
    }
}

impl TurnInput {
    /// The rounds of the agent that is asked, those that the visitor was asked about among them. It reads
    /// what is said of those before it, not them.
    pub fn own_rounds(&self) -> impl Iterator<Item = &Round> {
        let before = self.handed_over.as_ref().map_or(0, |handed| handed.rounds);
        self.rounds.iter().skip(before)
    }

    /// The rounds that the agent asked for in this turn.
    pub fn asked_rounds(&self) -> impl Iterator<Item = &Round> {
        let before = self.handed_over.as_ref().map_or(0, |handed| handed.rounds);
        self.rounds.iter().skip(before.max(self.consents.len()))
    }

    /// Calls that the visitor was asked about before, and what came of them: what they answered began this
    /// turn.
    pub fn confirmed(&self) -> impl Iterator<Item = (&ToolCall, &ToolResult)> {
        let asked = self.rounds.iter().take(self.consents.len());
        asked.flat_map(|round| round.calls.iter().zip(&round.results))
    }

    /// The text that is to be answered: what the visitor said last, and with it what came just before
    /// and is answered by the same turn.
    pub fn text(&self) -> Cow<'_, str> {
        let Some(last) = self.history.last() else {
            return Cow::Borrowed("");
        };
        let asked = self.history.iter().rev();
        let asked = asked
            .take_while(|message| message.turn_id == last.turn_id && message.role == last.role);
        let mut asked: Vec<&str> = asked.map(|message| message.body.as_str()).collect();
        asked.reverse();
        match asked.as_slice() {
            [alone] => Cow::Borrowed(alone),
            several => Cow::Owned(several.join("\n")),
        }
    }

    /// What the visitor answered to a widget, where that began the turn: the widget's type and the
    /// answer.
    pub fn answer(&self) -> Option<(&str, &Value)> {
        let last = self.history.last()?;
        let is_answer = last.message_type == MessageType::WidgetAnswer;
        let answer = last.component_data.as_ref().filter(|_| is_answer)?;
        Some((last.component_type.as_deref()?, &answer.0))
    }
}

impl Round {
    /// Where it handed the conversation to.
    pub fn handoff(&self) -> Option<Handoff> {
        let mut calls = self.calls.iter().zip(&self.results);
        let (call, _) =
            calls.find(|(call, result)| call.name == handoff::NAME && !result.is_error)?;
        serde_json::from_str(&call.arguments).ok()
    }

    /// Whether it did nothing but show widgets: then it is the visitor's turn.
    pub fn only_shows(&self) -> bool {
        let is_shown = |shown: &ShownWidget| !shown.is_made;
        !self.calls.is_empty()
            && self.widgets.len() == self.calls.len()
            && self.widgets.iter().all(is_shown)
    }

    /// How much of it a model has to read.
    pub fn bytes(&self) -> usize {
        let calls = self.calls.iter().map(|call| call.arguments.len());
        let results = self.results.iter().map(|result| result.content.len());
        calls.chain(results).sum()
    }
}
