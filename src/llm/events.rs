//! Server-sent events of a model's answer (WHATWG HTML §9.2), protected against bad servers and networks.
//!
//! Before the parser come the timeout between bytes, a limit on an event's size, and the replacement of
//! invalid UTF-8, at which the parser would stop. A blank line is added after the last byte, so that a
//! last event without one counts.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use reqwest::Response;
use serde_json::Value;
use sse_stream::SseByteStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::{Chunk, Failure, LlmError, Model, Request};
use crate::clock::Timer;

/// Maximum size of an event, or of an answer that is not streamed, in bytes.
const EVENT_BYTES: usize = 8 * 1024 * 1024;

/// How long a complete answer waits for its token usage.
const USAGE_TIMEOUT: Duration = Duration::from_millis(200);

/// A stream of the events' data.
pub(crate) struct Events {
    parsed: SseByteStream<ByteFeed>,
    pending: Arc<AtomicUsize>,
}

/// The body of a successful response.
pub(crate) enum ResponseBody {
    /// An event stream.
    Events(Box<Events>),
    /// JSON in one piece, from a server that does not stream.
    Json(String),
}

/// Tells JSON from events by the first character. `Content-Type` is ignored: servers and proxies
/// set it wrongly.
pub(crate) async fn body(response: Response, idle: Duration) -> Result<ResponseBody, LlmError> {
    let bytes = response.bytes_stream().map_err(|error| {
        let kind = if error.is_timeout() {
            Failure::Timeout
        } else {
            Failure::Cut
        };
        LlmError::new(kind, error.without_url())
    });
    let mut feed = ByteFeed::new(bytes.boxed(), idle);
    let mut begun = Vec::new();
    let first = loop {
        match feed.next().await.transpose()? {
            Some(more) => begun.extend_from_slice(&more),
            None => break None,
        }
        let text = begun.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&begun);
        if let Some(first) = text.trim_ascii_start().first() {
            break Some(*first);
        }
    };
    feed.again = Some(Bytes::from(begun));
    match first {
        Some(b'<') => Err(LlmError::new(
            Failure::Unreadable,
            "a page instead of an answer",
        )),
        Some(b'{' | b'[') => {
            let append = |mut all: Vec<u8>, bytes: Bytes| async move {
                all.extend_from_slice(&bytes);
                Ok(all)
            };
            let text = feed.try_fold(Vec::new(), append).await?;
            Ok(ResponseBody::Json(
                String::from_utf8_lossy(&text).into_owned(),
            ))
        }
        _ => Ok(ResponseBody::Events(Box::new(feed.events()))),
    }
}

/// A response's bytes with timeout and size limit, as valid UTF-8, with a blank line at the end.
pub(super) struct ByteFeed {
    bytes: Option<stream::BoxStream<'static, Result<Bytes, LlmError>>>,
    idle: Duration,
    timer: Timer,
    /// The beginning of a character whose end is in the next packet.
    begun: Vec<u8>,
    /// Bytes that were read to find the first character; they are yielded again.
    again: Option<Bytes>,
    /// Bytes since the last event; [`Events`] resets it.
    pending: Arc<AtomicUsize>,
}

impl ByteFeed {
    pub(super) fn new(
        bytes: stream::BoxStream<'static, Result<Bytes, LlmError>>,
        idle: Duration,
    ) -> Self {
        Self {
            bytes: Some(bytes),
            idle,
            timer: Timer::new(Instant::now() + idle),
            begun: Vec::new(),
            again: None,
            pending: Arc::default(),
        }
    }

    pub(super) fn events(self) -> Events {
        Events {
            pending: Arc::clone(&self.pending),
            parsed: SseByteStream::new(self),
        }
    }

    fn checked(&mut self, bytes: Bytes) -> Result<Bytes, LlmError> {
        self.timer.put_off(Instant::now() + self.idle);
        let size = self.pending.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        match size > EVENT_BYTES {
            true => Err(LlmError::new(Failure::Unreadable, "an event is too large")),
            false => Ok(mend_utf8(&mut self.begun, bytes)),
        }
    }
}

impl Stream for ByteFeed {
    type Item = Result<Bytes, LlmError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(again) = self.again.take() {
            return Poll::Ready(Some(Ok(again)));
        }
        let Some(bytes) = &mut self.bytes else {
            return Poll::Ready(None);
        };
        let next = match bytes.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(bytes))) => self.checked(bytes),
            Poll::Ready(Some(Err(error))) => Err(error),
            Poll::Ready(None) => {
                self.bytes = None;
                let end = if self.begun.is_empty() {
                    "\n\n"
                } else {
                    "\u{FFFD}\n\n"
                };
                Ok(Bytes::from_static(end.as_bytes()))
            }
            Poll::Pending => {
                ready!(self.timer.poll_ring(cx));
                Err(LlmError::new(Failure::Timeout, "no byte for too long"))
            }
        };
        if next.is_err() {
            self.bytes = None;
        }
        Poll::Ready(Some(next))
    }
}

