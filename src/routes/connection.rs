//! A request on its connection: what the connection is doing is noted, since it is closed when it does nothing and
//! there are too many ([`crate::connections`]).
//!
//! Whoever is refused while they still send learns why: what is left of their body is read before the answer
//! leaves. A connection that is closed on what was not read is reset, and the answer with it. Who goes on sending
//! for longer is not read to the end.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::{
    Error as ActixError, HttpMessage, ResponseError as _,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{
        ConnectionType,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
    middleware::Next,
    web::{Bytes, Data},
};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use super::caller::caller;
use crate::{
    app::App,
    auth::User,
    connections::{self, Connection, Streaming},
    devices::Device,
    error::{Code, Error},
};

/// How much of a body is read that is refused, and for how long.
const MAX_DRAINED_BYTES: usize = 4 * 1024 * 1024;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of an answer leaves at once.
const PIECE_BYTES: usize = 32 * 1024;

/// What is served when there are too many connections: who asks how the server is, and who comes back to an answer.
const SERVED_FROM_THE_RESERVE: [&str; 5] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/chat/stream/",
    "/messages/stream/",
];

/// A response that is a stream says with this what it is: the answer to a message, or one that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Streams {
    Answer,
    Standing,
}

/// A response that is written while it is read says with this how many bytes of it are held meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holds(pub usize);

/// Follows a request from its arrival to the end of its answer.
pub(crate) async fn follow(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Answer>, ActixError> {
    let app = request.app_data::<Data<App>>().cloned();
    let app = app.ok_or_else(|| Error::new(Code::Internal))?;
    let connection = request.request().conn_data::<Arc<Connection>>().cloned();
    let address = caller(&app, request.request());
    let body = has_body(&request).then(|| {
        Body(Rc::new(RefCell::new(Arriving {
            payload: request.take_payload(),
            bytes: app.connections.under_way.begin(address),
            connection: connection.clone(),
            is_over: false,
        })))
    });
    match (&body, &connection) {
        (Some(body), _) => request.set_payload(Payload::Stream {
            payload: Box::pin(body.clone()),
        }),
        (None, Some(connection)) => connection.is_answering(),
        (None, None) => {}
    }
    let is_refused = connection.as_ref().is_some_and(|it| it.is_in_reserve())
        && !is_served_from_the_reserve(request.path());
    let mut response = match is_refused {
        true => {
            let mut refused = request.into_response(busy().error_response());
            let head = refused.response_mut().head_mut();
            head.set_connection_type(ConnectionType::Close);
            refused
        }
        false => next.call(request).await?.map_into_boxed_body(),
    };
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    if let Some(body) = body.as_ref().filter(|_| is_error) {
        drop(timeout(DRAIN_TIMEOUT, body.clone().rest()).await);
    }
    let mut bytes = app.connections.under_way.begin(address);
    if !bytes.add(held(&response)) {
        response = response.into_response(busy().error_response());
    }
    let streaming = connection.as_ref().and_then(|connection| {
        connection.is_answering();
        streaming(&app, &response, connection)
    });
    Ok(response.map_body(|_, sent| Answer {
        sent: Sent::from(sent),
        // Actix reads a body that nobody has to its end, be it endless: this one has somebody.
        _body: body.filter(|body| !body.is_over()),
        _bytes: bytes,
        _streaming: streaming,
        connection,
    }))
}

fn has_body(request: &ServiceRequest) -> bool {
    let length = request.headers().get(CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || request.headers().contains_key(TRANSFER_ENCODING)
}

fn busy() -> Error {
    Error::new(Code::Unavailable).detail("Too much is going on. Try again in a moment.")
}

/// How many bytes of a response are held until it is read. Small ones are not counted: whoever is refused is told.
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
        .any(|served| path.contains(served))
}

/// Notes whose stream a response is, if it is one.
fn streaming(
    app: &App,
    response: &ServiceResponse<BoxBody>,
    connection: &Arc<Connection>,
) -> Option<Streaming> {
    let streams = *response.response().extensions().get::<Streams>()?;
    if streams == Streams::Standing {
        connection.is_standing();
    }
    let request = response.request();
    let extensions = request.extensions();
    let user = extensions.get::<User>().map(|user| &user.id);
    let whose = user.or_else(|| extensions.get::<Device>().map(|device| &device.id))?;
    // The address of a connection that is no proxy's is known since it was opened.
    let peer = request.peer_addr()?.ip();
    let address = caller(app, request).filter(|_| app.limits.trusts(peer));
    let address = address.filter(|address| !app.limits.trusts(*address));
    Some(app.connections.stream(connection, whose.clone(), address))
}

/// An answer on its way.
pub(crate) struct Answer {
    sent: Sent,
    _body: Option<Body>,
    _bytes: connections::Bytes,
    _streaming: Option<Streaming>,
    connection: Option<Arc<Connection>>,
}

/// What is sent: what is there leaves in pieces, so that this lives until the last of it does.
enum Sent {
    Whole(Bytes),
    Stream(BoxBody),
}

impl From<BoxBody> for Sent {
    fn from(body: BoxBody) -> Self {
        match body.size() {
            // Not the same as a length of 0: a 204 has no length.
            BodySize::None => Self::Stream(body),
            _ => body.try_into_bytes().map_or_else(Self::Stream, Self::Whole),
        }
    }
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        match &self.sent {
            Sent::Whole(bytes) => bytes.size(),
            Sent::Stream(body) => body.size(),
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = match &mut self.sent {
            Sent::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Sent::Whole(bytes) => {
                let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
                Poll::Ready(Some(Ok(piece)))
            }
            Sent::Stream(body) => Pin::new(body).poll_next(cx),
        };
        match &self.connection {
            // A stream that cannot go on is aborted, so that nobody takes it for whole. Actix would call it a
            // fault of the server's.
            Some(connection) if matches!(piece, Poll::Ready(Some(Err(_)))) => {
                connection.close();
                Poll::Pending
            }
            _ => piece,
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.is_idle();
        }
    }
}

/// A body that the handler reads, or else this.
#[derive(Clone)]
struct Body(Rc<RefCell<Arriving>>);

struct Arriving {
    payload: Payload,
    bytes: connections::Bytes,
    connection: Option<Arc<Connection>>,
    is_over: bool,
}

impl Body {
    async fn rest(mut self) {
        let mut left = MAX_DRAINED_BYTES;
        while let Some(Ok(piece)) = self.next().await {
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

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut arriving = self.0.borrow_mut();
        let piece = Pin::new(&mut arriving.payload).poll_next(cx);
        if let Poll::Ready(Some(Ok(piece))) = &piece
            && !arriving.bytes.add(piece.len())
        {
            return Poll::Ready(Some(Err(PayloadError::Overflow)));
        }
        if let Poll::Ready(None | Some(Err(_))) = piece {
            arriving.is_over = true;
            if let Some(connection) = &arriving.connection {
                connection.is_answering();
            }
        }
        piece
    }
}
