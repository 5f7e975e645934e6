//! What a turn starts with: the rounds of earlier attempts, and the visitor's consents.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    metadata::{CONFIRMS, MADE, SAID},
    tool_calls::UNKNOWN,
};
use crate::{
    agents::{Consent, Preamble, Round, ShownWidget},
    llm::{ToolCall, ToolResult},
    store::{
        TurnId,
        messages::{Message, MessageType},
    },
    text::member,
    widgets::{Widget, WidgetType},
};

/// The rounds that earlier attempts at this turn have recorded.
pub(super) fn done_before(history: &[Message], turn: TurnId) -> Vec<Round> {
    let mut rounds: BTreeMap<u64, Round> = BTreeMap::new();
    for message in history
        .iter()
        .filter(|message| message.turn_id == Some(turn))
    {
        let value_of = |name: &str| {
            message
                .metadata
                .as_ref()
                .and_then(|metadata| metadata.0.get(name))
        };
        let is_step = matches!(
            message.message_type,
            MessageType::ToolCall | MessageType::ToolResult
        );
        let (true, Some(call_id), Some(round)) = (is_step, value_of("call_id"), value_of("round"))
        else {
            continue;
        };
        let call_id = call_id.as_str().unwrap_or_default().to_owned();
        let round = rounds
            .entry(round.as_u64().unwrap_or_default())
            .or_default();
        match message.message_type {
            MessageType::ToolCall => {
                if let Some(said) = value_of(SAID) {
                    round.said = Preamble::deserialize(said).unwrap_or_default();
                }
                round.calls.push(ToolCall {
                    id: call_id,
                    name: message.tool_name.clone().unwrap_or_default(),
                    arguments: message.body.clone(),
                });
            }
            MessageType::ToolResult => {
                round.widgets.extend(shown_before(message));
                round.results.push(ToolResult {
                    call_id,
                    content: message.body.clone(),
                    is_error: message.tool_success != Some(true),
                });
            }
            _ => {}
        }
    }
    rounds.into_values().map(answered).collect()
}

/// The calls that needed the visitor's consent and that this turn's message answers. True for consent.
pub(super) fn consents(history: &[Message], turn: TurnId) -> Vec<(Consent, bool)> {
    let answers = history.iter().filter(|message| {
        message.turn_id == Some(turn) && message.message_type == MessageType::WidgetAnswer
    });
    let consent = |message: &Message| {
        let asked = Consent::deserialize(member(&message.metadata.as_ref()?.0, CONFIRMS)).ok()?;
        let answer = &message.component_data.as_ref()?.0;
        Some((asked, *member(answer, "confirmed") == true))
    };
    answers.filter_map(consent).collect()
}

/// The widget that a call showed.
fn shown_before(message: &Message) -> Option<ShownWidget> {
    let kind = WidgetType::parse(message.component_type.as_deref()?)?;
    let data = message.component_data.clone()?.0;
    let metadata = &message.metadata.as_ref()?.0;
    Some(ShownWidget {
        widget: Widget { kind, data },
        confirms: Consent::deserialize(member(metadata, CONFIRMS)).ok(),
        is_made: *member(metadata, MADE) == true,
    })
}

/// The round with a result for each of its calls: `UNKNOWN` for those that have none.
fn answered(mut round: Round) -> Round {
    let results = round.calls.iter().map(|call| {
        let known = round
            .results
            .iter()
            .find(|result| result.call_id == call.id);
        let unknown = || ToolResult::of(call, Err(UNKNOWN.to_owned()));
        known.cloned().unwrap_or_else(unknown)
    });
    round.results = results.collect();
    round
}
