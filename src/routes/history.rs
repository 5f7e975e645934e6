//! `GET /chat/history`: the messages of the device's conversation.

use actix_web::{HttpResponse, web::Data};
use serde::Serialize;

use super::responses::{DeviceParams, Refused};
use super::{
    extract::{Query, no_message, page_of},
    shapes::MessageOut,
};
use crate::{
    app::App,
    devices::Device,
    error::Result,
    store::{ConversationId, messages::MessagePage},
};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = History)]
struct HistoryOut {
    conversation_id: Option<ConversationId>,
    messages: Vec<MessageOut>,
    has_more: bool,
}

/// A page of messages of the device's current conversation.
#[utoipa::path(
    get, path = "/chat/history",
    operation_id = "history_show",
    tag = "chat",
    params(DeviceParams, ("before" = Option<String>, Query, format = "uuid", description = "The id of a message: only older ones are returned"), ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Maximum number of messages; default 50")),
    responses((status = 200, description = "A page of messages, oldest first", body = HistoryOut), Refused)
)]
pub(super) async fn show(app: Data<App>, device: Device, asked: Query) -> Result<HttpResponse> {
    let (before, limit) = page_of(&asked)?;
    let session = app.engine.sessions().get(&device.id).await?;
    let conversation_id = session.map(|(lock, _)| lock.conversation_id);
    let page = match (conversation_id, before) {
        (Some(conversation), before) => app
            .store
            .messages(conversation, before, limit)
            .await?
            .ok_or_else(no_message)?,
        (None, None) => MessagePage::default(),
        (None, Some(_)) => return Err(no_message()),
    };
    Ok(HttpResponse::Ok().json(HistoryOut {
        conversation_id,
        messages: page.messages.into_iter().map(Into::into).collect(),
        has_more: page.has_more,
    }))
}
