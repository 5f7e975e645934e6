//! `GET /ws` (and `/stream`): turns over a WebSocket (RFC 6455), as JSON text frames.
//!
//! The token is checked before the handshake is answered. A frame has the members of an event's `data:`, plus
//! `conversation_id`, `turn_id` and `id`. A client that was cut off connects to any instance and sends `resume` with
//! the last `id` it has. Nothing here holds an answer: the turn's log is read only as fast as the client reads.

mod chat;
mod client;

use std::time::{Duration, Instant};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HOST, ORIGIN},
    rt,
    web::{Bytes, Data, Payload},
};
use actix_ws::{
    AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, MessageStream,
    ProtocolError, Session,
};
use tokio::time::{interval_at, timeout};

use super::connection::Streams;
use super::events::{Closing, closing};
use super::responses::{NotSignedIn, Refused};
use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
};
use chat::Chat;

/// Maximum bytes of one frame, and of a message made of several frames.
const FRAME_BYTES: usize = 64 * 1024;
/// How often the client is pinged. A client that sends nothing for twice as long counts as gone.
const PING: Duration = Duration::from_secs(20);
/// How long a ping, pong, close or error may wait for a client that does not read, until the connection is closed.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a WebSocket. After the handshake the connection runs as a task of its own.
#[utoipa::path(
    get, path = "/ws",
    operation_id = "ws_connect",
    tag = "messages",
    params(("token" = Option<String>, Query, description = "The bearer token, for clients that cannot send the header")),
    responses((status = 101, description = "The WebSocket is open"), Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn connect(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse> {
    check_origin(&app, &request)?;
    let (mut response, session, stream) = actix_ws::handle(&request, body).map_err(no_handshake)?;
    response.extensions_mut().insert(Streams::Standing);
    let closing = closing(&app, Some(user.until));
    let chat = Chat::new(app.clone(), user, session.clone(), request);
    begin(&app, session, stream, closing, chat);
    Ok(response)
}

/// `GET /ws/echo`: sends every message back, with the same loop as the chat. For protocol test suites; a 404
/// unless `server.ws_echo` is set.
pub(super) async fn echo(
    app: Data<App>,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse> {
    if !app.settings.server.ws_echo {
        return Err(Error::new(Code::NotFound));
    }
    let (mut response, session, stream) = actix_ws::handle(&request, body).map_err(no_handshake)?;
    response.extensions_mut().insert(Streams::Standing);
    let closing = closing(&app, None);
    begin(&app, session.clone(), stream, closing, Echo(session));
    Ok(response)
}

fn no_handshake(_: actix_web::Error) -> Error {
    Error::new(Code::InvalidBody).detail("A WebSocket handshake (RFC 6455) is needed.")
}

/// Starts the task that runs a connection.
fn begin(
    app: &App,
    session: Session,
    stream: MessageStream,
    closing: Closing,
    listener: impl Listener + 'static,
) {
    let stream = stream
        .max_frame_size(FRAME_BYTES)
        .aggregate_continuations()
        .max_continuation_size(FRAME_BYTES);
    let counted = app.metrics.open_stream();
    let link = Link {
        session,
        closing,
        listener,
        heard: Instant::now(),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a connection belongs to the worker that has its socket"
    )]
    rt::spawn(async move {
        let _counted = counted;
        link.run(stream).await;
    });
}

/// Accepts pages of this server's own origin and of `server.allowed_origins`. A client that is not a browser sends
/// no `Origin` and is accepted.
fn check_origin(app: &App, request: &HttpRequest) -> Result<()> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap_or("?"))
    };
    let Some(origin) = header(ORIGIN) else {
        return Ok(());
    };
    let is_own = origin.split_once("://").map(|(_, host)| host) == header(HOST);
    let allowed = &app.settings.server.allowed_origins;
    match is_own || allowed.iter().any(|allowed| allowed == origin) {
        true => Ok(()),
        false => Err(Error::new(Code::Forbidden).detail("Pages of this origin may not connect.")),
    }
}

