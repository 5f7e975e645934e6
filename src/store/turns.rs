//! Turns: begun with the visitor's message, finished with the answer, owned in between.
//!
//! A running turn has an owner, a lease on the database's clock and a fence on its
//! conversation's row. Every write of a turn goes through that row and holds only while the
//! fence is its own.

use std::{sync::Arc, time::Duration};

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde_json::Value;

use super::{
    ConversationId, DeviceId, InstanceId, MessageId, Store, StoreError, TurnId, UserId,
    batches::{Batch, Step},
    messages::{Direction, FinishReason, Message, MessageType, Role},
    on_db, on_db_blocking, schema,
    sessions::{LockRequest, Mode},
    types::Json,
};
use crate::clock::Timestamp;

/// Everything that begins a turn. The ids are new, and kept when the step is repeated.
#[derive(Debug, Clone)]
pub struct BeginTurn {
    /// The turn's id.
    pub turn_id: TurnId,
    /// The id of the visitor's message.
    pub message_id: MessageId,
    /// The user's id, if the device is new.
    pub new_user: UserId,
    /// The session lock; its device is the visitor.
    pub lock: LockRequest,
    /// Which server runs the turn.
    pub owner: InstanceId,
    /// For how long it is taken for alive.
    pub lease: Duration,
    /// The key that makes a repeated request the same turn.
    pub idempotency: Option<Idempotency>,
    /// What the visitor said.
    pub body: String,
    /// Images, an array of URLs.
    pub media_urls: Value,
    /// Recordings, an array of URLs.
    pub audio_urls: Value,
    /// What the website adds.
    pub metadata: Option<Value>,
    /// How many messages to read for the prompt, this one included.
    pub history: u32,
    /// Until when the caller waits; later than that nothing is committed.
    pub deadline: std::time::Instant,
}

/// A client's key for a request, and what the request was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// A digest of the body.
    pub request_hash: Vec<u8>,
}

/// What became of a [`BeginTurn`].
#[derive(Debug)]
pub enum Begin {
    /// The message is committed and the turn is the caller's to run.
    Started(Box<Started>),
    /// The same request was here before: this is its turn.
    Repeated(TurnId),
    /// The key was used with another body.
    KeyReused,
    /// The conversation is answering another message; which turn that is, unless it has just
    /// ended.
    Busy(Option<Busy>),
    /// The device wrote too much; it may go on after this long.
    Limited(Duration),
}

/// The turn that a conversation is busy with.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    /// The turn.
    pub turn_id: TurnId,
    /// Whether its owner is dead.
    pub is_abandoned: bool,
}

/// A turn that has begun.
#[derive(Debug, Clone)]
pub struct Started {
    /// The turn.
    pub turn_id: TurnId,
    /// Which attempt at it this is, from 1.
    pub attempt: i32,
    /// Whose lock the turn was begun with.
    pub device: DeviceId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The user.
    pub user_id: UserId,
    /// The user's name, read when a conversation begins.
    pub user_name: Option<String>,
    /// The turn's fence: what it writes counts while this is the conversation's.
    pub fence: i64,
    /// The agent that holds the session; none yet in a new one.
    pub agent: Option<String>,
    /// The agent that held the session before this message.
    pub agent_before: Option<String>,
    /// Who answers here.
    pub mode: Mode,
    /// What the agents remember of this conversation.
    pub state: Value,
    /// The newest messages, oldest first; the last one began the turn.
    pub history: Vec<Message>,
}

/// Everything that finishes a turn.
#[derive(Debug, Clone)]
pub struct FinishTurn {
    /// The turn.
    pub turn_id: TurnId,
    /// The attempt.
    pub attempt: i32,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its user.
    pub user_id: UserId,
    /// The device whose lock it was begun with.
    pub device: DeviceId,
    /// The fence that it was given.
    pub fence: i64,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The code of its error frame.
    pub error_code: Option<String>,
    /// The answer, or as much of it as there is.
    pub answer: Option<Answer>,
    /// The agent that holds the session now, and its lock's life.
    pub agent: Option<(String, Duration)>,
    /// What the agents remember now.
    pub state: Option<Value>,
    /// The visitor's name, if it was learnt.
    pub user_name: Option<String>,
    /// The framed log, its final frame included.
    pub frames: Vec<u8>,
    /// The final frame's number.
    pub last_seq: i64,
    /// For how long the log is kept.
    pub log_kept: Duration,
    /// Until when the caller waits; later than that nothing is committed.
    pub deadline: std::time::Instant,
}

/// The text that answers a turn.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its id.
    pub message_id: MessageId,
    /// Byte for byte what was streamed.
    pub body: String,
}

/// What became of a [`FinishTurn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It is committed.
    Done,
    /// The turn was no longer the caller's; nothing was written.
    Fenced,
}

