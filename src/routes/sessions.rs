//! `GET` and `DELETE /chat/session`: which agent holds the visitor's conversation.

use actix_web::{HttpResponse, web::Data};
use serde::Serialize;

use crate::{
    app::App,
    clock::Timestamp,
    devices::Device,
    error::Result,
    store::{ConversationId, sessions::Mode},
};

/// A session as a client sees it. Without a live lock all but the device is null.
#[derive(Serialize)]
struct SessionOut {
    device_id: String,
    conversation_id: Option<ConversationId>,
    active_agent: Option<String>,
    mode: Option<Mode>,
    locked_at: Option<Timestamp>,
    session_ttl: Option<i64>,
    expires_at: Option<Timestamp>,
}

/// The device's session.
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

/// Forgets it: the next message starts a new conversation.
pub(super) async fn clear(app: Data<App>, device: Device) -> Result<HttpResponse> {
    app.engine.sessions().clear(&device.id).await?;
    Ok(HttpResponse::NoContent().finish())
}
