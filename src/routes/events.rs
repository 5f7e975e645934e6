//! Standing streams: what happens in a conversation outside of answers, and what experts have to do. A stream ends
//! when the client leaves, its token expires or the server shuts down. Clients reconnect to any instance with the
//! last event's id, and miss nothing.

pub(super) mod event;
pub(super) mod feed;

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Data, Path},
};
use futures_util::{Stream, StreamExt, future::LocalBoxFuture, stream};
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use event::{EventBatch, EventKind, EventOut, MessageCursor, framed};

use super::responses::{DeviceParams, LiveUpdates, NotSignedIn, Refused};
use super::{
    connection::Streams,
    extract::{id, last_event_id},
    shapes::MessageOut,
    sse::{SILENCE, head},
};
use crate::{
    app::App,
    auth::User,
    clock::Timestamp,
    devices::Device,
    error::{Code, Error, Result},
    experts::Person,
    store::{
        ConversationId, MessageSeq, Owner, TurnId,
        conversations::Snapshot,
        messages::{Message, MessageType, Role},
        sessions::Mode,
    },
};

/// `GET /chat/events`: streams what happens in the visitor's conversation outside of answers.
#[utoipa::path(
    get, path = "/chat/events",
    operation_id = "events_of_device",
    tag = "chat",
    params(DeviceParams, ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event that was read"), ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot send the header")),
    responses(LiveUpdates, (status = 204, description = "The device has no conversation"), Refused)
)]
pub(super) async fn of_device(
    app: Data<App>,
    device: Device,
    request: HttpRequest,
) -> Result<HttpResponse> {
    let Some((lock, _)) = app.engine.sessions().get(&device.id).await? else {
        return Ok(HttpResponse::NoContent().finish());
    };
    let reader = Viewer::Device(device.id);
    standing(&app, &request, lock.conversation_id, reader).await
}

/// `GET /conversations/{id}/events`: streams the events of a user's conversation; for experts, all its messages.
#[utoipa::path(
    get, path = "/conversations/{id}/events",
    operation_id = "events_of_conversation",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event that was read"), ("last_event_id" = Option<String>, Query, description = "The same, for clients that cannot send the header")),
    responses(LiveUpdates, Refused, NotSignedIn),
    security(("bearer" = []))
)]
pub(super) async fn of_conversation(
    app: Data<App>,
    user: User,
    request: HttpRequest,
    path: Path<String>,
) -> Result<HttpResponse> {
    let id = id(&path)?;
    if app.store.conversation(&user.id, id).await?.is_some() {
        return standing(&app, &request, id, Viewer::Owner(user.until)).await;
    }
    if !user.is_of_desk() {
        return Err(Error::new(Code::NotFound));
    }
    let person = app.experts.person(&user).await?;
    app.experts.look(&person, id).await?;
    standing(&app, &request, id, Viewer::Desk(person, user.until)).await
}

/// Who reads a conversation's standing stream, and when their token expires.
pub(super) enum Viewer {
    /// A visitor, whose session may move on to another conversation.
    Device(Owner),
    Owner(Timestamp),
    /// An expert, who also gets the messages of turns.
    Desk(Person, Timestamp),
}

impl Viewer {
    /// Whether the viewer may still read.
    fn may_read(&self, first: Snapshot, now: Snapshot) -> bool {
        match self {
            // Not after a visitor has signed in: then the conversation is the user's.
            Self::Device(_) | Self::Owner(_) => first.user_id == now.user_id,
            Self::Desk(person, _) => person.sees(now.expert_id, now.is_waiting),
        }
    }
}

/// Completes when the server shuts down, or when the token that is valid until `until` has expired.
pub(super) fn closing(app: &App, until: Option<Timestamp>) -> Closing {
    let closing = app.engine.closing();
    let left = until.map(|until| app.auth.left(until));
    Box::pin(async move {
        match left {
            Some(left) => drop(timeout(left, closing).await),
            None => closing.await,
        }
    })
}

