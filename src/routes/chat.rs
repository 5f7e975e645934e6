//! `POST /chat` and `POST /chat/stream`: a message, and its answer in one piece or as it comes.

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

/// `POST /chat`: a message, and its answer in one piece.
#[utoipa::path(
    post, path = "/chat",
    operation_id = "chat_json",
    tag = "chat",
    params(DeviceParams, ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "The same key is the same message: it is answered with the same frames")),
    request_body = request::ChatBody,
    responses((status = 200, description = "The answer in one piece", body = ChatOut), Turning)
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

/// A visitor without a login.
fn anonymous(device: Device) -> Writer<'static> {
    static NO_CLAIMS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    Writer {
        device: device.id,
        within: Within::Session,
        claims: &NO_CLAIMS,
    }
}

/// A turn's answer in one piece.
///
/// # Errors
/// What its final frame says; with as much of the answer as was stored.
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

/// The server shuts down in the middle of an answer: another one goes on, and the same request with
/// the same key finds it.
fn handed_over(turn: Option<TurnId>) -> Error {
    Error::new(Code::Unavailable)
        .detail("This server is shutting down; another one goes on with the turn.")
        .with("turn_id", json!(turn))
}

/// `POST /chat/stream`: a message, and its answer as it comes.
#[utoipa::path(
    post, path = "/chat/stream",
    operation_id = "chat_stream",
    tag = "chat",
    params(DeviceParams, ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "The same key is the same message: it is answered with the same frames"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of a frame of this very request's turn: the answer goes on after it, and nothing is stored"), ("restart" = Option<String>, Query, description = "1: the client understands `reset`")),
    request_body = request::ChatBody,
    responses(Frames, (status = 204, description = "All of it was read"), Turning)
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

/// An answer in one piece. What is not stored has no ids.
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

/// A widget, and what it is answered by.
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
