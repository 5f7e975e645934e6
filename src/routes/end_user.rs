//! Calls for clients that choose their own session names, and know the roles `user`, `ai`, `expert` and `system`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::responses::{NotSignedIn, Refused, Turning};
use super::{
    chat::{ChatIn, Writer, answered, key, spoken, turn_request},
    extract::{HAS_MORE, Json, Query, checked_skill, count, page_of, session_name},
    turns::received,
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Code, Error, Result},
    store::{
        ExpertId, MessageId, UserId,
        messages::{Message, MessageType, Paged, Role},
        sessions::{Mode, Within},
    },
    turn::TurnRequest,
};

/// How many of the newest messages are searched for the last system message.
const LAST: u32 = 50;

/// A message to a session.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = SessionMessage, example = json!({"session_id": "my-session", "message": "Where is my order?"}))]
pub(super) struct SayIn {
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$"
    )]
    session_id: String,
    #[schema(min_length = 1, max_length = 10000, pattern = "\\S")]
    message: String,
    metadata: Option<Map<String, Value>>,
}

/// A message to a session that asks for an expert.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = SessionAsk, example = json!({"session_id": "my-session", "message": "I want to talk to somebody", "skill": "billing"}))]
pub(super) struct AskIn {
    #[serde(flatten)]
    said: SayIn,
    /// The skill that the expert should have.
    #[schema(min_length = 1, max_length = 100)]
    skill: Option<String>,
}

/// The message that a call returns.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SessionAnswer, example = json!({"message_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e03", "session_id": "my-session", "content": "It is on its way.", "role": "ai", "timestamp": "2026-11-20T14:24:19.941641Z", "metadata": null}))]
struct SaidOut {
    message_id: Option<MessageId>,
    session_id: String,
    content: String,
    role: &'static str,
    /// `expert` if an expert has the conversation: agents do not answer then.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    timestamp: Timestamp,
    metadata: Option<Map<String, Value>>,
}