impl Stream for Events {
    type Item = Result<String, LlmError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while let Some(event) = ready!(self.parsed.poll_next_unpin(cx)) {
            self.pending.store(0, Ordering::Relaxed);
            let data = match event {
                Ok(event) => event.data.filter(|data| !data.trim().is_empty()).map(Ok),
                Err(sse_stream::Error::Body(error)) => {
                    Some(Err(match error.downcast::<LlmError>() {
                        Ok(error) => *error,
                        Err(error) => LlmError::new(Failure::Cut, error),
                    }))
                }
                Err(error) => Some(Err(LlmError::new(Failure::Unreadable, error))),
            };
            if data.is_some() {
                return Poll::Ready(data);
            }
        }
        Poll::Ready(None)
    }
}

/// Replaces invalid UTF-8 by U+FFFD. An incomplete character at the end is kept in `begun`.
fn mend_utf8(begun: &mut Vec<u8>, bytes: Bytes) -> Bytes {
    if begun.is_empty() && std::str::from_utf8(&bytes).is_ok() {
        return bytes;
    }
    let mut all = std::mem::take(begun);
    all.extend_from_slice(&bytes);
    let mut mended = Vec::with_capacity(all.len());
    let mut chunks = all.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        mended.extend_from_slice(chunk.valid().as_bytes());
        let invalid = chunk.invalid();
        let at_end = chunks.peek().is_none();
        let incomplete =
            std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if at_end && incomplete {
            *begun = invalid.to_vec();
        } else if !invalid.is_empty() {
            mended.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    mended.into()
}

/// What differs between the vendors' wire formats.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Optional fields of the body, which a server may refuse.
    pub optional: &'static [&'static str],
    /// Builds the body. The closure tells which optional fields are allowed.
    pub body: fn(&Model, &Request, &dyn Fn(&'static str) -> bool) -> Value,
    /// Parses an event's data; `None` for a keep-alive.
    pub event: fn(&str) -> Result<Option<Chunk>, LlmError>,
    /// Parses an answer that is not streamed.
    pub whole: fn(&str) -> Result<Chunk, LlmError>,
    /// Whether the token usage comes after the finish reason.
    pub usage_follows: bool,
}

/// Events as chunks, up to the one with the finish reason. If the token usage follows it, that chunk waits up
/// to [`USAGE_TIMEOUT`] for it. Later events are only read so that the connection can be reused.
pub(super) struct Reading {
    events: Option<Events>,
    format: Format,
    /// The chunk with the finish reason, and the timer that bounds its wait for the token usage.
    last: Option<(Chunk, Pin<Box<Sleep>>)>,
}

impl Reading {
    pub(super) fn new(events: Events, format: Format) -> Self {
        Self {
            events: Some(events),
            format,
            last: None,
        }
    }

    /// Ends the stream; the remaining events are read in the background.
    fn leave(&mut self) {
        if let Some(events) = self.events.take() {
            drain(events);
        }
    }

    /// The next chunk; keep-alives are skipped.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, LlmError>>> {
        let Some(events) = &mut self.events else {
            return Poll::Ready(None);
        };
        loop {
            match ready!(events.poll_next_unpin(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(data)) => {
                    if let Some(chunk) = (self.format.event)(&data).transpose() {
                        return Poll::Ready(Some(chunk));
                    }
                }
            }
        }
    }

    /// The last chunk, once the token usage has arrived or the wait for it is over.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, LlmError>>> {
        let next = self.poll_chunk(cx);
        let Some((last, patience)) = &mut self.last else {
            return Poll::Ready(None);
        };
        let is_late = patience.as_mut().poll(cx).is_ready();
        match next {
            Poll::Ready(Some(Ok(chunk))) if chunk.usage.is_some() => last.usage = chunk.usage,
            // The end, an error, or an event without usage: the wait is over.
            Poll::Ready(_) => {}
            Poll::Pending if is_late => {}
            Poll::Pending => return Poll::Pending,
        }
        self.leave();
        Poll::Ready(self.last.take().map(|(last, _)| Ok(last)))
    }
}

impl Stream for Reading {
    type Item = Result<Chunk, LlmError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.last.is_some() {
            return self.poll_last(cx);
        }
        if self.events.is_none() {
            return Poll::Ready(None);
        }
        let chunk = ready!(self.poll_chunk(cx)).unwrap_or_else(|| {
            let cut = "the stream ended without a finish reason";
            Err(LlmError::new(Failure::Cut, cut))
        });
        match chunk {
            Ok(last) if last.finish.is_some() => {
                if self.format.usage_follows && last.usage.is_none() {
                    self.last = Some((last, Box::pin(sleep(USAGE_TIMEOUT))));
                    return self.poll_last(cx);
                }
                self.leave();
                Poll::Ready(Some(Ok(last)))
            }
            Ok(chunk) => Poll::Ready(Some(Ok(chunk))),
            Err(error) => {
                self.events = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

fn drain(events: Events) {
    let drained = events.for_each(|_| std::future::ready(()));
    tokio::runtime::Handle::current().spawn(timeout(Duration::from_secs(2), drained));
}
