//! `GET` and `DELETE /chat/session`: the device's session lock, which names the conversation and its agent.

use actix_web::{HttpResponse, web::Data};
use serde::Serialize;

use super::responses::{DeviceParams, Refused};
use crate::{
    app::App,
    clock::Timestamp,
    devices::Device,
    error::Result,
    store::{ConversationId, sessions::Mode},
};

/// A device's session. Without a live session lock everything but `device_id` is null.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Session, example = json!({"device_id": "my-browser", "conversation_id": "0198c0de-5f2a-7c1e-9d3b-4a5b6c7d8e00", "active_agent": "support", "mode": "ai", "locked_at": "2026-11-20T14:24:19.941641Z", "session_ttl": 86400, "expires_at": "2026-11-21T14:24:19.941641Z"}))]
struct SessionOut {
    device_id: String,
    conversation_id: Option<ConversationId>,
    active_agent: Option<String>,
    mode: Option<Mode>,
    locked_at: Option<Timestamp>,
    session_ttl: Option<i64>,
    expires_at: Option<Timestamp>,
}

/// Shows the device's session.
#[utoipa::path(
    get, path = "/chat/session",
    operation_id = "sessions_show",
    tag = "chat",
    params(DeviceParams),
    responses((status = 200, description = "The session", body = SessionOut), Refused)
)]
pub(super) async fn show(app: Data<App>, device: Device) -> Result<HttpResponse> {
    let (lock, mode) = app.engine.sessions().get(&device.id).await?.unzip();
    Ok(HttpResponse::Ok().json(SessionOut {
        device_id: device.presented.reveal().to_owned(),
        conversation_id: lock.as_ref().map(|lock| lock.conversation_id),
        mode,
        locked_at: lock.as_ref().map(|lock| lock.locked_at),
        session_ttl: lock.as_ref().map(|lock| lock.session_ttl),
        expires_at: lock.as_ref().map(|lock| lock.expires_at),
        active_agent: lock.and_then(|lock| lock.active_agent),
    }))
}

/// Ends the device's session: the next message starts a new conversation.
#[utoipa::path(
    delete, path = "/chat/session",
    operation_id = "sessions_clear",
    tag = "chat",
    params(DeviceParams),
    responses((status = 204, description = "The session is ended"), Refused)
)]
pub(super) async fn clear(app: Data<App>, device: Device) -> Result<HttpResponse> {
    app.engine.sessions().clear(&device.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
