//! The events of a model's answer (WHATWG HTML §9.2), as hostile as the network makes them.
//!
//! In front of the parser stand the timer for bytes, a cap on an event's size, and the mending
//! of invalid UTF-8, over which the parser would stop; behind the last byte a blank line, so
//! that an event without one counts.

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

/// The longest event that is taken.
const EVENT_BYTES: usize = 8 * 1024 * 1024;

/// How long an answer that is complete waits for what it has cost.
const USAGE_TIMEOUT: Duration = Duration::from_millis(200);

/// The data of each event.
pub(crate) struct Events {
    parsed: SseByteStream<ByteFeed>,
    pending: Arc<AtomicUsize>,
}

/// What a server sent under a successful status.
pub(crate) enum ResponseBody {
    /// An event stream.
    Events(Box<Events>),
    /// JSON in one piece, from a server that does not stream.
    Json(String),
}

/// Reads a response by its first character, whatever its type says: servers and the proxies
/// before them name it wrongly.
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

/// Bytes with the timer, the cap, valid UTF-8 and a blank line at their end.
pub(super) struct ByteFeed {
    bytes: Option<stream::BoxStream<'static, Result<Bytes, LlmError>>>,
    idle: Duration,
    timer: Timer,
    /// The beginning of a character whose end is in the next packet.
    begun: Vec<u8>,
    /// What was read to look at it.
    again: Option<Bytes>,
    /// How much came since the last event; the reader of events sets it back.
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

/// Bytes that are whole valid characters; what cannot be one becomes U+FFFD.
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
    /// Fields of the body that a server may refuse.
    pub optional: &'static [&'static str],
    /// The body. The closure says which optional fields may be in it.
    pub body: fn(&Model, &Request, &dyn Fn(&'static str) -> bool) -> Value,
    /// An event's data; none for a keep-alive.
    pub event: fn(&str) -> Result<Option<Chunk>, LlmError>,
    /// An answer in one piece.
    pub whole: fn(&str) -> Result<Chunk, LlmError>,
    /// Whether what the answer has cost comes after its finish reason.
    pub usage_follows: bool,
}

/// Events as chunks, up to the one with the finish reason, which waits a moment for what the answer has
/// cost where that comes after it. What comes then is only read so that the connection can be used again.
pub(super) struct Reading {
    events: Option<Events>,
    format: Format,
    /// The chunk with the finish reason, and how long it waits.
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

    /// Reads no more of it.
    fn leave(&mut self) {
        if let Some(events) = self.events.take() {
            drain(events);
        }
    }

    /// The next event that says something.
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

    /// The last chunk, once it is known what the answer has cost or is not said soon.
    fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, LlmError>>> {
        let next = self.poll_chunk(cx);
        let Some((last, patience)) = &mut self.last else {
            return Poll::Ready(None);
        };
        let is_late = patience.as_mut().poll(cx).is_ready();
        match next {
            Poll::Ready(Some(Ok(chunk))) if chunk.usage.is_some() => last.usage = chunk.usage,
            // Anything else is the end, or nothing that counts after it.
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
