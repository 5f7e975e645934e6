//! The conversations of users who are signed in. Whose they are is decided in the statements: of another's
//! nothing is found.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    chat::count,
    device,
    experts::CaseOut,
    extract::{Json, Query},
    messages::{MessageOut, no_message, page_of},
};
use crate::{
    app::App,
    auth::{Role, User},
    clock::Timestamp,
    context::Caller,
    conversations::{Conversations, Opening},
    error::{Code, Error, Result},
    store::{
        ConversationId, UserId,
        conversations::{Changes, Conversation, Kept, Status},
        experts::Presence,
        sessions::Mode,
    },
    text,
};

/// The most conversations of a page.
const PER_PAGE: u32 = 100;
const TITLE_CHARACTERS: usize = 255;
/// How much of what was said first stands for a title.
const TITLE_WORDS: usize = 60;

/// A conversation as its user sees it.
#[derive(Serialize)]
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
        let said = text::first_line(&conversation.user_input, TITLE_WORDS);
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

#[derive(Serialize)]
struct ListOut {
    conversations: Vec<ConversationOut>,
    total: i64,
    page: u32,
    per_page: u32,
}

/// `GET /conversations`: a page of them, the newest first.
pub(super) async fn list(app: Data<App>, user: User, asked: Query) -> Result<HttpResponse> {
    let page = number(&asked, "page", 1, u32::MAX)?;
    let per_page = number(&asked, "per_page", 20, PER_PAGE)?;
    let status = asked.get("status").map(|status| {
        serde_json::from_value(json!(status))
            .map_err(|_| Error::field("status", "Must be active, completed or archived."))
    });
    let status: Option<Status> = status.transpose()?;
    let found = app.store.conversations_of(&user.id, status, page, per_page);
    let (conversations, total) = found.await?;
    Ok(HttpResponse::Ok().json(ListOut {
        conversations: conversations.into_iter().map(Into::into).collect(),
        total,
        page,
        per_page,
    }))
}

fn number(asked: &Query, name: &'static str, default: u32, most: u32) -> Result<u32> {
    match asked.get(name).map(str::parse).unwrap_or(Ok(default)) {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(Error::field(name, format!("A number from 1 to {most}."))),
    }
}

/// A conversation to open.
#[derive(Debug, Deserialize)]
pub(super) struct OpenIn {
    agent_path: Option<String>,
    context: Option<Map<String, Value>>,
    /// The device that the user had before they signed in; the request proves it.
    anonymous_id: Option<String>,
}

/// `POST /conversations`: opens one, or keeps the one that the visitor had before they signed in.
pub(super) async fn open(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Json<OpenIn>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let body = body.0;
    if let Some(anonymous) = &body.anonymous_id {
        let kept = keep(&app, &user, &request, anonymous).await?;
        if let Some(id) = kept.filter(|_| body.agent_path.is_none() && body.context.is_none()) {
            return Ok(HttpResponse::Created().json(found(&app, &user, id).await?));
        }
    }
    let context = text::clean_json(Value::Object(body.context.unwrap_or_default()));
    let opening = Opening {
        device: user.id.clone(),
        agent: body.agent_path.as_deref(),
        context: context.as_object().cloned().unwrap_or_default(),
        by: match user.role {
            Role::Admin => Caller::Service,
            Role::User | Role::Expert => Caller::Visitor,
        },
        claims: &user.claims,
        by_program: false,
    };
    let opened = Conversations::new(app.clone().into_inner())
        .begin(opening)
        .await?;
    Ok(HttpResponse::Created().json(found(&app, &user, opened.conversation_id).await?))
}

/// Gives the user what they said before they signed in; the conversation that they were in. An id is not
/// enough: the request has to be the device's, by its header or its cookie.
async fn keep(
    app: &App,
    user: &User,
    request: &HttpRequest,
    anonymous: &str,
) -> Result<Option<ConversationId>> {
    let presented = device::presented(app, request).await?;
    let proven = presented
        .filter(|device| device.presented.reveal() == anonymous || device.id.as_str() == anonymous);
    let device = proven.ok_or_else(|| {
        Error::new(Code::Forbidden)
            .detail("X-Device-ID or the cookie has to be that of anonymous_id.")
    })?;
    let session = app.engine.sessions().get(&device.id).await?;
    match app.store.keep_conversations(&device.id, &user.id).await? {
        Kept::Done => Ok(session.map(|(lock, _)| lock.conversation_id)),
        Kept::Busy => Err(Error::new(Code::TurnInProgress)),
    }
}

/// `GET /conversations/{id}`.
pub(super) async fn show(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    let id = id(&path)?;
    match found(&app, &user, id).await {
        Err(Error {
            code: Code::NotFound,
            ..
        }) if user.is_of_desk() => {
            let person = app.experts.person(&user, Presence::default()).await?;
            let case = CaseOut::from(app.experts.look(&person, id).await?);
            Ok(HttpResponse::Ok().json(case))
        }
        own => Ok(HttpResponse::Ok().json(own?)),
    }
}

async fn found(app: &App, user: &User, id: ConversationId) -> Result<ConversationOut> {
    let found = app.store.conversation(&user.id, id).await?;
    found
        .map(Into::into)
        .ok_or_else(|| Error::new(Code::NotFound))
}

/// What to change.
#[derive(Debug, Deserialize)]
pub(super) struct ChangesIn {
    title: Option<String>,
    status: Option<Status>,
}

/// `PATCH /conversations/{id}`: another title, another status.
pub(super) async fn change(
    app: Data<App>,
    user: User,
    path: Path<String>,
    body: Json<ChangesIn>,
) -> Result<HttpResponse> {
    let title = body
        .0
        .title
        .map(|title| text::cleaned(title).trim().to_owned());
    if title
        .as_ref()
        .is_some_and(|title| title.chars().count() > TITLE_CHARACTERS)
    {
        let detail = format!("At most {TITLE_CHARACTERS} characters.");
        return Err(Error::field("title", detail));
    }
    let changes = Changes {
        title,
        status: body.0.status,
    };
    let changed = app
        .store
        .change_conversation(&user.id, id(&path)?, changes)
        .await?;
    let changed = changed.ok_or_else(|| Error::new(Code::NotFound))?;
    Ok(HttpResponse::Ok().json(ConversationOut::from(changed)))
}

/// `DELETE /conversations/{id}`: with all that belongs to it.
pub(super) async fn delete(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    match app.engine.delete(&user.id, id(&path)?).await? {
        true => Ok(HttpResponse::Ok().json(json!({"message": "The conversation was deleted."}))),
        false => Err(Error::new(Code::NotFound)),
    }
}

/// `GET /conversations/{id}/messages`: a page of what was said, oldest first in it.
pub(super) async fn messages(
    app: Data<App>,
    user: User,
    path: Path<String>,
    asked: Query,
) -> Result<HttpResponse> {
    let (before, limit) = page_of(&asked)?;
    let id = id(&path)?;
    let page = match app.store.messages_of(&user.id, id, before, limit).await? {
        Some(page) => page,
        None if !user.is_of_desk() => return Err(Error::new(Code::NotFound)),
        None => {
            let person = app.experts.person(&user, Presence::default()).await?;
            app.experts.messages(&person, id, before, limit).await?
        }
    };
    let page = page.ok_or_else(no_message)?;
    let messages = page.messages.into_iter().map(MessageOut::from);
    Ok(HttpResponse::Ok().json(messages.collect::<Vec<_>>()))
}

/// What is no id is the id of nothing.
pub(super) fn id(path: &str) -> Result<ConversationId> {
    path.parse().map_err(|_| Error::new(Code::NotFound))
}
