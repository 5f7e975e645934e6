//! A turn's log as an event stream (WHATWG HTML §9.2).

use std::{
    fmt::Display,
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::header,
    web::{Bytes, Data},
};
use futures_util::{FutureExt, Stream, future::LocalBoxFuture};
use tokio::time::Instant;

use super::connection::{Holds, Streams};
use crate::{
    app::App,
    clock::Timer,
    error::{Code, Error},
    turn::{Reply, log::Records},
};

/// How long a stream may be silent before a comment shows that it is alive.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// A comment, ended by one LF: a blank line would make some clients deliver an empty event.
pub(super) const COMMENT: &[u8] = b":\n";
/// Sent in the first event: the milliseconds that a client waits before it reconnects.
pub(super) const RETRY: &[u8] = b"retry: 1000\n";

const ID: &[u8] = b"id: ";
const DATA: &[u8] = b"data: ";

/// The response head of an event stream. Its headers forbid proxies to cache or buffer the stream.
pub(super) fn head(streams: Streams) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response.extensions_mut().insert(streams);
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// Appends one event of an event stream (WHATWG HTML §9.2): an `id:` line if there is an id, a `data:` line and a
/// blank line, with LF only. The data must not contain a line break.
pub(super) fn write_event(id: Option<impl Display>, data: &[u8], events: &mut Vec<u8>) {
    if let Some(id) = id {
        events.extend_from_slice(ID);
        // Writing to a vector cannot fail.
        drop(writeln!(events, "{id}"));
    }
    events.extend_from_slice(DATA);
    events.extend_from_slice(data);
    events.extend_from_slice(b"\n\n");
}

/// Streams a turn. Frames that are ready together are sent in one piece. A stream ends with the final frame. If that
/// frame cannot be had, the stream is aborted, so that no client takes half an answer for a whole one.
pub(super) fn respond(app: &Data<App>, reply: Reply) -> HttpResponse {
    let mut response = head(Streams::Answer);
    response.extensions_mut().insert(Holds(reply.reader.held()));
    if let Some(id) = reply.conversation_id {
        response.insert_header(("X-Conversation-ID", id.to_string()));
    }
    if let Some(id) = reply.turn_id {
        response.insert_header(("X-Turn-ID", id.to_string()));
    }
    response.streaming(OpenStream {
        app: app.clone(),
        reply,
        following: None,
        silence: Timer::new(Instant::now() + SILENCE),
        begun: false,
        _counted: app.metrics.open_stream(),
    })
}

/// A stream that is being sent to a client.
struct OpenStream<C> {
    app: Data<App>,
    reply: Reply,
    /// The search for the rest of a turn that ran on another instance.
    following: Option<LocalBoxFuture<'static, Option<Reply>>>,
    silence: Timer,
    begun: bool,
    _counted: C,
}

impl<C: Unpin> OpenStream<C> {
    /// The next records as events; `None` after the final one.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            if let Some(following) = &mut self.following {
                let reply = ready!(following.poll_unpin(cx));
                self.following = None;
                match reply {
                    Some(reply) => self.reply = reply,
                    None => return Poll::Ready(Some(Err(cut()))),
                }
            }
            let begun = self.begun;
            let framed = |records: Records<'_>| events(records, begun);
            if let Some(events) = ready!(self.reply.reader.poll_read(cx, framed)) {
                self.begun = true;
                return Poll::Ready(Some(Ok(events)));
            }
            if self.reply.reader.is_complete() {
                return Poll::Ready(None);
            }
            let Some(elsewhere) = self.reply.elsewhere.take() else {
                return Poll::Ready(Some(Err(cut())));
            };
            let (app, reader) = (self.app.clone(), self.reply.reader.clone());
            self.following = Some(Box::pin(async move {
                app.engine.go_on(&elsewhere, &reader).await
            }));
        }
    }
}

/// Records as events. The first event of a response also has [`RETRY`].
fn events(records: Records<'_>, begun: bool) -> Bytes {
    let mut events = Vec::with_capacity(length(records, begun));
    if !begun {
        events.extend_from_slice(RETRY);
    }
    for record in records.iter() {
        write_event(record.id(), record.payload, &mut events);
    }
    events.into()
}

/// The exact length of [`events`] in bytes: a full buffer becomes [`Bytes`] without a copy.
fn length(records: Records<'_>, begun: bool) -> usize {
    let events = records.iter().map(|record| {
        let id = record.id().map_or(0, |id| ID.len() + id.length() + 1);
        id + DATA.len() + record.payload.len() + 2
    });
    let retry = if begun { 0 } else { RETRY.len() };
    events.sum::<usize>() + retry
}

/// The error that aborts an incomplete response body.
fn cut() -> Error {
    let error = Error::new(Code::Interrupted);
    error.log();
    error
}

impl<C: Unpin> Stream for OpenStream<C> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let bytes = match self.poll_frames(cx) {
            Poll::Ready(Some(Ok(events))) => events,
            Poll::Ready(end) => return Poll::Ready(end),
            Poll::Pending => {
                ready!(self.silence.poll_ring(cx));
                Bytes::from_static(COMMENT)
            }
        };
        self.silence.put_off(Instant::now() + SILENCE);
        Poll::Ready(Some(Ok(bytes)))
    }
}
