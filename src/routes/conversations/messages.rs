//! The messages of a conversation, by page.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};

use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
    routes::{
        extract::{HAS_MORE, Query, id, no_message, page_of},
        responses::{NotSignedIn, Refused},
        shapes::MessageOut,
    },
    store::messages::{Message, Paged},
};

/// `GET /conversations/{id}/messages`: a page of a conversation's messages, oldest first.
#[utoipa::path(
    get, path = "/conversations/{id}/messages",
    operation_id = "conversations_messages",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation"), ("before" = Option<String>, Query, format = "uuid", description = "The id of a message: only older ones are returned"), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Maximum number of messages; default 50")),
    responses((status = 200, description = "A page of messages; fewer than `limit` if they are long", body = Vec<MessageOut>, headers(("X-Has-More" = bool, description = "Whether there are older messages"))), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(in crate::routes) async fn list(
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