/// A message from the client.
enum ClientMessage<'a> {
    Text(&'a str),
    Binary(Bytes),
}

/// What runs behind a connection: the chat, or the echo.
trait Listener {
    /// Sends the first message to the client.
    async fn welcome(&mut self) -> std::result::Result<(), CloseCause>;

    /// Handles a message. An error closes the connection.
    async fn hear(&mut self, said: ClientMessage<'_>) -> std::result::Result<(), CloseCause>;

    /// Does pending work. Must be cancel-safe: the future may be dropped at any time, and `work` is called again.
    async fn work(&mut self);
}

/// Sends every message back.
struct Echo(Session);

impl Listener for Echo {
    async fn welcome(&mut self) -> std::result::Result<(), CloseCause> {
        Ok(())
    }

    async fn hear(&mut self, said: ClientMessage<'_>) -> std::result::Result<(), CloseCause> {
        let said = match said {
            ClientMessage::Text(said) => self.0.text(said).await,
            ClientMessage::Binary(said) => self.0.binary(said).await,
        };
        said.map_err(|_| None)
    }

    async fn work(&mut self) {
        std::future::pending().await
    }
}

/// An open connection.
struct Link<L> {
    session: Session,
    closing: Closing,
    listener: L,
    heard: Instant,
}

/// What the close frame says, if anything.
type CloseCause = Option<CloseReason>;

impl<L: Listener> Link<L> {
    async fn run(mut self, mut stream: AggregatedMessageStream) {
        let session = self.session.clone();
        if self.listener.welcome().await.is_err() {
            return;
        }
        let end = self.listen(&mut stream).await;
        // Dropped first, so that nothing is sent after the close frame.
        drop(self);
        drop(timeout(SEND_TIMEOUT, session.close(end)).await);
    }

    async fn listen(&mut self, stream: &mut AggregatedMessageStream) -> CloseCause {
        let mut pings = interval_at((Instant::now() + PING).into(), PING);
        loop {
            tokio::select! {
                said = stream.recv() => {
                    self.heard = Instant::now();
                    let said = match said? {
                        Ok(said) => said,
                        Err(error) => return Some(fault(&error)),
                    };
                    if let Err(end) = self.hear(said).await {
                        return end;
                    }
                }
                () = self.listener.work() => {}
                _ = pings.tick() => {
                    let mut session = self.session.clone();
                    let is_silent = self.heard.elapsed() > 2 * PING;
                    if is_silent || timeout(SEND_TIMEOUT, session.ping(b"")).await.is_err() {
                        return Some(CloseCode::Away.into());
                    }
                }
                () = &mut self.closing => return Some(CloseCode::Away.into()),
            }
        }
    }

    async fn hear(&mut self, said: AggregatedMessage) -> std::result::Result<(), CloseCause> {
        let mut session = self.session.clone();
        match said {
            AggregatedMessage::Text(said) => self.listener.hear(ClientMessage::Text(&said)).await,
            AggregatedMessage::Binary(said) => {
                self.listener.hear(ClientMessage::Binary(said)).await
            }
            AggregatedMessage::Ping(said) => {
                let answered = timeout(SEND_TIMEOUT, session.pong(&said)).await;
                answered.map(drop).map_err(|_| Some(CloseCode::Away.into()))
            }
            AggregatedMessage::Pong(_) => Ok(()),
            // RFC 6455 §5.5.1: a close frame is answered with the same one.
            AggregatedMessage::Close(reason) => Err(reason),
        }
    }
}

/// The close code for a client's protocol error.
fn fault(error: &ProtocolError) -> CloseReason {
    match error {
        ProtocolError::Overflow => CloseCode::Size.into(),
        // The library has no separate error for reserved bits yet, so the text decides.
        ProtocolError::Io(error) if error.to_string().contains("reserved bits") => {
            CloseCode::Protocol.into()
        }
        ProtocolError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            CloseCode::Invalid.into()
        }
        ProtocolError::Io(_) => CloseCode::Size.into(),
        _ => CloseCode::Protocol.into(),
    }
}
