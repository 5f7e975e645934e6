//! Where a reader of a turn stands.

use super::frame::Cursor;
use crate::store::{Attempt, FrameSeq};

/// Where a reader stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResumePoint {
    /// The last frame that it has.
    pub after: Option<Cursor>,
    /// Whether it understands `reset`: then it is given the newest attempt, whichever it was
    /// reading.
    pub restart: bool,
}

impl ResumePoint {
    /// Whether the reader, which does not go on to another attempt, has the final frame of the one
    /// that it read.
    pub(super) fn has_been_interrupted(&self) -> bool {
        let after = self.after.filter(|_| !self.restart);
        after.is_some_and(|after| after.seq == FrameSeq::START && after.attempt > Attempt::FIRST)
    }
}
