//! The tasks of a WebSocket client: turns that it started or resumed, and conversations that it follows.

use std::time::Duration;

use actix_web::{HttpRequest, web::Data};
use actix_ws::{Closed, Session};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc::UnboundedSender, time::sleep};

use crate::{
    app::App,
    auth::User,
    error::{Code, Error, Result},
    routes::{
        caller::caller,
        chat::{ChatIn, Writer, turn_request},
        events::{Viewer, event::EventOut, stand_by},
        extract::session_name,
        turns::received,
    },
    store::{ConversationId, MessageSeq, TurnId, messages::Role, sessions::Within, typing::Typist},
    turn::{
        Reply, ResumePoint, TurnRequest,
        frame::Cursor,
        log::{Record, Records},
    },
};

/// How often a turn is looked for after its instance died, and the pause between two tries.
const ATTACH_TRIES: usize = 40;
const ATTACH_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A message from the client.
#[derive(Debug, Deserialize)]
pub(super) struct SocketMessageIn {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub conversation_id: Option<ConversationId>,
    /// The client's own name for a conversation, used if there is no `conversation_id`.
    pub session_id: Option<String>,
    pub content: Option<String>,
    pub message: Option<String>,
    /// The client's own id for a message; serves as an idempotency key.
    pub client_message_id: Option<String>,
    pub turn_id: Option<TurnId>,
    pub id: Option<String>,
}

/// A conversation to follow, and where to start.
pub(super) type Follow = (ConversationId, FollowFrom);

/// After which message of a conversation to start.
#[derive(Debug, Clone, Copy)]
pub(super) enum FollowFrom {
    /// After this message.
    Message(MessageSeq),
    /// After the first message of this turn.
    Turn(TurnId),
    /// The same, but only if the conversation is not followed yet.
    New(TurnId),
}

/// What all tasks of a client share.
#[derive(Clone)]
pub(super) struct Client {
    pub app: Data<App>,
    pub user: User,
    pub session: Session,
    pub request: HttpRequest,
    /// Tells the connection which conversations to follow.
    pub follow: UnboundedSender<Follow>,
}

impl Client {
    /// Sends the client something that is not a frame of a turn.
    pub(super) async fn tell(&mut self, event: &Value) -> std::result::Result<(), Closed> {
        let mut frame = json!({
            "content": "", "timestamp": self.app.clock.now(), "is_final": false,
        });
        if let (Some(frame), Some(event)) = (frame.as_object_mut(), event.as_object()) {
            frame.extend(event.clone());
        }
        self.session.text(frame.to_string()).await
    }

    pub(super) async fn fail(
        &mut self,
        error: &Error,
        own: Option<String>,
    ) -> std::result::Result<(), Closed> {
        error.log();
        let message = error.detail.as_deref().unwrap_or(error.code.title());
        let error = json!({"code": error.code, "message": message, "param": error.param});
        self.tell(&json!({"type": "error", "error": error, "client_message_id": own}))
            .await
    }

    pub(super) async fn say(mut self, said: SocketMessageIn) {
        let own = said.client_message_id.clone();
        let started = match self.request_of(said) {
            Ok(request) => self.app.engine.start(request).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(reply) => {
                received("socket", &reply);
                self.forward(reply, own).await;
            }
            Err(error) => drop(self.fail(&error, own).await),
        }
    }

    fn request_of(&self, said: SocketMessageIn) -> Result<TurnRequest> {
        let address = caller(&self.app, &self.request);
        address.map_or(Ok(()), |address| self.app.limits.count(address))?;
        let within = match (said.conversation_id, said.session_id) {
            (Some(id), _) => Within::Conversation(id),
            (None, Some(name)) => Within::Named(session_name(name)?),
            (None, None) => Within::New,
        };
        let writer = Writer {
            device: self.user.id.clone(),
            within,
            claims: &self.user.claims,
        };
        let content = said.content.or(said.message).unwrap_or_default();
        let chat = ChatIn::of(content, None);
        let mut turn = turn_request(&self.app, &self.request, writer, chat)?;
        turn.key = match said.client_message_id {
            None => None,
            Some(id) if is_name(&id) => Some(format!("ws:{id}")),
            Some(_) => {
                let detail = "Must have 1 to 200 bytes, without control characters.";
                return Err(Error::field("client_message_id", detail));
            }
        };
        Ok(turn)
    }

    pub(super) async fn stop(mut self, turn: TurnId) {
        if let Err(error) = self.app.engine.stop(&self.user.id, turn).await {
            drop(self.fail(&error, None).await);
        }
    }

    /// The user is writing. The store checks that the conversation is theirs.
    pub(super) async fn tell_writing(mut self, id: ConversationId) {
        let owner = Typist::Owner(self.user.id.clone());
        if let Err(error) = self.app.typing.is_writing(id, owner).await {
            drop(self.fail(&error, None).await);
        }
    }

