//! Turns: begun with the visitor's message, finished with the answer, owned in between.
//!
//! A running turn has an owner, a lease on the database's clock and a fence on its
//! conversation's row. Every write of a turn goes through that row and holds only while the
//! fence is its own.

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

/// Everything that finishes a turn.
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
    /// The device whose lock it was begun with.
    pub device: Owner,
    /// The fence that it was given.
    pub fence: Fence,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// The code of its error frame.
    pub error_code: Option<String>,
    /// The answer, or as much of it as there is.
    pub answer: Option<AnswerMessage>,
    /// Who judges the answer.
    pub judging: Option<Judging>,
    /// The widgets that it showed.
    pub widgets: Vec<WidgetMessage>,
    /// The person who is asked for with it.
    pub asks: Option<HandoffRequest>,
    /// Whether a person had the conversation when it began.
    pub with_person: bool,
    /// The agent that holds the session now, and its lock's life.
    pub agent: Option<(String, Duration)>,
    /// What the agents remember now.
    pub state: Option<Value>,
    /// What is known of the visitor now.
    pub context: Option<Value>,
    /// The visitor's name, if it was learnt.
    pub user_name: Option<String>,
    /// What its models read and wrote, in tokens; none where there was none.
    pub usage: Option<(i64, i64)>,
    /// The whole log, a line of JSON a record, the final one included.
    pub records: Vec<u8>,
    /// The final frame's number.
    pub last_seq: FrameSeq,
    /// For how long the log is kept.
    pub log_kept: Duration,
    /// Until when the caller waits; later than that nothing is committed.
    pub deadline: std::time::Instant,
}

impl FinishTurn {
    /// How many messages it stores, but for the line of an [`HandoffRequest`].
    pub fn messages(&self) -> i64 {
        let all = usize::from(self.answer.is_some()) + self.widgets.len();
        i64::try_from(all).unwrap_or(i64::MAX)
    }
}

/// The text that answers a turn.
#[derive(Debug, Clone)]
pub struct AnswerMessage {
    /// Its id.
    pub message_id: MessageId,
    /// Byte for byte what was streamed.
    pub body: String,
    /// What the agent says beside it.
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
    /// The same in words.
    pub text: String,
    /// The call that waits for the visitor's yes.
    pub confirms: Option<Value>,
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
    pub attempt: Attempt,
    /// Why it ended; none while it runs.
    pub finish_reason: Option<FinishReason>,
    /// The code of its error frame.
    pub error_code: Option<String>,
    /// How many of its frames count, where a person took it over.
    pub keep: Option<FrameSeq>,
    /// Whether it runs and its owner is dead.
    pub is_abandoned: bool,
}

/// What is kept of a turn that has ended.
#[derive(Debug)]
pub struct StoredTurn {
    /// The log and its last number, unless it was pruned.
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
    /// All records, a line of JSON each.
    pub records: Vec<u8>,
}

/// A lease that was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// The turn.
    pub turn_id: TurnId,
    /// Whether somebody asked for it to stop.
    pub stop_requested: bool,
    /// Whether it is read on another instance.
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
        let is_read_committed = self.is_read_committed();
        on_db!(self, renew, |conn, db| db::batches::renew_leases(
            conn,
            owner,
            &turns,
            lease,
            is_read_committed
        ))
    }

    /// A device's turn.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn turn(&self, device: &Owner, turn: TurnId) -> Result<Option<TurnRow>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::get(conn, &device, turn)
            .map_err(Into::into))
    }

    /// Whether a device's turn was begun by a request with this digest.
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

    /// The newest turn of the conversation that a device is in.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_turn(&self, device: &Owner) -> Result<Option<TurnRow>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::turns::newest(conn, &device)
            .map_err(Into::into))
    }

    /// What is kept of a turn that has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept(&self, turn: TurnId) -> Result<StoredTurn, StoreError> {
        on_db!(self, read, |conn, db| db::turns::kept(conn, turn)
            .map_err(Into::into))
    }

    /// Asks the owner of a running turn to stop it; it learns of it by its next renewal.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request_stop(&self, turn: TurnId) -> Result<(), StoreError> {
        on_db!(self, side, |conn, db| db::turns::request_stop(conn, turn)
            .map(drop)
            .map_err(Into::into))
    }
}
