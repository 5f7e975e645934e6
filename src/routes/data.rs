//! `GET /chat/export` and `DELETE /chat/data`: what is kept of a visitor, handed over or erased.

use actix_web::{HttpResponse, http::header, web::Data};
use serde::Serialize;
use serde_json::Value;

use super::{
    responses::{DeviceParams, Refused},
    shapes::MessageOut,
};
use crate::{
    app::App,
    clock::Timestamp,
    devices::Device,
    error::Result,
    store::{ConversationId, UserId},
};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Export)]
struct ExportOut {
    user: Option<UserOut>,
    conversations: Vec<ConversationOut>,
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
struct ConversationOut {
    conversation_id: ConversationId,
    title: Option<String>,
    agent_path: Option<String>,
    /// What the agents noted of the visitor.
    state: Value,
    created_at: Timestamp,
    messages: Vec<MessageOut>,
}

/// All that is kept of this device's visitor.
#[utoipa::path(
    get, path = "/chat/export",
    operation_id = "data_export",
    tag = "chat",
    params(DeviceParams),
    responses((status = 200, description = "All that is kept", body = ExportOut), Refused)
)]
pub(super) async fn export(app: Data<App>, device: Device) -> Result<HttpResponse> {
    let mut out = ExportOut {
        user: None,
        conversations: Vec::new(),
    };
    if let Some(kept) = app.store.export(&device.id).await? {
        out.user = Some(UserOut {
            id: kept.user.id,
            name: kept.user.name,
            created_at: kept.user.created_at,
            last_seen_at: kept.user.last_seen_at,
        });
        let conversations = kept.conversations.into_iter();
        out.conversations = conversations
            .map(|(conversation, said)| ConversationOut {
                conversation_id: conversation.id,
                title: conversation.title,
                agent_path: conversation.agent_path,
                state: conversation.state,
                created_at: conversation.created_at,
                messages: said.into_iter().map(Into::into).collect(),
            })
            .collect();
    }
    let name = "attachment; filename=\"conversations.json\"";
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_DISPOSITION, name))
        .json(out))
}

/// Erases all that is kept of this device's visitor. Doing it again changes nothing.
#[utoipa::path(
    delete, path = "/chat/data",
    operation_id = "data_erase",
    tag = "chat",
    params(DeviceParams),
    responses((status = 204, description = "It is erased"), Refused)
)]
pub(super) async fn erase(app: Data<App>, device: Device) -> Result<HttpResponse> {
    app.engine.erase(&device.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