async fn standing(
    app: &Data<App>,
    request: &HttpRequest,
    id: ConversationId,
    reader: Viewer,
) -> Result<HttpResponse> {
    let after: Option<MessageCursor> = last_event_id(request).map(|id| id.parse()).transpose()?;
    let now = app.store.snapshots(vec![id]).await?;
    let (_, now) = now.first().ok_or_else(|| Error::new(Code::NotFound))?;
    let seen = match (after, &reader) {
        (Some(after), _) if after.conversation == id => after.seq,
        // The session has moved on to this conversation: all of it is new to the visitor.
        (Some(_), Viewer::Device(_)) => MessageSeq::START,
        _ => now.last_seq,
    };
    Ok(respond(app, stand_by(app, id, *now, seen, reader)))
}

/// The events of a conversation after the message `seen`.
pub(super) fn stand_by(
    app: &Data<App>,
    id: ConversationId,
    now: Snapshot,
    seen: MessageSeq,
    reader: Viewer,
) -> impl Stream<Item = EventBatch> + use<> {
    let until = match &reader {
        Viewer::Device(_) => None,
        Viewer::Owner(until) | Viewer::Desk(_, until) => Some(*until),
    };
    let state = StandingStream {
        app: app.clone(),
        id,
        first: now,
        seen,
        told: None,
        other_writes: false,
        position: 0,
        changes: app.hub.conversation(id, now),
        closing: closing(app, until),
        reader,
    };
    stream::unfold(state, StandingStream::next)
}

fn respond(app: &App, told: impl Stream<Item = EventBatch> + 'static) -> HttpResponse {
    let counted = app.metrics.open_stream();
    let frames = told.enumerate().map(move |(at, told)| {
        let _ = &counted;
        Ok::<_, Error>(framed(&told, at == 0))
    });
    head(Streams::Standing).streaming(frames)
}

pub(super) type Closing = LocalBoxFuture<'static, ()>;

/// Why a waiting stream wakes up.
#[derive(PartialEq, Eq)]
enum StreamSignal {
    Change,
    /// Nothing has changed for so long that a comment is due, to show that the stream is alive.
    Nothing,
}

/// Waits for a change, but not longer than `until`. `None`: the stream is over.
async fn wait<T>(
    changes: &mut watch::Receiver<T>,
    closing: &mut Closing,
    until: Instant,
) -> Option<StreamSignal> {
    tokio::select! {
        changed = timeout_at(until, changes.changed()) => match changed {
            Ok(changed) => changed.ok().map(|()| StreamSignal::Change),
            Err(_) => Some(StreamSignal::Nothing),
        },
        () = closing => None,
    }
}

/// A standing stream of one conversation.
struct StandingStream {
    app: Data<App>,
    id: ConversationId,
    reader: Viewer,
    /// The conversation as it was when the stream began.
    first: Snapshot,
    /// The last message that was sent or skipped.
    seen: MessageSeq,
    /// The mode and the running turn that were sent last.
    told: Option<(Mode, Option<TurnId>)>,
    /// Whether the client was told that the other side is writing.
    other_writes: bool,
    /// The visitor's last known place in the queue.
    position: i64,
    changes: watch::Receiver<Option<Snapshot>>,
    closing: Closing,
}

impl StandingStream {
    async fn next(mut self) -> Option<(EventBatch, Self)> {
        // Set once: changes that this client does not see must not delay the comment.
        let until = Instant::now() + SILENCE;
        loop {
            let stand = (*self.changes.borrow_and_update())?;
            if !self.reader.may_read(self.first, stand) || self.has_moved_on(stand).await {
                return None;
            }
            let mut told = EventBatch::new();
            if let Err(error) = self.tell(stand, &mut told).await {
                // The stream ends; the client reconnects and gets what it has not read.
                error.log();
                return None;
            }
            if told.is_empty()
                && wait(&mut self.changes, &mut self.closing, until).await? == StreamSignal::Change
            {
                continue;
            }
            return Some((told, self));
        }
    }

    /// Whether the device's session is on another conversation now. The client reconnects to get that one.
    async fn has_moved_on(&self, stand: Snapshot) -> bool {
        let Viewer::Device(device) = &self.reader else {
            return false;
        };
        if stand.has_session {
            return false;
        }
        let session = self.app.engine.sessions().get(device).await;
        matches!(session, Ok(Some((lock, _))) if lock.conversation_id != self.id)
    }

