//! `GET /chat/history`: what was said.

use actix_web::{HttpResponse, web::Data};
use serde::Serialize;
use serde_json::Value;

use super::extract::Query;

use crate::{
    app::App,
    clock::Timestamp,
    devices::Device,
    error::{Error, Result},
    store::{
        ConversationId, MessageId, TurnId,
        messages::{Direction, FinishReason, Message, MessageType, Page, Role},
    },
};

/// The most messages of a page.
const LIMIT: u32 = 200;

#[derive(Serialize)]
struct HistoryOut {
    conversation_id: Option<ConversationId>,
    messages: Vec<MessageOut>,
    has_more: bool,
}

/// A message as a client sees it.
#[derive(Serialize)]
pub(super) struct MessageOut {
    id: MessageId,
    conversation_id: ConversationId,
    turn_id: Option<TurnId>,
    seq: i64,
    role: Role,
    direction: Direction,
    content: String,
    message_type: MessageType,
    tool_name: Option<String>,
    tool_success: Option<bool>,
    media_urls: Value,
    audio_urls: Value,
    component_type: Option<String>,
    component_data: Option<Value>,
    /// The widget that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<MessageId>,
    finish_reason: Option<FinishReason>,
    timestamp: Timestamp,
    additional_data: Option<Value>,
}

impl From<Message> for MessageOut {
    /// Of what tools did a visitor is shown that it was done: neither arguments nor results, nor the
    /// calls that wait for an answer.
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
            finish_reason: message.finish_reason,
            timestamp: message.created_at,
            additional_data: message.metadata.map(Into::into),
        }
    }
}

/// A page of the device's current conversation.
pub(super) async fn history(app: Data<App>, device: Device, asked: Query) -> Result<HttpResponse> {
    let limit = match asked.get("limit").map(str::parse).unwrap_or(Ok(50)) {
        Ok(limit) if (1..=LIMIT).contains(&limit) => limit,
        _ => {
            return Err(Error::field(
                "limit",
                format!("A number from 1 to {LIMIT}."),
            ));
        }
    };
    let no_message = || Error::field("before", "No message of this conversation.");
    let before = asked
        .get("before")
        .map(str::parse)
        .transpose()
        .map_err(|_| no_message())?;
    let session = app.engine.sessions().get(&device.id).await?;
    let conversation_id = session.map(|(lock, _)| lock.conversation_id);
    let page = match (conversation_id, before) {
        (Some(conversation), before) => app
            .store
            .messages(conversation, before, limit)
            .await?
            .ok_or_else(no_message)?,
        (None, None) => Page::default(),
        (None, Some(_)) => return Err(no_message()),
    };
    Ok(HttpResponse::Ok().json(HistoryOut {
        conversation_id,
        messages: page.messages.into_iter().map(Into::into).collect(),
        has_more: page.has_more,
    }))
}
