//! The durable log: the records of running turns, stored with a short delay, so that another instance
//! can show them.

use std::{sync::Arc, time::Duration};

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};

use super::{
    Attempt, ConversationId, Fence, FrameSeq, Store, StoreError, TurnId, on_db, schema,
    turns::{KeptLog, Renewed, TurnRow},
};

/// The records of a running turn that are not stored yet.
#[derive(Debug, Clone)]
pub struct NewLogSegment {
    /// The turn.
    pub turn_id: TurnId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// The turn's fence.
    pub fence: Fence,
    /// The attempt.
    pub attempt: Attempt,
    /// The number of the first frame.
    pub first_seq: FrameSeq,
    /// The number of the last frame.
    pub last_seq: FrameSeq,
    /// The records, a line of JSON each.
    pub records: Vec<u8>,
}

/// A stored segment of a log. It may overlap the segment before it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::turn_pieces, check_for_backend(Pg, Sqlite))]
pub struct LogSegment {
    /// The number of the first frame.
    pub first_seq: FrameSeq,
    /// The records, a line of JSON each.
    pub records: Vec<u8>,
}

/// The progress of a turn that another instance runs.
#[derive(Debug)]
pub struct MirrorUpdate {
    /// The turn.
    pub row: TurnRow,
    /// The attempt that is followed.
    pub attempt: Attempt,
    /// The new segments of its log.
    pub pieces: Vec<LogSegment>,
    /// The whole log, if the turn has ended and the followed attempt was its last.
    pub kept: Option<KeptLog>,
}

impl Store {
    /// Writes new records of running turns. A turn that is missing in the result is no longer the
    /// caller's. PostgreSQL does not wait for the disk: a crash of its machine can only lose the end
    /// of an unfinished answer.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write_logs(&self, pieces: Vec<NewLogSegment>) -> Result<Vec<Renewed>, StoreError> {
        let pieces = Arc::new(pieces);
        let is_read_committed = self.is_read_committed();
        on_db!(self, renew, |conn, db| db::batches::write_logs(
            conn,
            &pieces,
            is_read_committed
        ))
    }

    /// The stored segments of an attempt that go beyond the frame `after`, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn pieces(
        &self,
        turn: TurnId,
        attempt: Attempt,
        after: FrameSeq,
    ) -> Result<Vec<LogSegment>, StoreError> {
        on_db!(self, read, |conn, db| db::logs::pieces(
            conn, turn, attempt, after
        )
        .map_err(Into::into))
    }

    /// The progress of turns that other instances run. Each is given with the followed attempt and
    /// the last known frame.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn progress(
        &self,
        followed: Vec<(TurnId, Attempt, FrameSeq)>,
    ) -> Result<Vec<MirrorUpdate>, StoreError> {
        on_db!(self, read, |conn, db| db::logs::progress(conn, &followed))
    }

    /// Tells the instances that run these turns that they are followed here for this time: they then
    /// write their logs more often and send [hints](Store::listen).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn watch(&self, turns: Vec<TurnId>, time: Duration) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::logs::watch(conn, &turns, time)
            .map(drop))
    }

    /// Deletes up to `limit` expired logs of finished turns, and segments older than `kept` of up to
    /// `limit` turns that are not running. Returns the number of logs.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn prune_logs(&self, kept: Duration, limit: u32) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::logs::prune(
            conn,
            kept,
            limit.into()
        ))
    }
}
