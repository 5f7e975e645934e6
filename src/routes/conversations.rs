//! The conversations of users. Every SQL statement filters by user, so another user's conversation is a 404.
//! Experts can also read the conversations that the desk lets them see.

pub(super) mod messages;
pub(super) mod opening;

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Ref, RefOr, Schema, schema::AnyOfBuilder},
};

use super::{
    extract::{Json, PAGES, Query, id, number},
    responses::{Deleted, NotSignedIn, Refused, Turning},
    shapes::{ConversationOut, DeskConversationOut},
};
use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
    store::{
        ConversationId,
        conversations::{Changes, Status},
    },
    text,
};

/// Maximum conversations per page.
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

/// `GET /conversations`: a page of the user's conversations, newest first.
#[utoipa::path(
    get, path = "/conversations",
    operation_id = "conversations_list",
    tag = "conversations",
    params(("page" = Option<u32>, Query, minimum = 1, maximum = 1000000, description = "The page number; default 1"), ("per_page" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Conversations per page; default 20"), ("status" = Option<Status>, Query, description = "Only conversations with this status")),
    responses((status = 200, description = "A page of conversations", body = ConversationListOut), Refused, NotSignedIn),
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

/// `GET /conversations/{id}`: one of the user's conversations, or one that an expert may see.
#[utoipa::path(
    get, path = "/conversations/{id}",
    operation_id = "conversations_show",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "The conversation; an expert who is not its user also gets the desk's fields", body = VisibleConversation), Refused, NotSignedIn),
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
            let seen = app.experts.look(&person, id).await?;
            Ok(HttpResponse::Ok().json(VisibleConversation::Desk(seen.into())))
        }
        own => Ok(HttpResponse::Ok().json(VisibleConversation::Own(own?))),
    }
}

/// A conversation with the fields that the caller may see.
#[derive(Serialize)]
#[serde(untagged)]
enum VisibleConversation {
    Own(ConversationOut),
    Desk(DeskConversationOut),
}

impl PartialSchema for VisibleConversation {
    /// Not `oneOf`: what the desk sees has all members of what the user sees, so it fits both schemas.
    fn schema() -> RefOr<Schema> {
        let kinds = ["Conversation", "DeskConversation"].map(Ref::from_schema_name);
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

/// The changes to a conversation. An absent member changes nothing.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = ConversationChanges, example = json!({"title": "My order", "status": "archived"}))]
pub(super) struct ChangesIn {
    /// The new title; an empty string removes the title.
    #[schema(max_length = 255)]
    title: Option<String>,
    status: Option<Status>,
}

/// `PATCH /conversations/{id}`: changes the title or the status.
#[utoipa::path(
    patch, path = "/conversations/{id}",
    operation_id = "conversations_change",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    request_body = ChangesIn,
    responses((status = 200, description = "The changed conversation", body = ConversationOut), Turning, NotSignedIn),
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
        let detail = format!("Must have at most {MAX_TITLE_CHARACTERS} characters.");
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

/// `DELETE /conversations/{id}`: deletes a conversation and everything in it.
#[utoipa::path(
    delete, path = "/conversations/{id}",
    operation_id = "conversations_delete",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation")),
    responses((status = 200, description = "The conversation is deleted", body = Deleted), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn delete(app: Data<App>, user: User, path: Path<String>) -> Result<HttpResponse> {
    match app.engine.delete(&user.id, id(&path)?).await? {
        true => Ok(HttpResponse::Ok().json(json!({"message": "The conversation was deleted."}))),
        false => Err(Error::new(Code::NotFound)),
    }
}
