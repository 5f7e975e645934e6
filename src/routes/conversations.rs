//! The conversations of users who are signed in. Whose they are is decided in the statements: of another's
//! nothing is found.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use super::responses::{Deleted, NotSignedIn, Refused, Turning};
use super::{
    device,
    extract::{HAS_MORE, Json, PAGES, Query, count, id, no_message, number, page_of},
    shapes::{ConversationOut, DeskConversationOut, MessageOut},
};
use crate::{
    app::App,
    auth::{Role, User},
    context::Caller,
    conversations::{Conversations, Opening},
    error::{Code, Error, Result},
    store::{
        ConversationId,
        conversations::{Changes, MoveOutcome, Status},
        messages::{Message, Paged},
    },
    text,
};

/// The most conversations of a page.
const PER_PAGE: u32 = 100;
const MAX_TITLE_CHARACTERS: usize = 255;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ConversationList)]
struct ConversationListOut {
    conversations: Vec<ConversationOut>,
    total: i64,
    page: u32,
    per_page: u32,
}

/// `GET /conversations`: a page of them, the newest first.
#[utoipa::path(
    get, path = "/conversations",
    operation_id = "conversations_list",
    tag = "conversations",
    params(("page" = Option<u32>, Query, minimum = 1, maximum = 1000000, description = "Which page, 1 unless told"), ("per_page" = Option<u32>, Query, minimum = 1, maximum = 100, description = "How many, 20 unless told"), ("status" = Option<Status>, Query, description = "Only those")),
    responses((status = 200, description = "A page of them", body = ConversationListOut), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn list(app: Data<App>, user: User, asked: Query) -> Result<HttpResponse> {
    let page = number(&asked, "page", 1, PAGES)?;
    let per_page = number(&asked, "per_page", 20, PER_PAGE)?;
    let status = asked.get("status").map(|status| {
        serde_json::from_value(json!(status))
            .map_err(|_| Error::field("status", "Must be active, completed or archived."))
    });
    let status: Option<Status> = status.transpose()?;
    let found = app.store.conversations_of(&user.id, status, page, per_page);
    let (conversations, total) = found.await?;
    Ok(HttpResponse::Ok().json(ConversationListOut {
        conversations: conversations.into_iter().map(Into::into).collect(),
        total,
        page,
        per_page,
    }))
}

/// A conversation to open.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = OpenConversation, example = json!({"agent_path": "support"}))]
pub(super) struct OpenIn {
    agent_path: Option<String>,
    context: Option<Map<String, Value>>,
    /// The device that the user had before they signed in; the request proves it.
    anonymous_id: Option<String>,
}

/// `POST /conversations`: opens one, or keeps the one that the visitor had before they signed in.
#[utoipa::path(
    post, path = "/conversations",
    operation_id = "conversations_open",
    tag = "conversations",
    params(("X-Device-ID" = Option<String>, Header, nullable = false, description = "The proof of anonymous_id")),
    request_body = OpenIn,
    responses((status = 201, description = "It is open", body = ConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
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
    let key = app.engine.sessions().limit_key(&device.id).await?;
    let kept = app.store.keep_conversations(&device.id, key, &user.id);
    match kept.await? {
        MoveOutcome::Done => Ok(session.map(|(lock, _)| lock.conversation_id)),
        MoveOutcome::Busy => Err(Error::new(Code::TurnInProgress)),
    }
}

/// `GET /conversations/{id}`: a conversation; for the desk, one that it may see.
#[utoipa::path(
    get, path = "/conversations/{id}",
    operation_id = "conversations_show",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "The conversation; for the desk, with what it knows of it", body = VisibleConversation), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn show(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    let id = id(&path)?;
    match found(&app, &user, id).await {
        Err(Error {
            code: Code::NotFound,
            ..
        }) if user.is_of_desk() => {
            let person = app.experts.person(&user).await?;
            let case = app.experts.look(&person, id).await?;
            Ok(HttpResponse::Ok().json(VisibleConversation::Case(case.into())))
        }
        own => Ok(HttpResponse::Ok().json(VisibleConversation::Own(own?))),
    }
}

/// A conversation, as whoever asks may see it.
#[derive(Serialize)]
#[serde(untagged)]
enum VisibleConversation {
    Own(ConversationOut),
    Case(DeskConversationOut),
}

impl PartialSchema for VisibleConversation {
    /// Whoever sees a case sees all that a conversation has.
    fn schema() -> RefOr<Schema> {
        let kinds = ["Conversation", "Case"].map(Ref::from_schema_name);
        let any = kinds
            .into_iter()
            .fold(AnyOfBuilder::new(), AnyOfBuilder::item);
        any.into()
    }
}

impl ToSchema for VisibleConversation {}

async fn found(app: &App, user: &User, id: ConversationId) -> Result<ConversationOut> {
    let found = app.store.conversation(&user.id, id).await?;
    found
        .map(Into::into)
        .ok_or_else(|| Error::new(Code::NotFound))
}

/// What to change.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = ConversationChanges, example = json!({"title": "My order", "status": "archived"}))]
pub(super) struct ChangesIn {
    /// An empty one takes it away.
    #[schema(max_length = 255)]
    title: Option<String>,
    status: Option<Status>,
}

/// `PATCH /conversations/{id}`: another title, another status.
#[utoipa::path(
    patch, path = "/conversations/{id}",
    operation_id = "conversations_change",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    request_body = ChangesIn,
    responses((status = 200, description = "As it is now", body = ConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
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
        .is_some_and(|title| title.chars().count() > MAX_TITLE_CHARACTERS)
    {
        let detail = format!("At most {MAX_TITLE_CHARACTERS} characters.");
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
#[utoipa::path(
    delete, path = "/conversations/{id}",
    operation_id = "conversations_delete",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "It is deleted", body = Deleted), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn delete(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    match app.engine.delete(&user.id, id(&path)?).await? {
        true => Ok(HttpResponse::Ok().json(json!({"message": "The conversation was deleted."}))),
        false => Err(Error::new(Code::NotFound)),
    }
}

/// `GET /conversations/{id}/messages`: a page of what was said, oldest first in it.
#[utoipa::path(
    get, path = "/conversations/{id}/messages",
    operation_id = "conversations_messages",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation"), ("before" = Option<String>, Query, format = "uuid", description = "The message before which the page ends"), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "How many, 50 unless told")),
    responses((status = 200, description = "A page of what was said; it may have fewer messages than the limit where they are long", body = Vec<MessageOut>, headers(("X-Has-More" = bool, description = "Whether there are older ones"))), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn messages(
    app: Data<App>,
    user: User,
    path: Path<String>,
    asked: Query,
) -> Result<HttpResponse> {
    let (before, limit) = page_of(&asked)?;
    let id = id(&path)?;
    let own = app.store.messages_of(&user.id, id, before, limit).await?;
    let (page, shown): (_, fn(Message) -> MessageOut) = match own {
        Paged::Page(page) => (page, MessageOut::from),
        Paged::NoMessage => return Err(no_message()),
        Paged::NoConversation if !user.is_of_desk() => return Err(Error::new(Code::NotFound)),
        Paged::NoConversation => {
            let person = app.experts.person(&user).await?;
            let page = app.experts.messages(&person, id, before, limit).await?;
            (page.ok_or_else(no_message)?, MessageOut::for_desk)
        }
    };
    let messages = page.messages.into_iter().map(shown);
    Ok(HttpResponse::Ok()
        .insert_header((HAS_MORE, page.has_more.to_string()))
        .json(messages.collect::<Vec<_>>()))
}
