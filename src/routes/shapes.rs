//! What messages and conversations look like to clients.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    clock::Timestamp,
    store::{
        ConversationId, ExpertId, MessageId, MessageSeq, TurnId, UserId,
        conversations::{Conversation, Status},
        messages::{Direction, FinishReason, Message, MessageType, Role},
        sessions::Mode,
    },
    text,
};

/// Maximum characters of a title that is taken from the first message.
const DERIVED_TITLE_CHARACTERS: usize = 60;

/// A message as a client sees it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Message, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e03", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "turn_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01", "seq": 2, "role": "assistant", "direction": "outgoing", "content": "It is on its way.", "message_type": "assistant_response", "tool_name": null, "tool_success": null, "media_urls": [], "audio_urls": [], "component_type": null, "component_data": null, "finish_reason": "stop", "timestamp": "2026-11-20T14:24:19.941641Z", "additional_data": null}))]
pub(super) struct MessageOut {
    id: MessageId,
    conversation_id: ConversationId,
    turn_id: Option<TurnId>,
    #[schema(value_type = i64)]
    seq: MessageSeq,
    pub(super) role: Role,
    direction: Direction,
    pub(super) content: String,
    message_type: MessageType,
    tool_name: Option<String>,
    tool_success: Option<bool>,
    #[schema(value_type = Vec<String>)]
    media_urls: Value,
    #[schema(value_type = Vec<String>)]
    audio_urls: Value,
    component_type: Option<String>,
    #[schema(value_type = Option<Object>)]
    component_data: Option<Value>,
    /// The widget that this message answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<MessageId>,
    finish_reason: Option<FinishReason>,
    timestamp: Timestamp,
    #[schema(value_type = Option<Object>)]
    additional_data: Option<Value>,
    /// Whether the message was withdrawn. Its content is then empty.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retracted: bool,
}

impl From<Message> for MessageOut {
    /// Of a tool call a visitor sees only that it was made: not its arguments, its result, or the calls that wait
    /// for an answer.
    fn from(mut message: Message) -> Self {
        if message.role == Role::Tool {
            message.body.clear();
            message.component_type = None;
            message.component_data = None;
        }
        if !matches!(
            message.message_type,
            MessageType::UserInput | MessageType::AssistantResponse
        ) {
            message.metadata = None;
        }
        Self {
            id: message.id,
            conversation_id: message.conversation_id,
            turn_id: message.turn_id,
            seq: message.seq,
            role: message.role,
            direction: message.direction,
            content: message.body,
            message_type: message.message_type,
            tool_name: message.tool_name,
            tool_success: message.tool_success,
            media_urls: message.media_urls,
            audio_urls: message.audio_urls,
            component_type: message.component_type,
            component_data: message.component_data.map(Into::into),
            answers: message.answers,
            retracted: message.retracted.is_some(),
            finish_reason: message.finish_reason,
            timestamp: message.created_at,
            additional_data: message.metadata.map(Into::into),
        }
    }
}

impl MessageOut {
    /// A message for experts, with the note that an expert left with it.
    pub(super) fn for_desk(message: Message) -> Self {
        let note = message.line().and_then(|line| line.note);
        let note = note.map(|note| json!({"note": note}));
        let mut shown = Self::from(message);
        shown.additional_data = shown.additional_data.or(note);
        shown
    }
}

/// A conversation as its user sees it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Conversation, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "user_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e02", "title": "My order", "user_input": "Where is my order?", "agent_path": "support", "mode": "ai", "status": "active", "step_count": 1, "message_count": 2, "created_at": "2026-11-20T14:24:19.941641Z", "updated_at": "2026-11-20T14:24:19.941641Z"}))]
pub(super) struct ConversationOut {
    id: ConversationId,
    conversation_id: ConversationId,
    user_id: UserId,
    title: Option<String>,
    user_input: String,
    agent_path: Option<String>,
    mode: Mode,
    status: Status,
    step_count: i64,
    message_count: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<Conversation> for ConversationOut {
    fn from(conversation: Conversation) -> Self {
        let said = text::first_line(&conversation.user_input, DERIVED_TITLE_CHARACTERS);
        Self {
            id: conversation.id,
            conversation_id: conversation.id,
            user_id: conversation.user_id,
            title: conversation
                .title
                .or_else(|| Some(said).filter(|said| !said.is_empty())),
            user_input: conversation.user_input,
            agent_path: conversation.agent_path,
            mode: conversation.mode,
            status: conversation.status,
            step_count: conversation.step_count,
            message_count: conversation.message_count,
            created_at: conversation.created_at,
            updated_at: conversation.updated_at,
        }
    }
}

/// A conversation as the desk sees it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = DeskConversation, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "user_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e02", "title": "My order", "user_input": "Where is my order?", "agent_path": "support", "mode": "expert", "status": "active", "step_count": 1, "message_count": 2, "created_at": "2026-11-20T14:24:19.941641Z", "updated_at": "2026-11-20T14:24:19.941641Z", "expert_id": null, "assigned_to": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e04", "waiting_since": "2026-11-20T14:24:19.941641Z", "reason": "The visitor asked for a person.", "skill": "orders"}))]
pub(super) struct DeskConversationOut {
    #[serde(flatten)]
    conversation: ConversationOut,
    expert_id: Option<ExpertId>,
    assigned_to: Option<ExpertId>,
    waiting_since: Option<Timestamp>,
    reason: Option<String>,
    skill: Option<String>,
}

impl From<Conversation> for DeskConversationOut {
    fn from(conversation: Conversation) -> Self {
        Self {
            expert_id: conversation.expert_id,
            assigned_to: conversation.assigned_to,
            waiting_since: conversation.waiting_since,
            reason: conversation.reason.clone(),
            skill: conversation.skill.clone(),
            conversation: conversation.into(),
        }
    }
}
