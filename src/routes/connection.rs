//! The middleware of every request: it records what the connection is doing, which decides whether the connection is
//! closed when there are too many ([`crate::connections`]), and counts the bytes that are held for its client.
//!
//! Closing a connection with unread data resets it, and the response is lost. So the rest of a refused body is read
//! before the response is sent, up to [`MAX_DRAINED_BYTES`] and [`DRAIN_TIMEOUT`].

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{
    Error as ActixError, HttpMessage, ResponseError as _,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        ConnectionType, Method, StatusCode,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
    middleware::Next,
    web::{Bytes, Data},
};
use futures_util::Stream;
use tokio::time::timeout;

use super::caller::caller;
use crate::{
    app::App,
    auth::User,
    connections::{self, Connection, Streaming},
    devices::Device,
    error::{Code, Error},
};

/// How many more bytes of a refused body are read, and for how long.
const MAX_DRAINED_BYTES: usize = 4 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum bytes of a response that are sent at once.
const PIECE_BYTES: usize = 32 * 1024;

/// Paths that are served even when there are too many connections: health checks, and resumed answers.
const SERVED_FROM_THE_RESERVE: [&str; 6] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/chat/stream/",
    "/api/v1/chat/messages/stream/",
    "/v1/chat/messages/stream/",
];

/// A response extension that marks a stream: the answer to a message, or a standing stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    Answer,
    Standing,
}

/// A response extension of streams: how many bytes are held in memory until the client has read them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds(pub usize);

/// Refuses a request, and closes its connection after the response.
fn refused(request: ServiceRequest) -> ServiceResponse {
    let mut refused = request.into_response(busy().error_response());
    let head = refused.response_mut().head_mut();
    head.set_connection_type(ConnectionType::Close);
    refused
}

/// The middleware. Follows a request from its arrival to the end of its response.
pub(crate) async fn follow(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<OutgoingBody>, ActixError> {
    let app = request.app_data::<Data<App>>().cloned();
    let app = app.ok_or_else(|| Error::new(Code::Internal))?;
    let connection = request.request().conn_data::<Arc<Connection>>().cloned();
    let address = caller(&app, request.request());
    let body = has_body(&request).then(|| {
        let bytes = app.connections.arriving.begin(address);
        IncomingBody::of(&mut request, bytes, connection.as_ref())
    });
    match &connection {
        Some(connection) if body.is_some() => connection.is_taking(),
        Some(connection) => connection.is_answering(),
        None => {}
    }
    let only_reads = request.method() == Method::GET;
    let is_refused = connection.as_ref().is_some_and(|it| it.is_in_reserve())
        && !is_served_from_the_reserve(request.path());
    let mut response = match is_refused {
        true => refused(request),
        false => next.call(request).await?.map_into_boxed_body(),
    };
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if let Some(body) = body.as_ref().filter(|_| is_error) {
        drop(timeout(DRAIN_TIMEOUT, body.clone().rest()).await);
    }
    let mut bytes = app.connections.leaving.begin(address);
    let held = held(&response);
    if !bytes.add(held) {
        match only_reads {
            true => response = response.into_response(busy().error_response()),
            // The request has changed something, so the client has to learn the outcome.
            false => bytes.take(held),
        }
    }
    let streaming = connection.as_ref().and_then(|connection| {
        if body.as_ref().is_none_or(IncomingBody::is_over) {
            connection.is_answering();
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            connection.becomes_socket();
        }
        streaming(&app, &response, connection)
    });
    let is_standing = streams(&response) == Some(Streams::Standing);
    Ok(response.map_body(|_, sent| OutgoingBody {
        sent: BodyToSend::from(sent),
        // If an unread body is dropped, actix reads it to its end, however long it is. If it is kept, actix closes the
        // connection after the response.
        _body: body.filter(|body| !body.is_over()),
        _bytes: bytes,
        _streaming: streaming,
        is_standing,
        connection,
    }))
}

fn has_body(request: &ServiceRequest) -> bool {
    let length = request.headers().get(CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || request.headers().contains_key(TRANSFER_ENCODING)
}

fn busy() -> Error {
    Error::new(Code::Unavailable).detail("The server is busy. Try again in a moment.")
}

/// How many bytes of a response are held until the client has read it. Small responses count as 0, so that an error
/// can always be sent.
fn held(response: &ServiceResponse<BoxBody>) -> usize {
    let whole = match response.response().body().size() {
        BodySize::Sized(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        BodySize::None | BodySize::Stream => 0,
    };
    let extensions = response.response().extensions();
    let streamed = extensions.get::<Holds>().map_or(0, |holds| holds.0);
    match whole.max(streamed) {
        small if small <= PIECE_BYTES => 0,
        held => held,
    }
}

fn is_served_from_the_reserve(path: &str) -> bool {
    SERVED_FROM_THE_RESERVE
        .iter()
        .any(|served| path.starts_with(served))
}

fn streams(response: &ServiceResponse<BoxBody>) -> Option<Streams> {
    response.response().extensions().get().copied()
}

/// Registers a stream under its device or user; `None` if the response is not a stream.
fn streaming(
    app: &App,
    response: &ServiceResponse<BoxBody>,
    connection: &Arc<Connection>,
) -> Option<Streaming> {
    if streams(response)? == Streams::Standing {
        connection.is_standing();
    }
    let request = response.request();
    let extensions = request.extensions();
    let user = extensions.get::<User>().map(|user| &user.id);
    let whose = user.or_else(|| extensions.get::<Device>().map(|device| &device.id))?;
    // Only behind a trusted proxy: any other connection was counted for its address when it was opened.
    let peer = request.peer_addr()?.ip();
    let address = caller(app, request).filter(|_| app.limits.trusts(peer));
    let address = address.filter(|address| !app.limits.trusts(*address));
    Some(app.connections.stream(connection, whose.clone(), address))
}

/// A response body that is being sent.
pub(crate) struct OutgoingBody {
    sent: BodyToSend,
    _body: Option<IncomingBody>,
    _bytes: connections::Bytes,
    _streaming: Option<Streaming>,
    is_standing: bool,
    connection: Option<Arc<Connection>>,
}

/// What is sent. A whole body is sent in pieces, so that [`OutgoingBody`] lives until the last one is sent.
enum BodyToSend {
    Whole(Bytes),
    Stream(BoxBody),
}

impl From<BoxBody> for BodyToSend {
    fn from(body: BoxBody) -> Self {
        match body.size() {
            // Not the same as a length of 0: a 204 has no `Content-Length`.
            BodySize::None => Self::Stream(body),
            _ => body.try_into_bytes().map_or_else(Self::Stream, Self::Whole),
        }
    }
}

impl MessageBody for OutgoingBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.sent {
            BodyToSend::Whole(bytes) => bytes.size(),
            BodyToSend::Stream(body) => body.size(),
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = match &mut self.sent {
            BodyToSend::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            BodyToSend::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                Poll::Ready(Some(Ok(piece)))
            }
            BodyToSend::Stream(body) => Pin::new(body).poll_next(cx),
        };
        match &self.connection {
            // A failed stream is aborted, so that no client takes it for complete. The error is not passed on,
            // because actix would report it as an error of the server.
            Some(connection) if matches!(piece, Poll::Ready(Some(Err(_)))) => {
                connection.close();
                Poll::Pending
            }
            // An event was sent: this is no longer the stream that has been silent the longest.
            Some(connection) if self.is_standing && says_something(&piece) => {
                connection.is_standing();
                piece
            }
            _ => piece,
        }
    }
}

/// Whether a piece of an event stream is more than a comment, which only shows that the stream is alive.
fn says_something(piece: &Poll<Option<Result<Bytes, Box<dyn std::error::Error>>>>) -> bool {
    matches!(piece, Poll::Ready(Some(Ok(piece))) if !piece.starts_with(b":"))
}

impl Drop for OutgoingBody {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.is_idle();
        }
    }
}

