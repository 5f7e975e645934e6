//! The events of standing streams, and how they are written.

use std::{fmt, str::FromStr};

use actix_web::web::Bytes;
use serde::Serialize;

use crate::{
    clock::Timestamp,
    error::{Code, Error, Result},
    routes::{
        shapes::{DeskConversationOut, MessageOut},
        sse::{COMMENT, RETRY, write_event},
    },
    store::{ConversationId, MessageId, MessageSeq, TurnId, messages::Role, sessions::Mode},
    turn::frame::write_json,
};

/// The type of an event.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventType)]
pub(in crate::routes) enum EventKind {
    /// There is a new `message`.
    Message,
    /// The message `message_id` is withdrawn.
    Retract,
    /// Who answers from now on: `mode`.
    Mode,
    /// The visitor's place in the queue: `position`.
    Queue,
    /// Whether the other side, `role`, is writing: `is_typing`.
    Typing,
    /// For experts: the turn `turn_id` is running.
    Turn,
    /// For experts, the first event: all `conversations`, and the number of evaluations `to_review`.
    Snapshot,
    /// For experts: a `conversation` is new or has changed.
    Conversation,
    /// For experts: they may no longer see the conversation `conversation_id`.
    Gone,
    /// For experts: the number of evaluations `to_review` has changed.
    Evaluations,
}

/// The JSON of an event's `data:` line: a frame with a `type`, and the members of that type.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Event, example = json!({"content": "", "timestamp": "2026-11-20T14:24:19.941641Z", "is_final": false, "type": "queue", "position": 2}))]
pub(in crate::routes) struct EventOut {
    content: &'static str,
    timestamp: Timestamp,
    is_final: bool,
    #[serde(rename = "type")]
    kind: EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::routes) message: Option<MessageOut>,
    /// The message that is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<Role>,
    /// The visitor's place in the queue, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<i64>,
    /// Whether the side with this `role` is writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) is_typing: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conversation: Option<DeskConversationOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conversations: Option<Vec<DeskConversationOut>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) conversation_id: Option<ConversationId>,
    /// The number of evaluations that wait for a review.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to_review: Option<i64>,
}

impl EventOut {
    pub(super) fn new(kind: EventKind, timestamp: Timestamp) -> Self {
        Self {
            content: "",
            timestamp,
            is_final: false,
            kind,
            message: None,
            message_id: None,
            mode: None,
            role: None,
            position: None,
            is_typing: None,
            turn_id: None,
            conversation: None,
            conversations: None,
            conversation_id: None,
            to_review: None,
        }
    }
}

/// A client's position in a conversation: `{conversation_id}.{number}` of the last message that it has read.
#[derive(Debug, Clone, Copy)]
pub(in crate::routes) struct MessageCursor {
    /// The conversation.
    pub conversation: ConversationId,
    /// The message's number.
    pub seq: MessageSeq,
}

impl fmt::Display for MessageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.conversation, self.seq)
    }
}

impl FromStr for MessageCursor {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self> {
        let parsed = id.split_once('.').and_then(|(conversation, seq)| {
            Some(Self {
                conversation: conversation.parse().ok()?,
                seq: seq.parse().ok()?,
            })
        });
        let detail = "An event id has the form {conversation_id}.{number}.";
        parsed.ok_or_else(|| Error::new(Code::InvalidCursor).detail(detail))
    }
}

/// Events that are sent together, each with the position of a client that has read it. If empty, a comment is sent
/// to show that the stream is alive.
pub(in crate::routes) type EventBatch = Vec<(Option<MessageCursor>, EventOut)>;

/// Writes events as a piece of an event stream.
pub(super) fn framed(told: &EventBatch, is_first: bool) -> Bytes {
    if told.is_empty() {
        return Bytes::from_static(COMMENT);
    }
    let mut frames = Vec::new();
    if is_first {
        frames.extend_from_slice(RETRY);
    }
    for (at, event) in told {
        let mut data = Vec::new();
        write_json(event, &mut data);
        write_event(*at, &data, &mut frames);
    }
    frames.into()
}
