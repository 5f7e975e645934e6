//! `GET /ws` (and `/stream`): the same turns over a WebSocket (RFC 6455), as JSON text frames.
//!
//! Whoever connects is signed in before the handshake is answered. A frame has the members that it has as
//! an event's `data:`, and with them `conversation_id`, `turn_id` and `id`: a client that was cut off
//! connects anew, anywhere, and says `resume` with the last `id` that it has. Nothing here holds an answer: it
//! reads the turn's log as every other face does, and waits where the client does not read.

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

/// The largest frame, and the largest message of several.
const FRAME_BYTES: usize = 64 * 1024;
/// How often the client is pinged; one that says nothing for twice as long is gone.
const PING: Duration = Duration::from_secs(20);
/// How long a client may not read before it is given up, where it has to be told something at once.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers the handshake; what follows goes on by itself.
#[utoipa::path(
    get, path = "/ws",
    operation_id = "ws_connect",
    tag = "messages",
    params(("token" = Option<String>, Query, description = "For whoever cannot send the header")),
    responses((status = 101, description = "A WebSocket"), Refused, NotSignedIn),
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

/// `GET /ws/echo`: says everything once more, on the same loop; for protocol test suites, where
/// `server.ws_echo` has it.
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

/// Lets a connection go on by itself.
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

/// A page may connect from this server's own origin and from those that are configured; whatever is no page
/// says no origin.
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
        false => Err(Error::new(Code::Forbidden).detail("Not from this origin.")),
    }
}

/// What a client says.
enum ClientMessage<'a> {
    Text(&'a str),
    Binary(Bytes),
}

/// Whoever a client talks to.
trait Listener {
    /// The first that is said to the client.
    async fn welcome(&mut self) -> std::result::Result<(), CloseCause>;

    /// Answers, or says why the connection ends.
    async fn hear(&mut self, said: ClientMessage<'_>) -> std::result::Result<(), CloseCause>;

    /// Goes on with what it has to do; may be dropped at any time, and is called again.
    async fn work(&mut self);
}

/// Says everything once more.
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

/// A connection.
struct Link<L> {
    session: Session,
    closing: Closing,
    listener: L,
    heard: Instant,
}

/// Why a connection ends.
type CloseCause = Option<CloseReason>;

impl<L: Listener> Link<L> {
    async fn run(mut self, mut stream: AggregatedMessageStream) {
        let session = self.session.clone();
        if self.listener.welcome().await.is_err() {
            return;
        }
        let end = self.listen(&mut stream).await;
        // What is followed is let go first: nothing is said after the close.
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
            // RFC 6455 §5.5.1: a close is answered with the same.
            AggregatedMessage::Close(reason) => Err(reason),
        }
    }
}

/// What a client's fault closes a connection with.
fn fault(error: &ProtocolError) -> CloseReason {
    match error {
        ProtocolError::Overflow => CloseCode::Size.into(),
        // Reserved bits have no error of their own yet.
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
