//! Opens a conversation, or gives a user the conversations that they had as a visitor.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::found;
use crate::{
    app::App,
    auth::{Role, User},
    context::Caller,
    conversations::{Conversations, Opening},
    error::{Code, Error, Result},
    routes::{
        device,
        extract::{Json, count},
        responses::{NotSignedIn, Turning},
        shapes::ConversationOut,
    },
    store::{ConversationId, conversations::MoveOutcome},
    text,
};

/// A conversation to open.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = OpenConversation, example = json!({"agent_path": "support"}))]
pub(in crate::routes) struct OpenIn {
    agent_path: Option<String>,
    context: Option<Map<String, Value>>,
    /// The user's device id from before they signed in. `X-Device-ID` or the device cookie has to prove it.
    anonymous_id: Option<String>,
}

/// `POST /conversations`: opens a conversation, or keeps the one that the user had before they signed in.
#[utoipa::path(
    post, path = "/conversations",
    operation_id = "conversations_open",
    tag = "conversations",
    params(("X-Device-ID" = Option<String>, Header, nullable = false, description = "Proves `anonymous_id`, as the device cookie does")),
    request_body = OpenIn,
    responses((status = 201, description = "The conversation is open", body = ConversationOut), Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(in crate::routes) async fn open(
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

/// Gives the user all conversations of their device; returns the one that the device's session was on. The id in
/// the body is not enough: the request must carry the device's header or cookie.
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
            .detail("X-Device-ID or the device cookie must be that of anonymous_id.")
    })?;
    let session = app.engine.sessions().get(&device.id).await?;
    let key = app.engine.sessions().limit_key(&device.id).await?;
    let kept = app.store.keep_conversations(&device.id, key, &user.id);
    match kept.await? {
        MoveOutcome::Done => Ok(session.map(|(lock, _)| lock.conversation_id)),
        MoveOutcome::Busy => Err(Error::new(Code::TurnInProgress)),
    }
}
