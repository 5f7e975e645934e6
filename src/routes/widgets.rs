//! `POST /chat/widgets/{message_id}` and `POST /widgets/{message_id}`: answering a widget, which starts a turn.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::responses::{DeviceParams, Frames, NotSignedIn, Turning};
use super::{
    caller::caller,
    chat::{hash, key},
    extract::{Json, count, id},
    sse,
    turns::received,
};
use crate::{
    app::App, auth::User, devices::Device, error::Result, store::MessageId, turn::TurnRequest,
};

/// An answer to a widget.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = WidgetAnswer, example = json!({"answer": {"choice": "My order"}}))]
pub(super) struct AnswerIn {
    answer: Map<String, Value>,
}

/// Answers a widget, and streams the turn like `POST /chat/stream`.
#[utoipa::path(
    post, path = "/chat/widgets/{message_id}",
    operation_id = "widgets_answer",
    tag = "chat",
    params(DeviceParams, ("message_id" = String, Path, format = "uuid", description = "The message id of the widget"), ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer")),
    request_body = AnswerIn,
    responses(Frames, Turning)
)]
pub(super) async fn answer(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
    path: Path<String>,
    body: Json<AnswerIn>,
) -> Result<HttpResponse> {
    let turn = TurnRequest::new(device.id, String::new());
    stream(&app, &request, turn, &path, body.0).await
}

/// Answers a widget of the user's, and streams the turn like `POST /messages/stream`.
#[utoipa::path(
    post, path = "/widgets/{message_id}",
    operation_id = "widgets_answer_signed_in",
    tag = "messages",
    params(("message_id" = String, Path, format = "uuid", description = "The message id of the widget"), ("Idempotency-Key" = Option<String>, Header, nullable = false, min_length = 1, max_length = 255, description = "A repeated request with the same key starts no new turn: it gets the first one's answer")),
    request_body = AnswerIn,
    responses(Frames, Turning, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn answer_signed_in(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    path: Path<String>,
    body: Json<AnswerIn>,
) -> Result<HttpResponse> {
    let turn = TurnRequest::new(user.id, String::new());
    stream(&app, &request, turn, &path, body.0).await
}

async fn stream(
    app: &Data<App>,
    request: &HttpRequest,
    mut turn: TurnRequest,
    path: &str,
    body: AnswerIn,
) -> Result<HttpResponse> {
    count(app, request)?;
    let widget: MessageId = id(path)?;
    let answer = Value::Object(body.answer);
    turn.key = key(request)?;
    turn.request_hash = hash(&json!([widget, answer]));
    turn.address = caller(app, request);
    let reply = app.engine.answer(turn, widget, answer).await?;
    received("stream", &reply);
    Ok(sse::respond(app, reply))
}