/// A turn as it stands.
#[derive(Debug, Clone)]
pub struct TurnRow {
    /// Its id.
    pub id: TurnId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The attempt that is running or was the last.
    pub attempt: i32,
    /// Why it ended; none while it runs.
    pub finish_reason: Option<FinishReason>,
    /// The code of its error frame.
    pub error_code: Option<String>,
    /// Whether it runs and its owner is dead.
    pub is_abandoned: bool,
}

/// What is kept of a turn that has ended.
#[derive(Debug)]
pub struct Kept {
    /// The framed log and its last number, unless it was pruned.
    pub log: Option<KeptLog>,
    /// The stored answer.
    pub answer: Option<Message>,
}

/// A finished turn's log.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::turn_events, check_for_backend(Pg, Sqlite))]
pub struct KeptLog {
    /// The attempt that wrote it.
    pub attempt: i32,
    /// The final frame's number.
    pub last_seq: i64,
    /// All frames.
    pub frames: Vec<u8>,
}

/// A lease that was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The turn.
    pub turn_id: TurnId,
    /// Whether somebody asked for it to stop.
    pub stop_requested: bool,
}

impl BeginTurn {
    /// The visitor's message as it is stored.
    pub fn message(
        &self,
        conversation_id: ConversationId,
        seq: i64,
        created_at: Timestamp,
    ) -> Message {
        Message {
            id: self.message_id,
            conversation_id,
            turn_id: Some(self.turn_id),
            seq,
            role: Role::User,
            direction: Direction::Incoming,
            message_type: MessageType::UserInput,
            body: self.body.clone(),
            media_urls: self.media_urls.clone(),
            audio_urls: self.audio_urls.clone(),
            component_type: None,
            component_data: None,
            tool_name: None,
            tool_success: None,
            finish_reason: None,
            metadata: self.metadata.clone().map(Json),
            created_at,
        }
    }
}

impl Step for BeginTurn {
    type Done = Begin;

    fn same_row(&self, other: &Self) -> bool {
        self.lock.device == other.lock.device
    }

    fn together(store: &Store, turns: &[Arc<Self>]) -> Batch<Begin> {
        on_db_blocking!(store, write, |conn, db| Ok(db::batches::begin_turns(
            conn, turns
        )))
        .unwrap_or_else(Batch::Failed)
    }

    fn alone(store: &Store, turn: &Self) -> Result<Begin, StoreError> {
        on_db_blocking!(store, write, |conn, db| db::begin::begin(conn, turn))
    }
}

impl Step for FinishTurn {
    type Done = Finish;

    fn same_row(&self, other: &Self) -> bool {
        self.conversation_id == other.conversation_id
    }

    fn together(store: &Store, turns: &[Arc<Self>]) -> Batch<Finish> {
        on_db_blocking!(store, write, |conn, db| Ok(db::batches::finish_turns(
            conn, turns
        )))
        .unwrap_or_else(Batch::Failed)
    }

    fn alone(store: &Store, turn: &Self) -> Result<Finish, StoreError> {
        on_db_blocking!(store, write, |conn, db| db::turns::finish(conn, turn))
    }
}

impl Store {
    /// Begins a turn: its user, session lock, conversation, lease, message and idempotency key,
    /// and the history for its prompt. Goes on when the caller does not stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn begin_turn(&self, turn: BeginTurn) -> Result<Begin, StoreError> {
        self.begins.run(self, Arc::new(turn)).await
    }

    /// Finishes a turn: its answer, state and log, and its lease released, under its fence.
    /// Repeating it is safe. Goes on when the caller does not stay.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_turn(&self, turn: Arc<FinishTurn>) -> Result<Finish, StoreError> {
        self.finishes.run(self, turn).await
    }

    /// Renews the leases of an instance's turns. One that is missing in the answer is no
    /// longer the instance's.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew_leases(
        &self,
        owner: InstanceId,
        turns: Vec<TurnId>,
        lease: Duration,
    ) -> Result<Vec<Renewed>, StoreError> {
        on_db!(self, renew, |conn, db| db::turns::renew(
            conn, owner, &turns, lease
        ))
    }

    /// A device's turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn turn(
        &self,
        device: &DeviceId,
        turn: TurnId,
    ) -> Result<Option<TurnRow>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::get(conn, &device, turn)
            .map_err(Into::into))
    }

    /// The newest turn of the conversation that a device is in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_turn(&self, device: &DeviceId) -> Result<Option<TurnRow>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::newest(conn, &device)
            .map_err(Into::into))
    }

    /// What is kept of a turn that has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept(&self, turn: TurnId) -> Result<Kept, StoreError> {
        on_db!(self, read, |conn, db| db::turns::kept(conn, turn)
            .map_err(Into::into))
    }

    /// Asks the owner of a running turn to stop it; it learns of it by its next renewal.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request_stop(&self, turn: TurnId) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::turns::request_stop(conn, turn)
            .map(drop)
            .map_err(Into::into))
    }
}
