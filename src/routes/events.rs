//! Standing streams: what arrives beside a turn's answer, and what the desk has to do. They go on until the
//! client leaves, and end when the server shuts down: clients come back, to whichever instance, with the
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

/// `GET /chat/events`: what is said to the visitor outside of a turn. 204 without a conversation.
#[utoipa::path(
    get, path = "/chat/events",
    operation_id = "events_of_device",
    tag = "chat",
    params(DeviceParams, ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event that was read"), ("last_event_id" = Option<String>, Query, description = "The same")),
    responses(LiveUpdates, (status = 204, description = "There is no conversation"), Refused)
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

/// `GET /conversations/{id}/events`: the same of a user's conversation; for the desk all that is said.
#[utoipa::path(
    get, path = "/conversations/{id}/events",
    operation_id = "events_of_conversation",
    tag = "conversations",
    params(("id" = String, Path, format = "uuid", description = "The conversation"), ("Last-Event-ID" = Option<String>, Header, nullable = false, description = "The id of the last event that was read"), ("last_event_id" = Option<String>, Query, description = "The same")),
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

/// Who stands by, and until when they are signed in.
pub(super) enum Viewer {
    /// Whose session may move on to another conversation.
    Device(Owner),
    Owner(Timestamp),
    /// Is told what turns say, too.
    Desk(Person, Timestamp),
}

impl Viewer {
    /// Whether they may read on.
    fn may_read(&self, first: Snapshot, now: Snapshot) -> bool {
        match self {
            // It became a user's who signed in.
            Self::Device(_) | Self::Owner(_) => first.user_id == now.user_id,
            Self::Desk(person, _) => person.sees(now.expert_id, now.is_waiting),
        }
    }
}

/// Ends when the server does, or when whoever reads is not signed in any more.
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
    let now = app.store.stands(vec![id]).await?;
    let (_, now) = now.first().ok_or_else(|| Error::new(Code::NotFound))?;
    let seen = match (after, &reader) {
        (Some(after), _) if after.conversation == id => after.seq,
        // Their session has moved on meanwhile: all of this conversation is new to them.
        (Some(_), Viewer::Device(_)) => MessageSeq::START,
        _ => now.last_seq,
    };
    Ok(respond(app, stand_by(app, id, *now, seen, reader)))
}

/// What is said in a conversation after a message, as events.
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

/// What somebody who stands by hears.
#[derive(PartialEq, Eq)]
enum StreamSignal {
    Change,
    /// For so long that it is time to show that the stream lives.
    Nothing,
}

/// Waits for a change, or until it is time to say something. None: it is over.
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

/// One who stands by a conversation.
struct StandingStream {
    app: Data<App>,
    id: ConversationId,
    reader: Viewer,
    /// How it stood when this began.
    first: Snapshot,
    /// The last message that was told.
    seen: MessageSeq,
    /// What was told last of who answers, and what.
    told: Option<(Mode, Option<TurnId>)>,
    /// Whether the other side was writing then.
    other_writes: bool,
    /// Where the visitor stood in the queue then.
    position: i64,
    changes: watch::Receiver<Option<Snapshot>>,
    closing: Closing,
}

impl StandingStream {
    async fn next(mut self) -> Option<(EventBatch, Self)> {
        // Changes that are nothing to this client do not put it off.
        let until = Instant::now() + SILENCE;
        loop {
            let stand = (*self.changes.borrow_and_update())?;
            if !self.reader.may_read(self.first, stand) || self.has_moved_on(stand).await {
                return None;
            }
            let mut told = EventBatch::new();
            if let Err(error) = self.tell(stand, &mut told).await {
                // The client comes back, and finds what it has not read.
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

    /// Whether the device's session is another conversation's by now: its client comes back for that one.
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

    /// Tells what is new.
    async fn tell(&mut self, stand: Snapshot, told: &mut EventBatch) -> Result<()> {
        self.tell_messages(stand, told).await?;
        if self.seen < stand.last_seq {
            // The rest once this was read.
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
            // What came since then may not be for this reader any more.
            new.retain(|message| message.seq <= stand.last_seq);
            // Those that turns said are passed over.
            self.seen = new.last().map_or(stand.last_seq, |last| last.seq);
            for message in new {
                // Whoever has said something does not write it any more.
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

    /// Where the visitor stands in the queue, where that has changed.
    fn tell_place(&mut self, stand: Snapshot, told: &mut EventBatch) {
        let before = std::mem::replace(&mut self.position, stand.position);
        if !self.sees_all() && stand.position > 0 && stand.position != before {
            let mut event = self.event(EventKind::Queue);
            event.position = Some(stand.position);
            told.push((self.at(self.seen), event));
        }
    }

    /// Whether the other side is writing, where that has changed.
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

    /// Whether what turns say is told, too.
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
