//! `GET /ws` (and `/stream`): the same turns over a WebSocket (RFC 6455), as JSON text frames.
//!
//! Whoever connects is signed in before the handshake is answered. A frame has the members that it has as
//! an event's `data:`, and with them `conversation_id`, `turn_id` and `id`: a client that was cut off
//! connects anew, anywhere, and says `resume` with the last `id` that it has. Nothing here holds an answer: it
//! reads the turn's log as every other face does, and waits where the client does not read.

mod client;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HOST, ORIGIN},
    rt,
    web::{Data, Payload},
};
use actix_ws::{AggregatedMessage, CloseCode, CloseReason, ProtocolError};
use futures_util::{
    FutureExt, StreamExt,
    future::{AbortHandle, LocalBoxFuture, abortable},
    stream::FuturesUnordered,
};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};

use super::events::{Closing, closing};
use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
    store::ConversationId,
    text,
};
use client::{Client, Follow, MessageIn};

/// The largest frame, and the largest message of several.
const FRAME_BYTES: usize = 64 * 1024;
/// How often the client is pinged; one that says nothing for twice as long is gone.
const PING: Duration = Duration::from_secs(20);
/// How long a client may not read before it is given up, where it has to be told something at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many messages that cannot be read close the connection.
const FAULTS: usize = 5;
/// How many turns and conversations are followed at once on one connection.
const MOST: usize = 32;
/// Answers the handshake; what follows goes on by itself.
pub(super) async fn connect(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    body: Payload,
) -> Result<HttpResponse> {
    check_origin(&app, &request)?;
    let no_handshake =
        |_| Error::new(Code::InvalidBody).detail("A WebSocket handshake (RFC 6455) is needed.");
    let (response, session, stream) = actix_ws::handle(&request, body).map_err(no_handshake)?;
    let stream = stream
        .max_frame_size(FRAME_BYTES)
        .aggregate_continuations()
        .max_continuation_size(FRAME_BYTES);
    let (follow, to_follow) = mpsc::unbounded_channel();
    let link = Link {
        closing: closing(&app, Some(user.until)),
        client: Client {
            app,
            user,
            session,
            request,
            follow,
        },
        work: FuturesUnordered::new(),
        standing: FuturesUnordered::new(),
        followed: VecDeque::new(),
        to_follow,
        faults: 0,
        heard: Instant::now(),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a connection belongs to the worker that has its socket"
    )]
    rt::spawn(link.run(stream));
    Ok(response)
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

/// A connection.
struct Link {
    client: Client,
    closing: Closing,
    /// The turns that are followed, and what else is being done.
    work: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// The conversations that are stood by.
    standing: FuturesUnordered<LocalBoxFuture<'static, ()>>,
    /// What ends standing by each, the oldest first.
    followed: VecDeque<(ConversationId, AbortHandle)>,
    /// What else is to be stood by.
    to_follow: mpsc::UnboundedReceiver<Follow>,
    faults: usize,
    heard: Instant,
}

/// Why a connection ends.
type End = Option<CloseReason>;

impl Link {
    async fn run(mut self, mut stream: actix_ws::AggregatedMessageStream) {
        let app = self.client.app.clone();
        let _counted = app.metrics.open_stream();
        let session = self.client.session.clone();
        if self
            .client
            .tell(&json!({"type": "connection"}))
            .await
            .is_err()
        {
            return;
        }
        let end = self.listen(&mut stream).await;
        // What is followed is let go first: nothing is said after the close.
        drop(self);
        drop(timeout(PATIENCE, session.close(end)).await);
    }

