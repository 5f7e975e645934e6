//! Finishes turns, renews their leases and reads them; [`super::begin`] begins them.
//!
//! A running turn has an owning instance, a lease on the database's clock and a fence, all on its
//! conversation's row. Every write of a turn locks or updates that row, and has effect only while
//! the row's fence is the turn's.

use std::{sync::Arc, time::Duration};

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{
    Attempt, ConversationId, Fence, FrameSeq, InstanceId, MessageId, Owner, Store, StoreError,
    TurnId, UserId,
    batches::BatchStep,
    jobs::Judging,
    messages::{FinishReason, Message},
    on_db, on_db_blocking,
    queue::HandoffRequest,
    schema,
};

/// Everything that is stored when a turn finishes.
#[derive(Debug, Clone)]
pub struct FinishTurn {
    /// The turn.
    pub turn_id: TurnId,
    /// The attempt.
    pub attempt: Attempt,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its user.
    pub user_id: UserId,
    /// The owner of the session lock that it was begun with.
    pub device: Owner,
    /// Its fence.
    pub fence: Fence,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The code of its error frame.
    pub error_code: Option<String>,
    /// The answer, possibly incomplete.
    pub answer: Option<AnswerMessage>,
    /// The job that has the answer judged.
    pub judging: Option<Judging>,
    /// The widgets that it showed.
    pub widgets: Vec<WidgetMessage>,
    /// The handoff to an expert, if the turn ends with one.
    pub asks: Option<HandoffRequest>,
    /// Whether the conversation was in expert mode when the turn began.
    pub with_person: bool,
    /// The agent that the session lock moves to, and the lock's lifetime with it.
    pub agent: Option<(String, Duration)>,
    /// The agents' state, if it has changed.
    pub state: Option<Value>,
    /// The context, if it has changed.
    pub context: Option<Value>,
    /// The visitor's name, if the turn learned it.
    pub user_name: Option<String>,
    /// Input and output tokens of its models; `None` if they used none.
    pub usage: Option<(i64, i64)>,
    /// The whole log: one line of JSON per record, including the final one.
    pub records: Vec<u8>,
    /// The final frame's number.
    pub last_seq: FrameSeq,
    /// For how long the log is kept.
    pub log_kept: Duration,
    /// When the caller stops waiting. Nothing is committed after it.
    pub deadline: std::time::Instant,
}

impl FinishTurn {
    /// How many messages it stores, not counting the system message of a [`HandoffRequest`].
    pub fn messages(&self) -> i64 {
        let all = usize::from(self.answer.is_some()) + self.widgets.len();
        i64::try_from(all).unwrap_or(i64::MAX)
    }
}

/// A turn's answer, to be stored.
#[derive(Debug, Clone)]
pub struct AnswerMessage {
    /// Its id.
    pub message_id: MessageId,
    /// The text, byte for byte as it was streamed.
    pub body: String,
    /// The agent's metadata.
    pub metadata: Option<Value>,
}

/// A widget that a turn showed.
#[derive(Debug, Clone)]
pub struct WidgetMessage {
    /// Its message's id.
    pub message_id: MessageId,
    /// Its type.
    pub kind: &'static str,
    /// What it shows.
    pub data: Value,
    /// The widget as plain text.
    pub text: String,
    /// The tool call that waits for the visitor's consent.
    pub confirms: Option<Value>,
}

/// The outcome of a [`FinishTurn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It is committed.
    Done,
    /// The turn was no longer the caller's; nothing was written.
    Fenced,
}

/// A turn's current state.
#[derive(Debug, Clone)]
pub struct TurnRow {
    /// Its id.
    pub id: TurnId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The running attempt, or the last one.
    pub attempt: Attempt,
    /// Why it ended; `None` while it runs.
    pub finish_reason: Option<FinishReason>,
    /// The code of its error frame.
    pub error_code: Option<String>,
    /// If an expert's claim ended it: how many of its frames are kept.
    pub keep: Option<FrameSeq>,
    /// Whether it is running and its lease has expired.
    pub is_abandoned: bool,
}

/// What is stored of a finished turn.
#[derive(Debug)]
pub struct StoredTurn {
    /// The log, unless it was pruned.
    pub log: Option<KeptLog>,
    /// The stored answer.
    pub answer: Option<Message>,
}

/// A finished turn's log.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::turn_events, check_for_backend(Pg, Sqlite))]
pub struct KeptLog {
    /// The attempt that wrote it.
    pub attempt: Attempt,
    /// The final frame's number.
    pub last_seq: FrameSeq,
    /// All records, one line of JSON each.
    pub records: Vec<u8>,
}

/// A turn that still is the caller's: its lease was renewed, or its log written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The turn.
    pub turn_id: TurnId,
    /// Whether a stop was requested.
    pub stop_requested: bool,
    /// Whether another instance follows it.
    pub is_watched: bool,
}

impl BatchStep for FinishTurn {
    type Done = Finish;

    fn same_row(&self, other: &Self) -> bool {
        self.conversation_id == other.conversation_id
    }

    fn together(store: &Store, turns: &[Arc<Self>]) -> Result<Vec<Option<Finish>>, StoreError> {
        on_db_blocking!(store, write, |conn, db| db::batches::finish_turns(
            conn,
            turns,
            store.is_read_committed()
        ))
    }

    fn alone(store: Store, turn: Arc<Self>) -> BoxFuture<'static, Result<Finish, StoreError>> {
        Box::pin(async move { on_db!(store, write, |conn, db| db::turns::finish(conn, &turn)) })
    }

    fn deadline(&self) -> std::time::Instant {
        self.deadline
    }

    fn bytes(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| answer.body.len());
        self.records.len() + answer
    }
}

impl Store {
    /// Finishes a turn under its fence: stores answer, state and log, and releases the lease. Safe to
    /// repeat. Continues even if the caller is dropped.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn finish_turn(&self, turn: Arc<FinishTurn>) -> Result<Finish, StoreError> {
        self.finishes.run(self, turn).await
    }

    /// Renews the leases of an instance's turns. A turn missing from the result no longer belongs to
    /// the instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew_leases(
        &self,
        instance: InstanceId,
        turns: Vec<TurnId>,
        lease: Duration,
    ) -> Result<Vec<Renewed>, StoreError> {
        let is_read_committed = self.is_read_committed();
        on_db!(self, renew, |conn, db| db::batches::renew_leases(
            conn,
            instance,
            &turns,
            lease,
            is_read_committed
        ))
    }

    /// An owner's turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn turn(&self, device: &Owner, turn: TurnId) -> Result<Option<TurnRow>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::get(conn, &device, turn)
            .map_err(Into::into))
    }

    /// Whether a request with this digest began the owner's turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn began_with(
        &self,
        device: &Owner,
        turn: TurnId,
        request_hash: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::began_with(
            conn,
            &device,
            turn,
            &request_hash
        )
        .map_err(Into::into))
    }

    /// The newest turn of the conversation that an owner is in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_turn(&self, device: &Owner) -> Result<Option<TurnRow>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::newest(conn, &device)
            .map_err(Into::into))
    }

    /// The stored log and answer of a finished turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept(&self, turn: TurnId) -> Result<StoredTurn, StoreError> {
        on_db!(self, read, |conn, db| db::turns::kept(conn, turn)
            .map_err(Into::into))
    }

    /// Asks the instance that runs a turn to stop it. The instance sees this at its next lease renewal or log
    /// write.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request_stop(&self, turn: TurnId) -> Result<(), StoreError> {
        on_db!(self, side, |conn, db| db::turns::request_stop(conn, turn)
            .map(drop)
            .map_err(Into::into))
    }
}
