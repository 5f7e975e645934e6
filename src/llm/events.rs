//! The events of a model's answer (WHATWG HTML §9.2), as hostile as the network makes them.
//!
//! In front of the parser stand the timer for bytes, a cap on an event's size, and the mending
//! of invalid UTF-8, over which the parser would stop; behind the last byte a blank line, so
//! that an event without one counts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use reqwest::Response;
use sse_stream::SseByteStream;
use tokio::time::timeout;

use super::{Chunk, Chunks, Failure, LlmError};

/// The longest event that is taken.
const EVENT_BYTES: usize = 8 * 1024 * 1024;

/// The data of each event.
pub(super) type Events = stream::BoxStream<'static, Result<String, LlmError>>;

/// What a server sent under a successful status.
pub(super) enum Body {
    /// An event stream.
    Events(Events),
    /// JSON in one piece, from a server that does not stream.
    Json(String),
}

/// Reads a response by its first character, whatever its type says: servers and the proxies
/// before them name it wrongly.
pub(super) async fn body(response: Response, idle: Duration) -> Result<Body, LlmError> {
    let bytes = response.bytes_stream().map_err(|error| {
        let kind = if error.is_timeout() {
            Failure::Timeout
        } else {
            Failure::Cut
        };
        LlmError::new(kind, error.without_url())
    });
    let mut bytes = Box::pin(feed(bytes, idle, Arc::default()));
    let mut begun = Vec::new();
    let first = loop {
        match bytes.next().await.transpose()? {
            Some(more) => begun.extend_from_slice(&more),
            None => return Ok(Body::Events(events(stream::iter([Ok(begun.into())]), idle))),
        }
        let text = begun.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&begun);
        if let Some(first) = text.trim_ascii_start().first() {
            break *first;
        }
    };
    let all = stream::iter([Ok(Bytes::from(begun))]).chain(bytes);
    match first {
        b'<' => Err(LlmError::new(
            Failure::Unreadable,
            "a page instead of an answer",
        )),
        b'{' | b'[' => {
            let append = |mut all: Vec<u8>, bytes: Bytes| async move {
                all.extend_from_slice(&bytes);
                Ok(all)
            };
            let text = all.try_fold(Vec::new(), append).await?;
            Ok(Body::Json(String::from_utf8_lossy(&text).into_owned()))
        }
        _ => Ok(Body::Events(events(all.boxed(), idle))),
    }
}

/// The data of each event in a stream of bytes.
pub(super) fn events(
    bytes: impl Stream<Item = Result<Bytes, LlmError>> + Send + Unpin + 'static,
    idle: Duration,
) -> Events {
    let pending = Arc::new(AtomicUsize::new(0));
    let end = stream::once(async { Ok(Bytes::from_static(b"\n\n")) });
    let parsed = SseByteStream::new(Box::pin(feed(bytes, idle, Arc::clone(&pending)).chain(end)));
    let data = parsed.filter_map(move |event| {
        pending.store(0, Ordering::Relaxed);
        let data = match event {
            Ok(event) => event.data.filter(|data| !data.trim().is_empty()).map(Ok),
            Err(sse_stream::Error::Body(error)) => Some(Err(match error.downcast::<LlmError>() {
                Ok(error) => *error,
                Err(error) => LlmError::new(Failure::Cut, error),
            })),
            Err(error) => Some(Err(LlmError::new(Failure::Unreadable, error))),
        };
        std::future::ready(data)
    });
    Box::pin(data)
}

/// Bytes with the timer, the cap and valid UTF-8. `pending` counts what came since the last
/// event; the reader sets it back.
fn feed(
    bytes: impl Stream<Item = Result<Bytes, LlmError>> + Send + Unpin,
    idle: Duration,
    pending: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, LlmError>> + Send {
    struct Feed<S> {
        bytes: Option<S>,
        /// The beginning of a character whose end is in the next packet.
        begun: Vec<u8>,
    }
    let start = Feed {
        bytes: Some(bytes),
        begun: Vec::new(),
    };
    stream::unfold(start, move |mut feed| {
        let pending = Arc::clone(&pending);
        async move {
            let next = match timeout(idle, feed.bytes.as_mut()?.next()).await {
                Ok(Some(Ok(bytes))) => {
                    let size = pending.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
                    match size > EVENT_BYTES {
                        true => Err(LlmError::new(Failure::Unreadable, "an event is too large")),
                        false => Ok(mend_utf8(&mut feed.begun, bytes)),
                    }
                }
                Ok(Some(Err(error))) => Err(error),
                Ok(None) if feed.begun.is_empty() => return None,
                Ok(None) => {
                    feed.bytes = None;
                    Ok(Bytes::from_static("\u{FFFD}".as_bytes()))
                }
                Err(_) => Err(LlmError::new(Failure::Timeout, "no byte for too long")),
            };
            if next.is_err() {
                feed.bytes = None;
            }
            Some((next, feed))
        }
    })
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

/// Events into chunks, up to the one with the finish reason. What comes after that is only
/// read so that the connection can be used again.
pub(super) fn chunks(events: Events, parse: fn(&str) -> Result<Option<Chunk>, LlmError>) -> Chunks {
    stream::unfold(Some(events), move |events| async move {
        let mut events = events?;
        loop {
            let chunk = match events.next().await {
                None => Err(LlmError::new(
                    Failure::Cut,
                    "the stream ended without a finish reason",
                )),
                Some(Err(error)) => Err(error),
                Some(Ok(data)) => match parse(&data).transpose() {
                    Some(chunk) => chunk,
                    None => continue,
                },
            };
            return match &chunk {
                Ok(Chunk { finish: None, .. }) => Some((chunk, Some(events))),
                Ok(_) => {
                    drain(events);
                    Some((chunk, None))
                }
                Err(_) => Some((chunk, None)),
            };
        }
    })
    .boxed()
}

fn drain(events: Events) {
    let drained = events.for_each(|_| std::future::ready(()));
    tokio::runtime::Handle::current().spawn(timeout(Duration::from_secs(2), drained));
}