/// A request body, read by the handler; what the handler leaves is read by [`IncomingBody::rest`].
#[derive(Clone)]
struct IncomingBody(Rc<RefCell<Arriving>>);

impl IncomingBody {
    /// Wraps the request's body, to count its bytes and to record what the connection waits for.
    fn of(
        request: &mut ServiceRequest,
        bytes: connections::Bytes,
        connection: Option<&Arc<Connection>>,
    ) -> Self {
        let body = Self(Rc::new(RefCell::new(Arriving {
            payload: request.take_payload(),
            bytes,
            length: 0,
            connection: connection.cloned(),
            is_over: false,
        })));
        let payload = Box::pin(body.clone());
        request.set_payload(Payload::Stream { payload });
        body
    }
}

struct Arriving {
    payload: Payload,
    bytes: connections::Bytes,
    /// How many bytes have arrived.
    length: usize,
    connection: Option<Arc<Connection>>,
    is_over: bool,
}

impl Arriving {
    /// The next piece. Records what the connection waits for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        let piece = Pin::new(&mut self.payload).poll_next(cx);
        self.is_over = matches!(piece, Poll::Ready(None | Some(Err(_))));
        match &self.connection {
            Some(connection) if piece.is_pending() => connection.is_arriving(),
            Some(connection) if self.is_over => connection.is_answering(),
            _ => {}
        }
        piece
    }

    /// Counts a piece; `false` if memory is full. The first [`PIECE_BYTES`] of a body are not counted.
    fn keep(&mut self, piece: &Bytes) -> bool {
        let before = self.length.max(PIECE_BYTES);
        self.length += piece.len();
        self.bytes.add(self.length.saturating_sub(before))
    }
}

impl IncomingBody {
    /// Reads and discards the rest of the body, up to [`MAX_DRAINED_BYTES`].
    async fn rest(self) {
        let mut left = MAX_DRAINED_BYTES;
        while let Some(Ok(piece)) = poll_fn(|cx| self.0.borrow_mut().poll(cx)).await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.0.borrow().is_over
    }
}

impl Stream for IncomingBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut arriving = self.0.borrow_mut();
        match ready!(arriving.poll(cx)) {
            Some(Ok(piece)) if !arriving.keep(&piece) => {
                Poll::Ready(Some(Err(PayloadError::Overflow)))
            }
            piece => Poll::Ready(piece),
        }
    }
}