/// `POST /end-user`: sends a message, and returns its whole answer. The first message creates the session.
#[utoipa::path(
    post, path = "/end-user",
    operation_id = "end_user_say",
    tag = "sessions",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer")),
    request_body = SayIn,
    responses((status = 200, description = "The answer", body = SaidOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn say(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<SayIn>,
) -> Result<HttpResponse> {
    let said = body.0;
    let chat = ChatIn::of(said.message.clone(), said.metadata.clone());
    let turn = turn_of(&app, &user, &request, &said, chat)?;
    let reply = app.engine.start(turn).await?;
    received("json", &reply);
    let answer = answered(&app, reply).await?;
    Ok(HttpResponse::Ok().json(SaidOut {
        message_id: answer.last.message_id,
        session_id: said.session_id,
        content: answer.content,
        role: "ai",
        mode: answer.last.mode,
        timestamp: answer.last.timestamp,
        metadata: said.metadata,
    }))
}

/// `POST /expert`: asks for an expert, and returns a system message with the visitor's current place in the queue.
/// Every repeated call returns the place at that moment.
#[utoipa::path(
    post, path = "/expert",
    operation_id = "end_user_ask",
    tag = "sessions",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer")),
    request_body = AskIn,
    responses((status = 200, description = "A system message with the visitor's place in the queue", body = SaidOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn ask(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<AskIn>,
) -> Result<HttpResponse> {
    let AskIn { said, skill } = body.0;
    let skill = skill.map(checked_skill).transpose()?;
    let chat = ChatIn::of(said.message.clone(), said.metadata.clone()).asking(skill);
    let turn = turn_of(&app, &user, &request, &said, chat)?;
    let reply = app.engine.start(turn).await?;
    received("json", &reply);
    let conversation = reply.conversation_id;
    let answer = answered(&app, reply).await?;
    let (newest, place) = match conversation {
        Some(id) => (
            app.store.messages(id, None, LAST).await?,
            app.store.place(id).await?,
        ),
        None => (None, None),
    };
    let mut newest = newest.unwrap_or_default().messages.into_iter();
    let line = newest.rfind(|message| message.message_type == MessageType::SystemMessage);
    // The place may have changed since that message was stored.
    let now = place.map(|(position, is_asked)| app.engine.queue_notice().text(position, is_asked));
    let line = line.filter(|line| now.as_ref().is_none_or(|now| *now == line.body));
    Ok(HttpResponse::Ok().json(SaidOut {
        message_id: line.as_ref().map(|line| line.id),
        session_id: said.session_id,
        timestamp: line
            .as_ref()
            .map_or(answer.last.timestamp, |line| line.created_at),
        content: line.map(|line| line.body).or(now).unwrap_or_default(),
        role: "system",
        mode: answer.last.mode,
        metadata: said.metadata,
    }))
}

/// A message from an expert.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = ExpertMessage, example = json!({"session_id": "my-session", "message": "Hello, this is Eva.", "target_user_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e9f"}))]
pub(super) struct PassIn {
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$"
    )]
    session_id: String,
    #[schema(min_length = 1, max_length = 10000, pattern = "\\S")]
    message: String,
    target_user_id: UserId,
}

/// `POST /passthrough`: sends an expert's message to the visitor, without an agent.
#[utoipa::path(
    post, path = "/passthrough",
    operation_id = "end_user_pass",
    tag = "sessions",
    params(("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key sends the message only once")),
    request_body = PassIn,
    responses((status = 200, description = "The message that was sent", body = SaidOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn pass(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<PassIn>,
) -> Result<HttpResponse> {
    let PassIn {
        session_id,
        message,
        target_user_id,
    } = body.0;
    let person = app.experts.person(&user).await?;
    let session_id = session_name(session_id)?;
    let message = spoken("message", message)?;
    let found = app.store.session_of_user(target_user_id, &session_id);
    let id = found.await?.ok_or_else(|| Error::new(Code::NotFound))?;
    let key = key(&request)?;
    let said = app
        .experts
        .write(&person, id, target_user_id, message, key.as_deref())
        .await?;
    Ok(HttpResponse::Ok().json(SaidOut {
        message_id: Some(said.id),
        session_id,
        content: said.body,
        role: "expert",
        mode: None,
        timestamp: said.created_at,
        metadata: None,
    }))
}

/// The turn request of a message to a session.
fn turn_of(
    app: &App,
    user: &User,
    request: &HttpRequest,
    said: &SayIn,
    chat: ChatIn,
) -> Result<TurnRequest> {
    count(app, request)?;
    let writer = Writer {
        device: user.id.clone(),
        within: Within::Named(session_name(said.session_id.clone())?),
        claims: &user.claims,
    };
    turn_request(app, request, writer, chat).map_err(|mut error| {
        // The field `content` of other calls is named `message` here.
        let param = error.param.filter(|param| param != "content");
        error.param = param.or(Some("message".to_owned()));
        error
    })
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SessionHistory)]
struct SessionHistoryOut {
    session_id: String,
    messages: Vec<SaidBefore>,
}

/// A message of a session.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = SessionHistoryMessage)]
struct SaidBefore {
    id: MessageId,
    session_id: String,
    content: String,
    role: &'static str,
    timestamp: Timestamp,
    user_id: Option<UserId>,
    expert_id: Option<ExpertId>,
}

/// `GET /history/{session_id}`: the newest messages of a session, oldest first.
#[utoipa::path(
    get, path = "/history/{session_id}",
    operation_id = "end_user_history",
    tag = "sessions",
    params(("session_id" = String, Path, min_length = 1, max_length = 255, description = "The session"), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Maximum number of messages; default 50")),
    responses((status = 200, description = "The newest messages, oldest first; fewer than `limit` if they are long", body = SessionHistoryOut, headers(("X-Has-More" = bool, description = "Whether there are older messages"))), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn history(
    app: Data<App>,
    user: User,
    path: Path<String>,
    asked: Query,
) -> Result<HttpResponse> {
    let session_id = session_name(path.into_inner())?;
    let (before, limit) = page_of(&asked)?;
    let no_such = || Error::new(Code::NotFound);
    let found = app.store.conversation_of_session(&user.id, &session_id);
    let id = found.await?.ok_or_else(no_such)?;
    let conversation = app.store.conversation(&user.id, id).await?;
    let conversation = conversation.ok_or_else(no_such)?;
    let page = match app.store.messages_of(&user.id, id, before, limit).await? {
        Paged::Page(page) => page,
        Paged::NoMessage | Paged::NoConversation => return Err(no_such()),
    };
    let is_said = |message: &Message| {
        !matches!(
            message.message_type,
            MessageType::ToolCall | MessageType::ToolResult
        )
    };
    let messages = page.messages.into_iter().filter(is_said);
    let messages = messages.map(|message| SaidBefore {
        id: message.id,
        session_id: session_id.clone(),
        role: role(message.role),
        user_id: (message.role == Role::User).then_some(conversation.user_id),
        expert_id: message.expert_id,
        content: message.body,
        timestamp: message.created_at,
    });
    Ok(HttpResponse::Ok()
        .insert_header((HAS_MORE, page.has_more.to_string()))
        .json(SessionHistoryOut {
            messages: messages.collect(),
            session_id: session_id.clone(),
        }))
}

/// The name of a role for these clients.
fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "ai",
        Role::Expert => "expert",
        Role::System | Role::Tool => "system",
    }
}
