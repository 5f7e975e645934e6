//! `GET /chat/stream/{turn_id}`, `GET /chat/stream` and `DELETE /chat/stream/{turn_id}`:
//! resuming an answer, and stopping it.

use actix_web::{
    HttpResponse,
    web::{Data, Path},
};

use super::responses::{DeviceParams, Frames, Refused};
use super::{extract::id, sse};
use crate::{
    app::App,
    devices::Device,
    error::{Code, Error, Result},
    store::Owner,
    turn::{Reply, ResumePoint, TurnRequest},
};

/// Streams the rest of a turn.
#[utoipa::path(
    get, path = "/chat/stream/{turn_id}",
    operation_id = "turns_resume",
    tag = "chat",
    params(DeviceParams, ("turn_id" = String, Path, format = "uuid", description = "The turn"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last frame that was read"), ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot send the header"), ("restart" = Option<String>, Query, description = "1: if the server died, you get a `reset` frame (delete the text shown so far; the answer starts again) instead of an error")),
    responses(Frames, (status = 204, description = "There is nothing left to read"), Refused)
)]
pub(super) async fn resume(
    app: Data<App>,
    device: Device,
    path: Path<String>,
    place: ResumePoint,
) -> Result<HttpResponse> {
    rest(&app, &device.id, &path, place).await
}

/// Streams the rest of an owner's turn.
pub(super) async fn rest(
    app: &Data<App>,
    whose: &Owner,
    path: &str,
    place: ResumePoint,
) -> Result<HttpResponse> {
    let turn = id(path)?;
    if place.after.is_some_and(|after| after.turn_id != turn) {
        return Err(Error::new(Code::InvalidCursor).detail("The event id belongs to another turn."));
    }
    Ok(respond(app, app.engine.attach(whose, turn, place).await?))
}

/// Streams the answer to a message. A client that was cut off may repeat its request with the last frame's id: if the
/// frame is of the turn that the request started, the answer continues after it. Otherwise a new turn starts.
pub(super) async fn begin(
    app: &Data<App>,
    place: ResumePoint,
    turn: TurnRequest,
) -> Result<HttpResponse> {
    if let Some(after) = place.after {
        let (id, hash) = (after.turn_id, turn.request_hash.clone());
        if app.store.began_with(&turn.device, id, hash).await? {
            let rest = app.engine.attach(&turn.device, id, place).await?;
            return Ok(respond(app, rest));
        }
    }
    let reply = app.engine.start(turn).await?;
    received("stream", &reply);
    Ok(sse::respond(app, reply))
}

/// Logs a received message, with the ids that its turn's other log lines have.
pub(super) fn received(channel: &'static str, reply: &Reply) {
    tracing::info!(
        channel,
        turn.id = reply.turn_id.map(tracing::field::display),
        conversation.id = reply.conversation_id.map(tracing::field::display),
        "message received"
    );
}

/// Streams the rest of the turn that the client was reading, or a newer turn; without an event id, the running turn.
#[utoipa::path(
    get, path = "/chat/stream",
    operation_id = "turns_newest",
    tag = "chat",
    params(DeviceParams, ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last frame that was read"), ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot send the header"), ("restart" = Option<String>, Query, description = "1: if the server died, you get a `reset` frame (delete the text shown so far; the answer starts again) instead of an error")),
    responses(Frames, (status = 204, description = "There is nothing to read"), Refused)
)]
pub(super) async fn newest(
    app: Data<App>,
    device: Device,
    place: ResumePoint,
) -> Result<HttpResponse> {
    Ok(respond(
        &app,
        app.engine.attach_newest(&device.id, place).await?,
    ))
}

/// Stops a turn. Its text so far is kept.
#[utoipa::path(
    delete, path = "/chat/stream/{turn_id}",
    operation_id = "turns_stop",
    tag = "chat",
    params(DeviceParams, ("turn_id" = String, Path, format = "uuid", description = "The turn")),
    responses((status = 204, description = "The turn is stopped"), Refused)
)]
pub(super) async fn stop(
    app: Data<App>,
    device: Device,
    path: Path<String>,
) -> Result<HttpResponse> {
    end(&app, &device.id, &path).await
}

/// Stops an owner's turn.
pub(super) async fn end(app: &App, whose: &Owner, path: &str) -> Result<HttpResponse> {
    app.engine.stop(whose, id(path)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn respond(app: &Data<App>, reply: Option<Reply>) -> HttpResponse {
    reply.map_or_else(
        || HttpResponse::NoContent().finish(),
        |reply| sse::respond(app, reply),
    )
}
