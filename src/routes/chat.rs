//! `POST /chat` and `POST /chat/stream`: a visitor's message, and its answer, whole or as a stream.

mod request;

use std::sync::LazyLock;

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::responses::{DeviceParams, Frames, Turning};
use super::{
    extract::{Json, count},
    turns,
};
use crate::{
    app::App,
    clock::Timestamp,
    devices::Device,
    error::{Code, Error, Result},
    store::{
        ConversationId, MessageId, TurnId,
        messages::FinishReason,
        sessions::{Mode, Within},
    },
    turn::{Reply, ResumePoint, collect},
    widgets::Widget,
};
pub(super) use request::{ChatIn, Writer, hash, key, spoken, turn_request};

/// `POST /chat`: sends a message, and returns its whole answer.
#[utoipa::path(
    post, path = "/chat",
    operation_id = "chat_json",
    tag = "chat",
    params(DeviceParams, ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer")),
    request_body = request::ChatBody,
    responses((status = 200, description = "The whole answer", body = ChatOut), Turning)
)]
pub(super) async fn json(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
    body: Json<ChatIn>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let request = turn_request(&app, &request, anonymous(device), body.0)?;
    let mirror_text = request.mirror_text;
    let reply = app.engine.start(request).await?;
    turns::received("json", &reply);
    let (turn_id, conversation_id) = (reply.turn_id, reply.conversation_id);
    let answer = answered(&app, reply).await?;
    let last = answer.last;
    let mut response = HttpResponse::Ok();
    if let Some((turn, conversation)) = turn_id.zip(conversation_id) {
        response.insert_header(("X-Turn-ID", turn.to_string()));
        response.insert_header(("X-Conversation-ID", conversation.to_string()));
    }
    Ok(response.json(ChatOut {
        text: mirror_text.then(|| answer.content.clone()),
        content: answer.content,
        message_id: last.message_id,
        conversation_id,
        turn_id,
        agent: last.agent.map(Into::into),
        timestamp: last.timestamp,
        widgets: answer.widgets.into_iter().map(WidgetOut::from).collect(),
        mode: last.mode,
        finish_reason: last.finish_reason,
        degraded: last.degraded,
    }))
}

/// The author of a visitor's message, who has no login and so no claims.
fn anonymous(device: Device) -> Writer<'static> {
    static NO_CLAIMS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    Writer {
        device: device.id,
        within: Within::Session,
        claims: &NO_CLAIMS,
    }
}

/// The whole answer of a turn.
///
/// # Errors
/// The error of the final frame, with the part of the answer that was stored.
pub(super) async fn answered(app: &App, reply: Reply) -> Result<collect::WholeAnswer> {
    let (turn_id, conversation_id) = (reply.turn_id, reply.conversation_id);
    let answer = app.engine.whole(reply).await;
    let answer = answer.ok_or_else(|| handed_over(turn_id))?;
    let Some(failed) = &answer.last.error else {
        return Ok(answer);
    };
    let code = Code::parse(&failed.code).unwrap_or(Code::Internal);
    let error = Error::new(code)
        .logged()
        .with("turn_id", json!(turn_id))
        .with("conversation_id", json!(conversation_id));
    Err(match answer.last.message_id {
        Some(id) => error
            .with("message_id", id)
            .with("content", answer.content.as_str()),
        None => error,
    })
}

/// The error if this server shuts down during an answer. Another instance takes the turn over; repeating the request
/// with the same key gets its answer.
fn handed_over(turn: Option<TurnId>) -> Error {
    Error::new(Code::Unavailable)
        .detail("This server is shutting down; another one takes the turn over.")
        .with("turn_id", json!(turn))
}

/// `POST /chat/stream`: sends a message, and streams its answer.
#[utoipa::path(
    post, path = "/chat/stream",
    operation_id = "chat_stream",
    tag = "chat",
    params(DeviceParams, ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "If this request is a repetition: the id of the last frame that was read. The answer continues after that frame, and nothing is stored"), ("restart" = Option<String>, Query, description = "1: if the server died, you get a `reset` frame (delete the text shown so far; the answer starts again) instead of an error")),
    request_body = request::ChatBody,
    responses(Frames, (status = 204, description = "There is nothing left to read"), Turning)
)]
pub(super) async fn stream(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
    place: ResumePoint,
    body: Json<ChatIn>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let turn = turn_request(&app, &request, anonymous(device), body.0)?;
    turns::begin(&app, place, turn).await
}

/// A whole answer. What is not stored has no id.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ChatAnswer, example = json!({"content": "Hello! I'm Anna.", "message_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e9f", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "turn_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01", "agent": "scheduling", "timestamp": "2026-11-20T14:24:19.941641Z", "widgets": [], "finish_reason": "stop"}))]
struct ChatOut {
    content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation_id: Option<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    timestamp: Timestamp,
    widgets: Vec<WidgetOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<FinishReason>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    degraded: bool,
}

/// A widget, and the `message_id` to answer it with.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ShownWidget)]
struct WidgetOut {
    #[serde(flatten)]
    widget: Widget,
    message_id: MessageId,
}

impl From<(Widget, MessageId)> for WidgetOut {
    fn from((widget, message_id): (Widget, MessageId)) -> Self {
        Self { widget, message_id }
    }
}
