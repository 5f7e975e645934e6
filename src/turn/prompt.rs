//! Selects the part of a conversation that an agent gets.

use crate::{
    store::{
        TurnId,
        messages::{FinishReason, Message, MessageType, Role},
    },
    text::{estimate_tokens, member},
};
use serde_json::Value;

use super::metadata::CONFIRMS;

/// Tokens that a message costs in addition to its text.
const FRAMING: usize = 4;
/// How many characters of an unfinished call's arguments the model gets.
const ARGUMENTS: usize = 200;
/// Approximate tokens per image.
const IMAGE: usize = 800;

/// The newest messages that fit into about `tokens` tokens, oldest first, starting with one of the visitor's.
/// The last message is always included.
pub(super) fn window(history: Vec<Message>, tokens: usize) -> Vec<Message> {
    let mut left = tokens;
    // Tool messages matter only in their own turn; the model must not see retracted messages.
    let history: Vec<Message> = history
        .into_iter()
        .filter(|message| message.role != Role::Tool && message.retracted.is_none())
        .collect();
    let fits = |message: &&Message| {
        let cost = FRAMING + estimate_tokens(&message.body) + IMAGE * message.media().count();
        let fits = cost <= left;
        left = left.saturating_sub(cost);
        fits
    };
    let fitting = history.iter().rev().take_while(fits).count().max(1);
    let start = history.len().saturating_sub(fitting);
    history
        .into_iter()
        .skip(start)
        .skip_while(|message| message.role != Role::User)
        .collect()
}

/// Identifies a call within its turn. The call and its result have the same key.
fn key(step: &Message) -> Option<(&Value, &Value)> {
    let metadata = &step.metadata.as_ref()?.0;
    Some((member(metadata, "round"), member(metadata, "call_id")))
}

/// The tool calls of earlier turns that were stopped, failed or interrupted, with their outcomes. The model
/// reads of them nowhere else and would make the calls again.
pub(super) fn unfinished(history: &[Message], turn: TurnId) -> Vec<String> {
    let is_answered = |call: &Message| {
        let mut answers = history.iter().filter(|other| other.turn_id == call.turn_id);
        answers.any(|answer| answer.finish_reason == Some(FinishReason::Stop))
    };
    let told = |call: &Message| {
        let came = history.iter().find(|result| {
            result.message_type == MessageType::ToolResult
                && (result.turn_id, key(result)) == (call.turn_id, key(call))
        });
        let asks = |result: &Message| {
            let metadata = result.metadata.as_ref();
            metadata.is_some_and(|metadata| member(&metadata.0, CONFIRMS).is_object())
        };
        let how = match came.and_then(|result| result.tool_success) {
            Some(true) if came.is_some_and(asks) => "not done: the visitor had to be asked",
            Some(true) => "done",
            Some(false) => "failed",
            None => "not known whether it was done",
        };
        let arguments: String = call.body.chars().take(ARGUMENTS).collect();
        let tool = call.tool_name.as_deref().unwrap_or_default();
        format!("{tool} {arguments}: {how}")
    };
    let calls = history.iter().filter(|message| {
        message.message_type == MessageType::ToolCall && message.turn_id != Some(turn)
    });
    calls.filter(|call| !is_answered(call)).map(told).collect()
}
