//! The desk by a session's name: clients that call a conversation what they like, and know roles as `user`,
//! `ai`, `expert` and `system`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    chat::{CONTENT_CHARACTERS, ChatIn, Writer, answered, count, turn_request},
    extract::{Json, Query},
    messages::page_of,
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Code, Error, Result},
    store::{
        ExpertId, MessageId, UserId,
        experts::Presence,
        messages::{Message, MessageType, Role},
        sessions::{Mode, Within},
    },
    text,
    turn::{ASKS_FOR, TurnRequest},
};

const SESSION_CHARACTERS: usize = 255;
/// Among how many of the newest messages the desk's last line is.
const LAST: u32 = 50;

/// A message to a session.
#[derive(Debug, Deserialize)]
pub(super) struct SayIn {
    session_id: String,
    message: String,
    metadata: Option<Map<String, Value>>,
}

/// What comes back.
#[derive(Serialize)]
struct SaidOut {
    message_id: Option<MessageId>,
    session_id: String,
    content: String,
    role: &'static str,
    /// Said where a person has the conversation: then nobody else answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    timestamp: Timestamp,
    metadata: Option<Map<String, Value>>,
}

/// `POST /end-user`: the AI answers. The session begins with its first message.
pub(super) async fn say(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<SayIn>,
) -> Result<HttpResponse> {
    let said = body.0;
    let turn = turn_of(&app, &user, &request, &said, said.metadata.clone())?;
    let answer = answered(app.engine.start(turn).await?).await?;
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

/// `POST /expert`: asks for a person. What happens now comes back.
pub(super) async fn ask(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<SayIn>,
) -> Result<HttpResponse> {
    let said = body.0;
    let mut asks = said.metadata.clone().unwrap_or_default();
    asks.insert(ASKS_FOR.to_owned(), "person".into());
    let turn = turn_of(&app, &user, &request, &said, Some(asks))?;
    let reply = app.engine.start(turn).await?;
    let conversation = reply.conversation_id;
    let answer = answered(reply).await?;
    let newest = match conversation {
        Some(id) => app.store.messages(id, None, LAST).await?,
        None => None,
    };
    let mut newest = newest.unwrap_or_default().messages.into_iter();
    let line = newest.rfind(|message| message.message_type == MessageType::SystemMessage);
    Ok(HttpResponse::Ok().json(SaidOut {
        message_id: line.as_ref().map(|line| line.id),
        session_id: said.session_id,
        timestamp: line
            .as_ref()
            .map_or(answer.last.timestamp, |line| line.created_at),
        content: line.map(|line| line.body).unwrap_or_default(),
        role: "system",
        mode: answer.last.mode,
        metadata: said.metadata,
    }))
}

/// A message of somebody at the desk.
#[derive(Debug, Deserialize)]
pub(super) struct PassIn {
    session_id: String,
    message: String,
    target_user_id: UserId,
    metadata: Option<Map<String, Value>>,
}

/// `POST /passthrough`: straight to the visitor, without an agent between.
pub(super) async fn pass(app: Data<App>, user: User, body: Json<PassIn>) -> Result<HttpResponse> {
    let PassIn {
        session_id,
        message,
        target_user_id,
        metadata,
    } = body.0;
    let person = app.experts.person(&user, Presence::default()).await?;
    check(&session_id)?;
    let message = text::cleaned(message);
    let characters = message.chars().count();
    if message.trim().is_empty() || characters > CONTENT_CHARACTERS {
        let detail = format!("1 to {CONTENT_CHARACTERS} characters.");
        return Err(Error::field("message", detail));
    }
    let found = app.store.session_of_user(target_user_id, &session_id);
    let id = found.await?.ok_or_else(|| Error::new(Code::NotFound))?;
    let said = app.experts.write(&person, id, target_user_id, message);
    let said = said.await?;
    Ok(HttpResponse::Ok().json(SaidOut {
        message_id: Some(said.id),
        session_id,
        content: said.body,
        role: "expert",
        mode: None,
        timestamp: said.created_at,
        metadata,
    }))
}

/// A message to a session, as a turn.
fn turn_of(
    app: &App,
    user: &User,
    request: &HttpRequest,
    said: &SayIn,
    metadata: Option<Map<String, Value>>,
) -> Result<TurnRequest> {
    count(app, request)?;
    check(&said.session_id)?;
    let writer = Writer {
        device: user.id.clone(),
        within: Within::Named(said.session_id.clone()),
        claims: &user.claims,
    };
    let said = ChatIn::of(said.message.clone(), metadata);
    turn_request(app, request, writer, said).map_err(|mut error| {
        // What the other calls name `content` is `message` here.
        let param = error.param.filter(|param| param != "content");
        error.param = param.or(Some("message".to_owned()));
        error
    })
}

/// What a client calls a session, checked.
pub(super) fn session_name(name: String) -> Result<String> {
    check(&name).map(|()| name)
}

fn check(session: &str) -> Result<()> {
    let characters = session.chars().count();
    match (1..=SESSION_CHARACTERS).contains(&characters) && !session.chars().any(char::is_control) {
        true => Ok(()),
        false => {
            let detail = format!("1 to {SESSION_CHARACTERS} characters.");
            Err(Error::field("session_id", detail))
        }
    }
}

#[derive(Serialize)]
struct HistoryOut {
    session_id: String,
    messages: Vec<SaidBefore>,
}

/// A message of a session.
#[derive(Serialize)]
struct SaidBefore {
    id: MessageId,
    session_id: String,
    content: String,
    role: &'static str,
    timestamp: Timestamp,
    user_id: Option<UserId>,
    expert_id: Option<ExpertId>,
}

/// `GET /history/{session_id}`: what was said, the newest, oldest first.
pub(super) async fn history(
    app: Data<App>,
    user: User,
    path: Path<String>,
    asked: Query,
) -> Result<HttpResponse> {
    let session_id = path.into_inner();
    let (before, limit) = page_of(&asked)?;
    let no_such = || Error::new(Code::NotFound);
    let found = app.store.conversation_of_session(&user.id, &session_id);
    let id = found.await?.ok_or_else(no_such)?;
    let conversation = app.store.conversation(&user.id, id).await?;
    let conversation = conversation.ok_or_else(no_such)?;
    let page = app.store.messages_of(&user.id, id, before, limit).await?;
    let page = page.flatten().ok_or_else(no_such)?;
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
    Ok(HttpResponse::Ok().json(HistoryOut {
        messages: messages.collect(),
        session_id: session_id.clone(),
    }))
}

/// A role as these clients know it.
fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "ai",
        Role::Expert => "expert",
        Role::System | Role::Tool => "system",
    }
}
