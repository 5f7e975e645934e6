//! The ids of a log's records.

use std::fmt;

use crate::{
    store::{Attempt, FrameSeq, TurnId},
    turn::frame::Cursor,
};

/// The ids of an attempt's records, without their numbers.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    turn_id: TurnId,
    attempt: Attempt,
    prefix: String,
}

impl Ids {
    pub(super) fn new(turn_id: TurnId, attempt: Attempt) -> Self {
        Self {
            turn_id,
            attempt,
            prefix: format!("{turn_id}.{attempt}:"),
        }
    }

    /// The id of the record with this number.
    pub(super) fn cursor(&self, seq: FrameSeq) -> Cursor {
        Cursor {
            turn_id: self.turn_id,
            attempt: self.attempt,
            seq,
        }
    }

    /// The same id as text; formatting it allocates nothing.
    pub(super) fn text(&self, seq: FrameSeq) -> RecordId<'_> {
        RecordId {
            prefix: &self.prefix,
            seq,
        }
    }

    /// The ids of the next attempt.
    pub(super) fn next(&self) -> Self {
        Self::new(self.turn_id, self.attempt.next())
    }
}

/// A record's id as text, formatted like a [`Cursor`].
#[derive(Debug, Clone, Copy)]
pub struct RecordId<'a> {
    prefix: &'a str,
    seq: FrameSeq,
}

impl RecordId<'_> {
    /// Length of the text in bytes.
    pub fn length(&self) -> usize {
        let digits = self.seq.count().checked_ilog10().unwrap_or_default() + 1;
        self.prefix.len() + digits as usize
    }
}

impl fmt::Display for RecordId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix)?;
        self.seq.fmt(f)
    }
}
