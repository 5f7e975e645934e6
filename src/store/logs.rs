//! The durable log: what running turns have said, a moment behind, so that another instance can
//! show it.

use std::{sync::Arc, time::Duration};

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};

use super::{
    Attempt, ConversationId, Fence, FrameSeq, Store, StoreError, TurnId, on_db, schema,
    turns::{KeptLog, Renewed, TurnRow},
};

/// What a running turn has said since its log was last written.
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

/// A piece as it is kept. It may overlap with the one before it.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::turn_pieces, check_for_backend(Pg, Sqlite))]
pub struct LogSegment {
    /// The number of the first frame.
    pub first_seq: FrameSeq,
    /// The records, a line of JSON each.
    pub records: Vec<u8>,
}

/// How a turn stands that is followed from another instance.
#[derive(Debug)]
pub struct MirrorUpdate {
    /// The turn.
    pub row: TurnRow,
    /// The attempt that is followed.
    pub attempt: Attempt,
    /// What it has said since.
    pub pieces: Vec<LogSegment>,
    /// Its whole log, if it has ended in the attempt that is followed.
    pub kept: Option<KeptLog>,
}

impl Store {
    /// Writes what running turns have said. One that is missing in the answer is no longer the
    /// caller's. Without waiting for the disk: what a crash of the database's machine takes away
    /// is the end of an answer that is not complete.
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

    /// What was flushed of an attempt after a frame.
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

    /// How turns stand that other instances run: each with the attempt that is followed and the
    /// last frame that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn progress(
        &self,
        followed: Vec<(TurnId, Attempt, FrameSeq)>,
    ) -> Result<Vec<MirrorUpdate>, StoreError> {
        on_db!(self, read, |conn, db| db::logs::progress(conn, &followed))
    }

    /// Says to the owners of running turns that these are read here, for so long: they then write
    /// more often, and give [hints](Store::listen).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn watch(&self, turns: Vec<TurnId>, time: Duration) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::logs::watch(conn, &turns, time)
            .map(drop))
    }

    /// Deletes up to `limit` logs that are no longer kept, and as many pieces of such as old as
    /// `kept`; how many logs there were.
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
