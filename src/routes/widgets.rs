//! `POST /chat/widgets/{message_id}`: the answer to a widget, which begins a turn.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    chat::{count, idempotency},
    extract::Json,
    sse,
};
use crate::{
    app::App,
    devices::Device,
    error::{Code, Error, Result},
    store::MessageId,
};

/// An answer as a client sends it.
#[derive(Debug, Deserialize)]
pub(super) struct AnswerIn {
    answer: Map<String, Value>,
}

/// Answers; the turn streams like `POST /chat/stream`.
pub(super) async fn answer(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
    path: Path<String>,
    body: Json<AnswerIn>,
) -> Result<HttpResponse> {
    count(&app, &request)?;
    let widget: MessageId = path.parse().map_err(|_| Error::new(Code::NotFound))?;
    let answer = Value::Object(body.0.answer);
    let key = idempotency(&request, &json!([widget, answer]))?;
    let reply = app.engine.answer(device.id, widget, answer, key).await?;
    Ok(sse::respond(&app, reply))
}