    pub(super) async fn resume(mut self, after: Cursor) {
        let place = ResumePoint {
            after: Some(after),
            restart: true,
        };
        // What experts wrote meanwhile is sent even if the turn's frames are no longer kept.
        match self.app.store.turn(&self.user.id, after.turn_id).await {
            Ok(Some(row)) => {
                let follow = (row.conversation_id, FollowFrom::Turn(row.id));
                if self.follow.send(follow).is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => return drop(self.fail(&error.into(), None).await),
        }
        match self
            .app
            .engine
            .attach(&self.user.id, after.turn_id, place)
            .await
        {
            Ok(Some(reply)) => self.forward(reply, None).await,
            Ok(None) => {
                let done = json!({"type": "resume", "turn_id": after.turn_id, "is_final": true});
                drop(self.tell(&done).await);
            }
            Err(error) => drop(self.fail(&error, None).await),
        }
    }

    /// Forwards a turn's frames to the final one, even if another instance takes the turn over.
    async fn forward(mut self, reply: Reply, own: Option<String>) {
        let address = caller(&self.app, &self.request);
        let mut held = self.app.connections.leaving.begin(address);
        if !held.add(reply.reader.held()) {
            let busy = Error::new(Code::Unavailable).detail("Too many answers are not read yet.");
            return drop(self.fail(&busy, own).await);
        }
        let envelope = Envelope::new(&reply, own);
        if let Some((turn, conversation)) = reply.turn_id.zip(reply.conversation_id)
            && self
                .follow
                .send((conversation, FollowFrom::New(turn)))
                .is_err()
        {
            return;
        }
        let turn = reply.turn_id;
        let (mut reader, mut last) = (reply.reader, None);
        for _ in 0..ATTACH_TRIES {
            while let Some(framed) = reader.read(|records| envelope.frame(records)).await {
                for (id, text, is_final) in framed {
                    last = id.or(last);
                    if self.session.text(text).await.is_err() || is_final {
                        return;
                    }
                }
            }
            // No final frame yet: the turn continues on another instance, or here with another attempt.
            let Some(turn) = turn else { return };
            let place = ResumePoint {
                after: last,
                restart: true,
            };
            match self.app.engine.attach(&self.user.id, turn, place).await {
                Ok(Some(reply)) => reader = reply.reader,
                Ok(None) => return,
                Err(error) if error.code == Code::Unavailable => sleep(ATTACH_RETRY_DELAY).await,
                Err(error) => return drop(self.fail(&error, None).await),
            }
        }
        drop(self.fail(&Error::new(Code::Interrupted), None).await);
    }

    /// Forwards what experts write, as long as the conversation is the user's.
    pub(super) async fn stand_by(mut self, id: ConversationId, after: FollowFrom) {
        let mut seen = match after {
            FollowFrom::Message(seq) => Some(seq),
            FollowFrom::Turn(_) | FollowFrom::New(_) => None,
        };
        loop {
            let whose = self.app.store.conversation(&self.user.id, id).await;
            let snapshots = self.app.store.snapshots(vec![id]).await;
            let now = match (whose, snapshots.as_deref()) {
                (Ok(Some(_)), Ok([(_, now)])) => *now,
                (Ok(_), Ok(_)) => return,
                // The database cannot be reached: try again, from the same position.
                _ => {
                    sleep(ATTACH_RETRY_DELAY).await;
                    continue;
                }
            };
            let reader = Viewer::Owner(self.user.until);
            if let (None, FollowFrom::Turn(turn) | FollowFrom::New(turn)) = (seen, after) {
                match self.app.store.begins_at(turn).await {
                    Ok(seq) => seen = seq,
                    Err(_) => {
                        sleep(ATTACH_RETRY_DELAY).await;
                        continue;
                    }
                }
            }
            let from = *seen.get_or_insert(now.last_seq);
            let mut standing = Box::pin(stand_by(&self.app, id, now, from, reader));
            while let Some(told) = standing.next().await {
                for (at, event) in told {
                    let mut frame = members(&event);
                    frame.insert("conversation_id".to_owned(), id.into());
                    if let Some(at) = at {
                        frame.insert("id".to_owned(), at.to_string().into());
                    }
                    let said = Value::Object(frame).to_string();
                    if self.session.text(said).await.is_err() {
                        return;
                    }
                    seen = at.map(|at| at.seq).or(seen);
                }
            }
            sleep(ATTACH_RETRY_DELAY).await;
        }
    }
}

/// Whether this is a valid `client_message_id`.
fn is_name(id: &str) -> bool {
    (1..=200).contains(&id.len()) && !id.chars().any(char::is_control)
}

/// What a WebSocket frame has besides a record's own members: the ids of its turn, and the record's id.
struct Envelope {
    /// The ids of the turn as JSON members, without the braces.
    members: String,
}

impl Envelope {
    fn new(reply: &Reply, client_message_id: Option<String>) -> Self {
        let members = json!({
            "conversation_id": reply.conversation_id,
            "turn_id": reply.turn_id,
            "client_message_id": client_message_id,
        });
        let members = members.as_object().into_iter().flatten();
        let members = members.filter(|(_, value)| !value.is_null());
        let members = members.map(|(name, value)| format!("\"{name}\":{value}"));
        Self {
            members: members.collect::<Vec<_>>().join(","),
        }
    }

    /// Records as frames, each with its id and whether it is final.
    fn frame(&self, records: Records<'_>) -> Vec<(Option<Cursor>, String, bool)> {
        let framed = records
            .iter()
            .map(|record| (record.cursor(), self.of(&record), record.is_final()));
        framed.collect()
    }

    fn of(&self, record: &Record<'_>) -> String {
        let payload = String::from_utf8_lossy(record.payload);
        let mut frame = payload.strip_suffix('}').unwrap_or_default().to_owned();
        if let Some(id) = record.id() {
            frame.push_str(&format!(",\"id\":\"{id}\""));
        }
        if !self.members.is_empty() {
            frame.push(',');
            frame.push_str(&self.members);
        }
        frame.push('}');
        frame
    }
}

/// The members of an event for WebSocket clients: an expert's message has the type `expert_message`.
fn members(event: &EventOut) -> Map<String, Value> {
    let Value::Object(mut members) = json!(event) else {
        return Map::new();
    };
    if let Some(said) = event
        .message
        .as_ref()
        .filter(|said| said.role == Role::Expert)
    {
        members.insert("type".to_owned(), "expert_message".into());
        members.insert("content".to_owned(), said.content.as_str().into());
    }
    members
}
