//! `GET /chat/export` and `DELETE /chat/data`: exports or erases all data about a visitor.

use actix_web::{
    HttpResponse,
    http::header,
    web::{Bytes, Data},
};
use futures_util::{Stream, stream};
use serde::Serialize;
use serde_json::Value;

use super::{
    connection::Holds,
    responses::{DeviceParams, Refused},
    shapes::MessageOut,
};
use crate::{
    app::App,
    clock::Timestamp,
    devices::Device,
    error::{Code, Error, Result},
    store::{
        ConversationId, MessageSeq, UserId,
        data::{ExportedConversation, ExportedUser},
    },
};

#[derive(utoipa::ToSchema)]
#[schema(as = Export)]
#[expect(dead_code, reason = "only documents")]
struct ExportOut {
    user: Option<UserOut>,
    conversations: Vec<ExportedConversationOut>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ExportedUser)]
struct UserOut {
    id: UserId,
    name: Option<String>,
    created_at: Timestamp,
    last_seen_at: Timestamp,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ExportedConversation)]
struct ExportedConversationOut {
    conversation_id: ConversationId,
    title: Option<String>,
    agent_path: Option<String>,
    /// What the agents remember about the visitor.
    state: Value,
    created_at: Timestamp,
    /// All messages, oldest first.
    // Always empty here: `piece` writes the messages as it reads them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = true)]
    messages: Vec<MessageOut>,
}

impl From<&ExportedUser> for UserOut {
    fn from(user: &ExportedUser) -> Self {
        Self {
            id: user.id,
            name: user.name.clone(),
            created_at: user.created_at,
            last_seen_at: user.last_seen_at,
        }
    }
}

impl From<ExportedConversation> for ExportedConversationOut {
    fn from(conversation: ExportedConversation) -> Self {
        Self {
            conversation_id: conversation.id,
            title: conversation.title,
            agent_path: conversation.agent_path,
            state: conversation.state,
            created_at: conversation.created_at,
            messages: Vec::new(),
        }
    }
}

/// Exports all data about this device's visitor, streamed from the database as the client reads it.
#[utoipa::path(
    get, path = "/chat/export",
    operation_id = "data_export",
    tag = "chat",
    params(DeviceParams),
    responses((status = 200, description = "All data about the visitor", body = ExportOut), Refused)
)]
pub(super) async fn export(app: Data<App>, device: Device) -> Result<HttpResponse> {
    let user = app.store.visitor(&device.id).await?;
    let name = "attachment; filename=\"conversations.json\"";
    let mut response = HttpResponse::Ok();
    response
        .content_type(header::ContentType::json())
        .insert_header((header::CONTENT_DISPOSITION, name));
    response.extensions_mut().insert(Holds(HELD_BYTES));
    Ok(response.streaming(pieces(app, user)))
}

/// Roughly how many bytes of an export are in memory at a time.
const HELD_BYTES: usize = 1024 * 1024;

/// How far an export has come.
enum ExportPosition {
    Start,
    /// After this whole conversation; `None`: before the first one.
    After(Option<ConversationId>),
    /// Within a conversation, after this message.
    Within(ConversationId, MessageSeq),
}

/// Streams an export in pieces.
fn pieces(app: Data<App>, user: Option<ExportedUser>) -> impl Stream<Item = Result<Bytes>> {
    stream::try_unfold(Some(ExportPosition::Start), move |at| {
        let (app, user) = (app.clone(), user.clone());
        async move {
            let Some(at) = at else { return Ok(None) };
            let (piece, next) = piece(&app, user.as_ref(), at)
                .await
                .inspect_err(Error::log)?;
            Ok(Some((Bytes::from(piece), next)))
        }
    })
}

/// The next piece, and the position after it; `None` at the end.
async fn piece(
    app: &App,
    user: Option<&ExportedUser>,
    at: ExportPosition,
) -> Result<(String, Option<ExportPosition>)> {
    match at {
        ExportPosition::Start => {
            let user = json(&user.map(UserOut::from))?;
            let next = ExportPosition::After(None);
            Ok((format!("{{\"user\":{user},\"conversations\":["), Some(next)))
        }
        ExportPosition::After(before) => {
            let found = match user {
                Some(user) => app.store.next_conversation(user.id, before).await?,
                None => None,
            };
            let Some(found) = found else {
                return Ok(("]}".to_owned(), None));
            };
            let comma = if before.is_some() { "," } else { "" };
            let (id, mut head) = (found.id, json(&ExportedConversationOut::from(found))?);
            // Drops the closing brace: the messages follow.
            head.pop();
            let next = ExportPosition::Within(id, MessageSeq::START);
            Ok((format!("{comma}{head},\"messages\":["), Some(next)))
        }
        ExportPosition::Within(id, after) => {
            let said = app.store.messages_after(id, after, true).await?;
            let Some(last) = said.last().map(|last| last.seq) else {
                return Ok(("]}".to_owned(), Some(ExportPosition::After(Some(id)))));
            };
            let mut piece = String::new();
            for message in said {
                if !piece.is_empty() || after != MessageSeq::START {
                    piece.push(',');
                }
                piece.push_str(&json(&MessageOut::from(message))?);
            }
            Ok((piece, Some(ExportPosition::Within(id, last))))
        }
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(Code::Internal).caused_by(error))
}

/// Erases all data about this device's visitor. Idempotent.
#[utoipa::path(
    delete, path = "/chat/data",
    operation_id = "data_erase",
    tag = "chat",
    params(DeviceParams),
    responses((status = 204, description = "The data is erased"), Refused)
)]
pub(super) async fn erase(app: Data<App>, device: Device) -> Result<HttpResponse> {
    app.engine.erase(&device.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
