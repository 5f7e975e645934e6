//! A turn's log as an event stream (WHATWG HTML §9.2).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{HttpResponse, HttpResponseBuilder, http::header, web::Bytes};
use futures_util::{Stream, StreamExt};
use tokio::time::Instant;

use crate::{
    app::App,
    clock::Timer,
    error::Error,
    turn::{Reply, log::Reader},
};

/// How long a stream may be silent before a comment shows that it lives.
pub(super) const SILENCE: Duration = Duration::from_secs(15);
/// One line with one LF: after a blank line some clients would deliver an empty event.
pub(super) const COMMENT: &[u8] = b":\n";
/// Said inside the first frame: how many milliseconds a client waits before it comes back.
pub(super) const RETRY: &[u8] = b"retry: 1000\n";

/// The head of an event stream: nobody on its way keeps it, or holds it back.
pub(super) fn head() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache, no-transform"))
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// Streams a turn. Frames that are ready together leave in one piece.
pub(super) fn respond(app: &App, reply: Reply) -> HttpResponse {
    let mut response = head();
    if let Some(id) = reply.conversation_id {
        response.insert_header(("X-Conversation-ID", id.to_string()));
    }
    if let Some(id) = reply.turn_id {
        response.insert_header(("X-Turn-ID", id.to_string()));
    }
    response.streaming(Open {
        reader: reply.reader,
        silence: Timer::new(Instant::now() + SILENCE),
        begun: false,
        _counted: app.metrics.open_stream(),
    })
}

/// A stream on its way to a client.
struct Open<C> {
    reader: Reader,
    silence: Timer,
    begun: bool,
    _counted: C,
}

impl<C: Unpin> Stream for Open<C> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let bytes = match self.reader.poll_next_unpin(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(frames)) if self.begun => frames,
            Poll::Ready(Some(frames)) => {
                self.begun = true;
                [RETRY, &frames].concat().into()
            }
            Poll::Pending => {
                ready!(self.silence.poll_ring(cx));
                Bytes::from_static(COMMENT)
            }
        };
        self.silence.put_off(Instant::now() + SILENCE);
        Poll::Ready(Some(Ok(bytes)))
    }
}
