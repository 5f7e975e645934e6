//! What an agent receives for a turn.

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

/// A turn as an agent sees it.
#[derive(Debug, Clone, Default)]
pub struct TurnInput {
    /// The turn; `None` if it is not stored.
    pub turn_id: Option<TurnId>,
    /// Its conversation.
    pub conversation_id: Option<ConversationId>,
    /// The newest messages that fit `turn.history_tokens`, oldest first. The last one is the visitor's.
    pub history: Vec<Message>,
    /// The agents' memory of this conversation, by agent path.
    pub state: Value,
    /// Context: data about the visitor that the model never sees.
    pub context: Map<String, Value>,
    /// The context when this agent was first asked in this turn, before its tools changed it.
    pub context_before: Map<String, Value>,
    /// The visitor's name, if known. Only set in the turn that begins a conversation.
    pub user_name: Option<String>,
    /// The turn's tool rounds so far, with their results.
    pub rounds: Vec<Round>,
    /// Whether the agent may call more tools.
    pub may_call: bool,
    /// Tool calls of earlier turns whose answer was not completed, and their outcome.
    pub unfinished: Vec<String>,
    /// Calls that the visitor was asked to confirm, and whether they agreed.
    pub consents: Vec<(Consent, bool)>,
    /// The handoff to this agent in this turn, if there was one.
    pub handed_over: Option<HandedOver>,
}

/// A handoff from another agent in the same turn.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// Path of the agent that handed over.
    pub from: String,
    /// The handoff, with reason and summary.
    pub handoff: Handoff,
    /// Number of the turn's rounds before the handoff took effect. Later rounds are the new agent's.
    pub rounds: usize,
}

/// One round: the tools that an agent called at once.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// What the agent said and did before these calls.
    pub said: Preamble,
    /// The calls.
    pub calls: Vec<ToolCall>,
    /// The calls' results, in the same order.
    pub results: Vec<ToolResult>,
    /// The widgets that the calls showed.
    pub widgets: Vec<ShownWidget>,
}

/// What an agent said and did before it called tools. It is recorded with the calls, so that an instance
/// that adopts the turn can send it again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Preamble {
    /// The text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The widgets that the agent showed itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub widgets: Vec<Widget>,
    /// Changes to the agents' memory so far.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub state: Map<String, Value>,
}

/// A widget that was shown to the visitor.
#[derive(Debug, Clone)]
pub struct ShownWidget {
    /// The widget.
    pub widget: Widget,
    /// The call to make if the visitor says yes, and the agent that wants it.
    pub confirms: Option<Consent>,
    /// True if a tool returned it. The agent is then asked again, to comment on the result.
    pub is_made: bool,
}

/// A call that the visitor is asked to confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Path of the agent that wants the call.
    pub agent: String,
    /// The tool.
    pub name: String,
    /// The arguments, as JSON text.
    pub arguments: String,
}

impl ShownWidget {
    /// True if a call waits for the visitor's yes.
    pub fn asks(&self) -> bool {
        self.confirms.is_some()
    }
}

impl TurnInput {
    /// The current agent's rounds, calls that the visitor was asked about included. An earlier agent's rounds
    /// are left out: the handoff's summary stands for them.
    pub fn own_rounds(&self) -> impl Iterator<Item = &Round> {
        let before = self.handed_over.as_ref().map_or(0, |handed| handed.rounds);
        self.rounds.iter().skip(before)
    }

    /// The rounds that the current agent asked for in this turn, without calls that the visitor was asked about.
    pub fn asked_rounds(&self) -> impl Iterator<Item = &Round> {
        let before = self.handed_over.as_ref().map_or(0, |handed| handed.rounds);
        self.rounds.iter().skip(before.max(self.consents.len()))
    }

    /// Calls that the visitor was asked about in an earlier turn, and their results. The visitor's answer began
    /// this turn.
    pub fn confirmed(&self) -> impl Iterator<Item = (&ToolCall, &ToolResult)> {
        let asked = self.rounds.iter().take(self.consents.len());
        asked.flat_map(|round| round.calls.iter().zip(&round.results))
    }

    /// The text to answer: the visitor's last message, joined with the ones before it that belong to the
    /// same turn.
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

    /// The visitor's answer to a widget, if that began the turn: the widget's type and the answer.
    pub fn answer(&self) -> Option<(&str, &Value)> {
        let last = self.history.last()?;
        let is_answer = last.message_type == MessageType::WidgetAnswer;
        let answer = last.component_data.as_ref().filter(|_| is_answer)?;
        Some((last.component_type.as_deref()?, &answer.0))
    }
}

impl Round {
    /// The round's successful handoff, if there is one.
    pub fn handoff(&self) -> Option<Handoff> {
        let mut calls = self.calls.iter().zip(&self.results);
        let (call, _) =
            calls.find(|(call, result)| call.name == handoff::NAME && !result.is_error)?;
        serde_json::from_str(&call.arguments).ok()
    }

    /// True if the round only showed the agent's own widgets: then the answer ends and the visitor is next.
    pub fn only_shows(&self) -> bool {
        let is_shown = |shown: &ShownWidget| !shown.is_made;
        !self.calls.is_empty()
            && self.widgets.len() == self.calls.len()
            && self.widgets.iter().all(is_shown)
    }

    /// Bytes of arguments and results that a model reads.
    pub fn bytes(&self) -> usize {
        let calls = self.calls.iter().map(|call| call.arguments.len());
        let results = self.results.iter().map(|result| result.content.len());
        calls.chain(results).sum()
    }
}
