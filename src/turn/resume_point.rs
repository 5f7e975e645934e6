//! A reader's position in a turn. `attach.rs` resumes an answer from it.

use super::frame::Cursor;
use crate::store::{Attempt, FrameSeq};

/// A reader's position.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResumePoint {
    /// The last frame that the reader has.
    pub after: Option<Cursor>,
    /// True if the reader understands `reset`: then it gets the newest attempt, even if it was reading an older
    /// one.
    pub restart: bool,
}

impl ResumePoint {
    /// True if the reader does not follow a turn into another attempt, and has the final frame (`attempt+1:0`)
    /// of the one that it read.
    pub(super) fn has_been_interrupted(&self) -> bool {
        let after = self.after.filter(|_| !self.restart);
        after.is_some_and(|after| after.seq == FrameSeq::START && after.attempt > Attempt::FIRST)
    }
}