    /// Adds what is new to `told`.
    async fn tell(&mut self, stand: Snapshot, told: &mut EventBatch) -> Result<()> {
        self.tell_messages(stand, told).await?;
        if self.seen < stand.last_seq {
            // There are more messages: they follow when the client has read these.
            return Ok(());
        }
        self.tell_who_answers(stand, told);
        self.tell_place(stand, told);
        self.tell_who_writes(stand, told);
        Ok(())
    }

    async fn tell_messages(&mut self, stand: Snapshot, told: &mut EventBatch) -> Result<()> {
        let all = self.sees_all();
        while self.seen < stand.last_seq && told.is_empty() {
            let store = &self.app.store;
            let mut new = store.messages_after(self.id, self.seen, all).await?;
            // Skips messages newer than the snapshot: the viewer may no longer be allowed to read them.
            new.retain(|message| message.seq <= stand.last_seq);
            // If none came, only messages of turns are left, which this viewer does not get.
            self.seen = new.last().map_or(stand.last_seq, |last| last.seq);
            for message in new {
                // The author of a message has stopped writing; clients know that without an event.
                self.other_writes = false;
                for retracted in message.line().into_iter().flat_map(|line| line.retracts) {
                    let mut event = EventOut::new(EventKind::Retract, message.created_at);
                    event.message_id = Some(retracted);
                    told.push((None, event));
                }
                if all || is_of_desk(&message) {
                    let at = self.at(message.seq);
                    let mut event = EventOut::new(EventKind::Message, message.created_at);
                    event.message = Some(match all {
                        true => MessageOut::for_desk(message),
                        false => message.into(),
                    });
                    told.push((at, event));
                }
            }
        }
        Ok(())
    }

    fn tell_who_answers(&mut self, stand: Snapshot, told: &mut EventBatch) {
        let running = stand.running_turn.filter(|_| self.sees_all());
        let (mode, turn) = self.told.replace((stand.mode, running)).unzip();
        if mode != Some(stand.mode) {
            let mut event = self.event(EventKind::Mode);
            event.mode = Some(stand.mode);
            told.push((self.at(self.seen), event));
        }
        if running.is_some() && turn != Some(running) {
            let mut event = self.event(EventKind::Turn);
            event.turn_id = running;
            told.push((self.at(self.seen), event));
        }
    }

    /// Adds the visitor's place in the queue if it has changed.
    fn tell_place(&mut self, stand: Snapshot, told: &mut EventBatch) {
        let before = std::mem::replace(&mut self.position, stand.position);
        if !self.sees_all() && stand.position > 0 && stand.position != before {
            let mut event = self.event(EventKind::Queue);
            event.position = Some(stand.position);
            told.push((self.at(self.seen), event));
        }
    }

    /// Adds whether the other side is writing, if that has changed.
    fn tell_who_writes(&mut self, stand: Snapshot, told: &mut EventBatch) {
        let (role, is_writing) = match self.reader {
            Viewer::Device(_) | Viewer::Owner(_) => (Role::Expert, stand.expert_types),
            Viewer::Desk(..) => (Role::User, stand.visitor_types),
        };
        let is_writing = is_writing == Some(true);
        if std::mem::replace(&mut self.other_writes, is_writing) != is_writing {
            let mut event = self.event(EventKind::Typing);
            (event.role, event.is_typing) = (Some(role), Some(is_writing));
            told.push((self.at(self.seen), event));
        }
    }

    /// Whether the viewer also gets the messages of turns.
    fn sees_all(&self) -> bool {
        matches!(self.reader, Viewer::Desk(..))
    }

    fn event(&self, kind: EventKind) -> EventOut {
        EventOut::new(kind, self.app.clock.now())
    }

    fn at(&self, seq: MessageSeq) -> Option<MessageCursor> {
        let conversation = self.id;
        Some(MessageCursor { conversation, seq })
    }
}

fn is_of_desk(message: &Message) -> bool {
    matches!(
        message.message_type,
        MessageType::ExpertMessage | MessageType::SystemMessage
    )
}
