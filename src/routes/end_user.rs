//! The desk by a session's name: clients that call a conversation what they like, and know roles as `user`,
//! `ai`, `expert` and `system`.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    chat::{ChatIn, Writer, answered, count, turn_request},
    extract::{Json, Query},
    messages::page_of,
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    error::{Code, Error, Result},
    store::{
        MessageId, UserId,
        messages::{Message, MessageType, Role},
        sessions::Within,
    },
};

const SESSION_CHARACTERS: usize = 255;

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
    count(&app, &request)?;
    let SayIn {
        session_id,
        message,
        metadata,
    } = body.0;
    check(&session_id)?;
    let writer = Writer {
        device: user.id,
        within: Within::Named(session_id.clone()),
        claims: &user.claims,
    };
    let said = ChatIn::of(message, metadata.clone());
    let turn = turn_request(&app, &request, writer, said).map_err(|mut error| {
        // What the other calls name `content` is `message` here.
        error.param = error
            .param
            .filter(|param| param != "content")
            .or(Some("message".to_owned()));
        error
    })?;
    let answer = answered(app.engine.start(turn).await?).await?;
    Ok(HttpResponse::Ok().json(SaidOut {
        message_id: answer.last.message_id,
        session_id,
        content: answer.content,
        role: "ai",
        timestamp: answer.last.timestamp,
        metadata,
    }))
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
    expert_id: Option<String>,
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
        expert_id: None,
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
