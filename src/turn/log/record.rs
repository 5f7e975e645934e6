//! The records of a log as readers see them. `routes` frames them for each protocol.

use super::{
    buffer::{Buffer, Entry, Text},
    ids::{Ids, RecordId},
};
use crate::{
    store::FrameSeq,
    turn::frame::{Cursor, Frame},
};

/// One record of a log.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    ids: Option<&'a Ids>,
    seq: FrameSeq,
    /// The JSON object that clients see, serialised once. It has no line break.
    pub payload: &'a [u8],
    text: &'a Text,
    /// The payload in typed form; none if the record only adds text.
    pub frame: Option<&'a Frame<'static>>,
}

impl<'a> Record<'a> {
    /// Its id; none if nothing is stored.
    pub fn cursor(&self) -> Option<Cursor> {
        self.ids.map(|ids| ids.cursor(self.seq))
    }

    /// Its id as text; none if nothing is stored.
    pub fn id(&self) -> Option<RecordId<'a>> {
        self.ids.map(|ids| ids.text(self.seq))
    }

    /// The text that it adds to the answer.
    pub fn text(&self) -> &'a str {
        self.text.of(self.payload)
    }

    /// True for the turn's last record.
    pub fn is_final(&self) -> bool {
        self.frame.is_some_and(|frame| frame.is_final)
    }
}

/// Consecutive records of one log, borrowed from its buffers.
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    pub(super) ids: Option<&'a Ids>,
    pub(super) written: &'a Buffer,
    /// How many records come before these.
    pub(super) from: usize,
    pub(super) entries: &'a [Entry],
}

impl<'a> Records<'a> {
    /// The records, in order.
    pub fn iter(self) -> impl Iterator<Item = Record<'a>> {
        let mut start = self.written.end_of(self.from);
        let numbered = self.entries.iter().zip(self.from + 1..);
        numbered.map(move |(entry, number)| {
            let closing = self.written.closing.as_ref();
            let (ids, seq) = match closing.filter(|_| entry.is_final()) {
                Some((ids, seq)) => (ids.as_ref(), *seq),
                None => (self.ids, FrameSeq::of(number)),
            };
            // The payload ends before the line feed.
            let payload = start..entry.payload_end.saturating_sub(1);
            start = entry.payload_end;
            Record {
                ids,
                seq,
                payload: self.written.payloads.get(payload).unwrap_or_default(),
                text: &entry.text,
                frame: entry.frame.as_deref(),
            }
        })
    }
}
