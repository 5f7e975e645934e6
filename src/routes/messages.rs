//! Messages of users: sending one (`POST /messages`, `POST /messages/stream`), resuming or stopping its answer.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};

use super::responses::{Frames, NotSignedIn, Refused, Turning};
use super::{
    chat::{ChatIn, Writer, answered, turn_request},
    extract::{Json, count, id},
    shapes::MessageOut,
    turns,
};
use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
    store::{
        ConversationId, TurnId,
        messages::{Message, Role},
        sessions::{Mode, Within},
    },
    turn::{ResumePoint, TurnRequest},
};

/// A message from a user.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = MessageRequest, example = json!({"content": "Hello, I want to schedule an appointment"}))]
pub(super) struct MessageIn {
    /// The conversation to write in. If absent, a new one begins.
    conversation_id: Option<ConversationId>,
    #[serde(flatten)]
    chat: ChatIn,
}

/// The stored message and its stored answer.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SentMessage)]
struct SentOut {
    user_message: Option<MessageOut>,
    /// Null if an expert has the conversation, or if a later message got the answer for both.
    ai_message: Option<MessageOut>,
    conversation_id: Option<ConversationId>,
    turn_id: Option<TurnId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
}

/// `POST /messages`: sends a message, and returns its whole answer.
#[utoipa::path(
    post, path = "/messages",
    operation_id = "messages_send",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer")),
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
    turns::received("json", &reply);
    let (turn_id, conversation_id) = (reply.turn_id, reply.conversation_id);
    let answer = answered(&app, reply).await?;
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

/// `POST /messages/stream`: sends a message, and streams its answer.
#[utoipa::path(
    post, path = "/messages/stream",
    operation_id = "messages_stream",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "If this request is a repetition: the id of the last frame that was read. The answer continues after that frame, and nothing is stored"), ("restart" = Option<String>, Query, description = "1: if the server died, you get a `reset` frame (delete the text shown so far; the answer starts again) instead of an error")),
    request_body = MessageIn,
    responses(Frames, (status = 204, description = "There is nothing left to read"), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn stream(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    place: ResumePoint,
    body: Json<MessageIn>,
) -> Result<HttpResponse> {
    let turn = turn_of(&app, &user, &request, body.0)?;
    turns::begin(&app, place, turn).await
}

/// `GET /messages/stream/{turn_id}`: streams the rest of a turn of the user's, or of one that an expert may see.
#[utoipa::path(
    get, path = "/messages/stream/{turn_id}",
    operation_id = "messages_resume",
    tag = "messages",
    params(("turn_id" = String, Path, format = "uuid", description = "The turn"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last frame that was read"), ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot send the header"), ("restart" = Option<String>, Query, description = "1: if the server died, you get a `reset` frame (delete the text shown so far; the answer starts again) instead of an error")),
    responses(Frames, (status = 204, description = "There is nothing left to read"), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn resume(
    app: Data<App>,
    user: User,
    path: Path<String>,
    place: ResumePoint,
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
    responses((status = 204, description = "The turn is stopped"), Refused, NotSignedIn),
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