    async fn listen(&mut self, stream: &mut actix_ws::AggregatedMessageStream) -> End {
        let mut pings = interval(PING);
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
                Some(()) = self.work.next() => {}
                Some(()) = self.standing.next() => {}
                Some((id, after)) = self.to_follow.recv() => self.follow(id, after),
                _ = pings.tick() => {
                    let mut session = self.client.session.clone();
                    let is_silent = self.heard.elapsed() > 2 * PING;
                    if is_silent || timeout(PATIENCE, session.ping(b"")).await.is_err() {
                        return Some(CloseCode::Away.into());
                    }
                }
                () = &mut self.closing => return Some(CloseCode::Away.into()),
            }
        }
    }

    async fn hear(&mut self, said: AggregatedMessage) -> std::result::Result<(), End> {
        let mut session = self.client.session.clone();
        match said {
            AggregatedMessage::Text(said) => self.do_as_told(&said).await,
            AggregatedMessage::Binary(_) => self.refuse(&Error::new(Code::InvalidBody), None).await,
            AggregatedMessage::Ping(said) => {
                let answered = timeout(PATIENCE, session.pong(&said)).await;
                answered.map(drop).map_err(|_| Some(CloseCode::Away.into()))
            }
            AggregatedMessage::Pong(_) => Ok(()),
            // RFC 6455 §5.5.1: a close is answered with the same.
            AggregatedMessage::Close(reason) => Err(reason),
        }
    }

    async fn do_as_told(&mut self, said: &str) -> std::result::Result<(), End> {
        let read = text::parse_json::<MessageIn>(said.as_bytes());
        let Ok(said) = read else {
            let error = Error::new(Code::InvalidBody).detail("A JSON object is needed.");
            return self.refuse(&error, None).await;
        };
        let own = said.client_message_id.clone();
        match self.begin(said) {
            Ok(()) => Ok(()),
            Err(error) => self.refuse(&error, own).await,
        }
    }

    /// Begins what a client asks for.
    fn begin(&mut self, said: MessageIn) -> Result<()> {
        if self.work.len() >= MOST {
            return Err(Error::new(Code::RateLimited));
        }
        let client = self.client.clone();
        match said.kind.as_deref() {
            Some("message") | None => {
                self.work.push(Box::pin(client.say(said)));
            }
            Some("stop") => {
                let turn = said
                    .turn_id
                    .ok_or_else(|| Error::field("turn_id", "Which turn?"))?;
                self.work.push(Box::pin(client.stop(turn)));
            }
            Some("resume") => {
                let id = said
                    .id
                    .ok_or_else(|| Error::field("id", "The id of a frame."))?;
                match (id.parse(), place_in(&id)) {
                    (Ok(after), _) => self.work.push(Box::pin(client.resume(after))),
                    (_, Some((conversation, seq))) => self.follow(conversation, Some(seq)),
                    _ => return Err(Error::new(Code::InvalidCursor)),
                }
            }
            // Nobody reads it yet.
            Some("typing") => {}
            Some(_) => return Err(Error::field("type", "message, stop, resume or typing.")),
        }
        Ok(())
    }

    /// Tells what people at the desk write in a conversation, too; from a message on, where the client says
    /// from which.
    fn follow(&mut self, id: ConversationId, after: Option<i64>) {
        let known = self.followed.iter().position(|(known, _)| *known == id);
        match known {
            Some(_) if after.is_none() => return,
            Some(at) => drop(self.followed.remove(at).map(|(_, older)| older.abort())),
            None => {}
        }
        if self.followed.len() >= MOST
            && let Some((_, oldest)) = self.followed.pop_front()
        {
            oldest.abort();
        }
        let (standing, handle) = abortable(self.client.clone().stand_by(id, after));
        self.followed.push_back((id, handle));
        self.standing.push(Box::pin(standing.map(drop)));
    }

    /// Answers what cannot be done; the fifth of them ends the connection.
    async fn refuse(&mut self, error: &Error, own: Option<String>) -> std::result::Result<(), End> {
        if error.code != Code::RateLimited {
            self.faults += 1;
        }
        if !matches!(
            timeout(PATIENCE, self.client.fail(error, own)).await,
            Ok(Ok(()))
        ) {
            return Err(Some(CloseCode::Away.into()));
        }
        match self.faults < FAULTS {
            true => Ok(()),
            false => Err(Some(CloseCode::Policy.into())),
        }
    }
}

/// Where a client stands in a conversation: `{conversation_id}.{number}`.
fn place_in(id: &str) -> Option<(ConversationId, i64)> {
    let (conversation, seq) = id.split_once('.')?;
    Some((conversation.parse().ok()?, seq.parse().ok()?))
}

/// What a client's fault closes a connection with.
fn fault(error: &ProtocolError) -> CloseReason {
    match error {
        ProtocolError::Overflow => CloseCode::Size.into(),
        ProtocolError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            CloseCode::Invalid.into()
        }
        ProtocolError::Io(_) => CloseCode::Size.into(),
        _ => CloseCode::Protocol.into(),
    }
}
