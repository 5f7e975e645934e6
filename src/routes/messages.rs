//! Messages of users who are signed in: `POST /messages`, `POST /messages/stream`, and what a message looks
//! like to a client.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::openapi::{Frames, NotSignedIn, Refused, Turning};
use super::{
    chat::{ChatIn, Writer, answered, count, turn_request},
    extract::{Json, Query, id, number},
    sse, turns,
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Code, Error, Result},
    store::{
        ConversationId, MessageId, TurnId,
        messages::{Direction, FinishReason, Message, MessageType, Role},
        sessions::{Mode, Within},
    },
    turn::{Place, TurnRequest},
};

/// The most messages of a page.
const LIMIT: u32 = 200;

/// A message of a user's.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = MessageRequest, example = json!({"content": "Hello, I want to schedule an appointment"}))]
pub(super) struct MessageIn {
    /// Where it goes; none: to a new conversation.
    conversation_id: Option<ConversationId>,
    #[serde(flatten)]
    chat: ChatIn,
}

/// A message and its answer, as they are stored.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SentMessage)]
struct SentOut {
    user_message: Option<MessageOut>,
    /// None where a person answers, or a later message was answered as well.
    ai_message: Option<MessageOut>,
    conversation_id: Option<ConversationId>,
    turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
}

/// A message as a client sees it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Message, example = json!({"id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e03", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "turn_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e01", "seq": 2, "role": "assistant", "direction": "outgoing", "content": "It is on its way.", "message_type": "assistant_response", "tool_name": null, "tool_success": null, "media_urls": [], "audio_urls": [], "component_type": null, "component_data": null, "finish_reason": "stop", "timestamp": "2026-11-20T14:24:19.941641Z", "additional_data": null}))]
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
    #[schema(value_type = Vec<String>)]
    media_urls: Value,
    #[schema(value_type = Vec<String>)]
    audio_urls: Value,
    component_type: Option<String>,
    #[schema(value_type = Option<Object>)]
    component_data: Option<Value>,
    /// The widget that it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<MessageId>,
    finish_reason: Option<FinishReason>,
    timestamp: Timestamp,
    #[schema(value_type = Option<Object>)]
    additional_data: Option<Value>,
    /// Whether it was withdrawn: it says nothing any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retracted: bool,
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
            retracted: message.retracted.is_some(),
            finish_reason: message.finish_reason,
            timestamp: message.created_at,
            additional_data: message.metadata.map(Into::into),
        }
    }
}

impl MessageOut {
    /// The same for the desk, with what a colleague has noted.
    pub(super) fn for_desk(message: Message) -> Self {
        let note = message.line().and_then(|line| line.note);
        let note = note.map(|note| json!({"note": note}));
        let mut shown = Self::from(message);
        shown.additional_data = shown.additional_data.or(note);
        shown
    }
}

/// `POST /messages`: a message, and its answer in one piece.
#[utoipa::path(
    post, path = "/messages",
    operation_id = "messages_send",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "The same key is the same message: it is answered with the same frames")),
    request_body = MessageIn,
    responses((status = 200, description = "The message and its answer", body = SentOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn send(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<MessageIn>,
) -> Result<HttpResponse> {
    let turn = turn_of(&app, &user, &request, body.0)?;
    let said = turn.body.clone();
    let reply = app.engine.start(turn).await?;
    let (turn_id, conversation_id) = (reply.turn_id, reply.conversation_id);
    let answer = answered(reply).await?;
    let stored = match turn_id {
        Some(turn) => app.store.messages_of_turn(turn).await?,
        None => Vec::new(),
    };
    let mut own = stored.iter().filter(|message| message.role == Role::User);
    let own = own.rfind(|message| message.body == said).cloned();
    let is_answer = |message: &&Message| Some(message.id) == answer.last.message_id;
    let answer_message = stored.iter().find(is_answer).cloned();
    Ok(HttpResponse::Ok().json(SentOut {
        user_message: own.map(Into::into),
        ai_message: answer_message.map(Into::into),
        conversation_id,
        turn_id,
        mode: answer.last.mode,
    }))
}

/// `POST /messages/stream`: the answer as it comes.
#[utoipa::path(
    post, path = "/messages/stream",
    operation_id = "messages_stream",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "The same key is the same message: it is answered with the same frames")),
    request_body = MessageIn,
    responses(Frames, Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn stream(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<MessageIn>,
) -> Result<HttpResponse> {
    let turn = turn_of(&app, &user, &request, body.0)?;
    Ok(sse::respond(&app, app.engine.start(turn).await?))
}

/// `GET /messages/stream/{turn_id}`: the rest of a turn; for the desk, of one that it may see.
#[utoipa::path(
    get, path = "/messages/stream/{turn_id}",
    operation_id = "messages_resume",
    tag = "messages",
    params(("turn_id" = String, Path, format = "uuid", description = "The turn"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last frame that was read"), ("last_event_id" = Option<String>, Query, description = "The same, for whoever cannot send the header"), ("restart" = Option<String>, Query, description = "1: the client understands `reset`")),
    responses(Frames, (status = 204, description = "All of it was read"), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn resume(
    app: Data<App>,
    user: User,
    path: Path<String>,
    place: Place,
) -> Result<HttpResponse> {
    match turns::rest(&app, &user.id, &path, place).await {
        Err(Error {
            code: Code::NotFound,
            ..
        }) if user.is_of_desk() => {
            let person = app.experts.person(&user).await?;
            let whose = app.experts.turn(&person, id(&path)?).await?;
            turns::rest(&app, &whose, &path, place).await
        }
        own => own,
    }
}

/// `DELETE /messages/stream/{turn_id}`: stops a turn.
#[utoipa::path(
    delete, path = "/messages/stream/{turn_id}",
    operation_id = "messages_stop",
    tag = "messages",
    params(("turn_id" = String, Path, format = "uuid", description = "The turn")),
    responses((status = 204, description = "It is stopped"), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn stop(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    turns::end(&app, &user.id, &path).await
}

fn turn_of(app: &App, user: &User, request: &HttpRequest, body: MessageIn) -> Result<TurnRequest> {
    count(app, request)?;
    let writer = Writer {
        device: user.id.clone(),
        within: body
            .conversation_id
            .map_or(Within::New, Within::Conversation),
        claims: &user.claims,
    };
    turn_request(app, request, writer, body.chat)
}

/// Which page is asked for: `before` and `limit`.
pub(super) fn page_of(asked: &Query) -> Result<(Option<MessageId>, u32)> {
    let limit = number(asked, "limit", 50, LIMIT)?;
    let before = asked.get("before").map(str::parse).transpose();
    Ok((before.map_err(|_| no_message())?, limit))
}

pub(super) fn no_message() -> Error {
    Error::field("before", "No message of this conversation.")
}
