//! A turn's numbered log: records in one buffer, written once, read by many.
//!
//! A record is `{seq, kind, payload}`. The payload is serialised once, when the record is appended; its typed
//! form is kept with it, so that no reader parses JSON. `routes` frames records for each protocol; `flush.rs`
//! writes them to the durable log.

mod buffer;
mod ids;
mod reader;
mod record;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde::Deserialize;

use super::frame::Frame;
use crate::store::{Attempt, FrameSeq, TurnId};
use buffer::Buffer;
use ids::Ids;
pub use ids::RecordId;
pub use reader::Reader;
pub use record::{Record, Records};

/// Maximum bytes per read, unless one record is larger. Bounds the memory for a client that does not read.
const READ_BYTES: usize = 64 * 1024;
/// Approximate bytes that a protocol adds to each payload.
const FRAMING_BYTES: usize = 64;

/// The log of one attempt.
#[derive(Debug)]
pub struct Log {
    /// None if the turn is not stored.
    ids: Option<Ids>,
    /// True if records repeat their content as `text`.
    mirror_text: bool,
    written: Mutex<Buffer>,
}

impl Log {
    /// An empty log of an attempt; `None` for a turn that is not stored.
    pub fn new(of: Option<(TurnId, Attempt)>, mirror_text: bool) -> Self {
        Self {
            ids: of.map(|(turn, attempt)| Ids::new(turn, attempt)),
            mirror_text,
            written: Mutex::default(),
        }
    }

    /// The log of a finished attempt, read from the database.
    pub fn stored(turn: TurnId, attempt: Attempt, records: &[u8]) -> Self {
        let log = Self::new(Some((turn, attempt)), false);
        log.load(FrameSeq(1), records);
        log.finish();
        log
    }

    /// Appends stored records, without those that this log already has. `first` is the number of the first one.
    /// If that leaves a gap, nothing is appended.
    pub fn load(&self, first: FrameSeq, records: &[u8]) {
        let mut written = self.lock();
        let Some(known) = (written.entries.len() + 1).checked_sub(first.count()) else {
            return;
        };
        let lines = records.split_inclusive(|byte| *byte == b'\n');
        for line in lines.skip(known) {
            let payload = line.strip_suffix(b"\n").unwrap_or(line);
            written.payloads.extend_from_slice(payload);
            let mut json = serde_json::Deserializer::from_slice(payload);
            match Frame::deserialize(&mut json) {
                Ok(frame) if frame.is_text() => written.push(&frame.content, None),
                Ok(frame) => {
                    if frame.keep.is_some() {
                        written.closing = Some((self.ids.as_ref().map(Ids::next), FrameSeq::START));
                    }
                    written.push(&frame.content.clone(), Some(Box::new(frame)));
                }
                Err(error) => {
                    tracing::error!(error.cause = %error, "a stored record cannot be read");
                    written.push("", None);
                }
            }
        }
        written.wake();
    }

    /// Reads all records.
    pub fn with_records<T>(&self, read: impl FnOnce(Records<'_>) -> T) -> T {
        let written = self.lock();
        read(Records {
            ids: self.ids.as_ref(),
            written: &written,
            from: 0,
            entries: &written.entries,
        })
    }

    /// The text of all records.
    pub fn text(&self) -> String {
        self.with_records(|records| records.iter().map(|record| record.text()).collect())
    }

    /// The final record's frame; none before the turn has ended.
    pub fn last(&self) -> Option<Frame<'static>> {
        let written = self.lock();
        let last = written.entries.last().filter(|last| last.is_final())?;
        last.frame.as_deref().cloned()
    }

    /// How many records there are.
    pub fn count(&self) -> usize {
        self.lock().entries.len()
    }

    /// The records that are not in the durable log yet, in its format, with the numbers of the first and the
    /// last one. `None` if there are none, or if the log has ended: then it is stored as a whole.
    pub fn unflushed(&self) -> Option<(Vec<u8>, usize, usize)> {
        let written = self.lock();
        if written.closed || written.flushed == written.entries.len() {
            return None;
        }
        let start = written.end_of(written.flushed);
        let records = written.payloads.get(start..)?.to_vec();
        Some((records, written.flushed + 1, written.entries.len()))
    }

    /// Notes how many records are in the durable log.
    pub fn set_flushed(&self, records: usize) {
        self.lock().flushed = records;
    }

    /// Closes the log without a final record: readers end and look up where the turn goes on.
    pub fn give_up(&self) {
        let mut written = self.lock();
        written.closed = true;
        written.wake();
    }

    /// Closes the log after its final record: readers end there.
    pub fn finish(&self) {
        let mut written = self.lock();
        (written.closed, written.complete) = (true, true);
        written.wake();
    }

    /// Appends a record. Only the turn's own task calls this.
    pub fn append(&self, mut frame: Frame<'_>) {
        self.mirror(&mut frame);
        let mut written = self.lock();
        written.append(frame);
        written.wake();
    }

    /// The whole log with this final record, and the record's number. The record is not appended yet, because
    /// it must be stored first.
    pub fn with_last(&self, mut last: Frame<'_>) -> (Vec<u8>, FrameSeq) {
        self.mirror(&mut last);
        let written = self.lock();
        let seq = written.entries.len() + 1;
        let mut records = written.payloads.clone();
        drop(written);
        last.write(&mut records);
        records.push(b'\n');
        (records, FrameSeq::of(seq))
    }

    /// Appends the final record: readers end after it. Does nothing if the log is closed.
    pub fn close(&self, last: Frame<'_>) {
        self.close_as(None, last);
    }

    /// Like [`Log::close`], for an attempt that was cut off at its last stored record. The final record's id is
    /// `attempt+1:0`: readers may hold any record of this attempt, and no record of a later one has the number
    /// 0.
    pub fn close_beyond(&self, last: Frame<'_>) {
        let ids = self.ids.as_ref().map(Ids::next);
        self.close_as(Some((ids, FrameSeq::START)), last);
    }

    /// Like [`Log::close`], for a log without other records: the final record has the number 0.
    pub fn close_empty(&self, last: Frame<'_>) {
        self.close_as(Some((self.ids.clone(), FrameSeq::START)), last);
    }

    /// Under one lock: a final record of a log that is open would be flushed like any other.
    fn close_as(&self, id: Option<(Option<Ids>, FrameSeq)>, mut last: Frame<'_>) {
        self.mirror(&mut last);
        let mut written = self.lock();
        if written.closed {
            return;
        }
        written.closing = id;
        written.append(last);
        (written.closed, written.complete) = (true, true);
        written.wake();
    }

    /// A reader of the records after this number.
    pub fn reader(self: &Arc<Self>, after: usize) -> Reader {
        Reader::new(Arc::clone(self), after)
    }

    /// The records after the first `seen`: at least one, otherwise at most [`READ_BYTES`]. `None` if there are
    /// none.
    fn after<'a>(&'a self, written: &'a Buffer, seen: usize) -> Option<Records<'a>> {
        let rest = written.entries.get(seen..)?;
        let start = written.end_of(seen);
        let fits = |(entry, number): &(&buffer::Entry, usize)| {
            entry.payload_end - start + number * FRAMING_BYTES <= READ_BYTES
        };
        let fitting = rest.iter().zip(1..).take_while(fits).count().max(1);
        Some(Records {
            ids: self.ids.as_ref(),
            written,
            from: seen,
            entries: rest.get(..fitting)?,
        })
    }

    fn mirror(&self, frame: &mut Frame<'_>) {
        if self.mirror_text {
            frame.text = Some(frame.content.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.written.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, turn::frame::Cursor};

    fn frame(text: &str) -> Frame<'_> {
        Frame::text(text, Timestamp(0))
    }

    fn new() -> Arc<Log> {
        Arc::new(Log::new(Some((TurnId::new(), Attempt::FIRST)), false))
    }

    #[tokio::test]
    async fn a_reader_gets_every_record_once_in_pieces_of_a_bounded_size() {
        let log = new();
        let (small, large) = ("x".repeat(1_000), "y".repeat(2 * READ_BYTES));
        let mut reader = log.reader(0);
        let texts = [&small, &small, &large, &small];
        for text in texts {
            log.append(frame(text));
        }
        log.close(Frame::agent("end", Timestamp(0)));
        let mut said: Vec<String> = Vec::new();
        let mut cursors: Vec<Cursor> = Vec::new();
        let take = |records: Records<'_>| {
            let bytes: usize = records.iter().map(|record| record.payload.len()).sum();
            assert!(bytes <= READ_BYTES || records.iter().count() == 1);
            said.extend(records.iter().map(|record| record.text().to_owned()));
            cursors.extend(records.iter().filter_map(|record| record.cursor()));
        };
        let mut take = take;
        while reader.read(&mut take).await.is_some() {}
        assert!(reader.is_complete());
        assert_eq!(said, [&small, &small, &large, &small, ""]);
        let seqs: Vec<usize> = cursors.iter().map(|cursor| cursor.seq.count()).collect();
        assert_eq!(seqs, [1, 2, 3, 4, 5]);
        assert_eq!(log.text(), texts.map(String::as_str).concat());
    }

    #[tokio::test]
    async fn what_is_stored_and_read_again_is_the_same() {
        let log = new();
        log.append(frame("one\n"));
        log.append(Frame::agent("two", Timestamp(0)));
        let last = Frame::last(
            crate::store::messages::FinishReason::Stop,
            None,
            Timestamp(0),
        );
        let (stored, last_seq) = log.with_last(last.clone());
        log.close(last);
        assert_eq!(last_seq.count(), 3);
        let cursor = log.with_records(|all| all.iter().last().and_then(|last| last.cursor()));
        let cursor = cursor.unwrap();
        let again = Arc::new(Log::stored(cursor.turn_id, cursor.attempt, &stored));
        let shown =
            |log: &Log| log.with_records(|all| format!("{:?}", all.iter().collect::<Vec<_>>()));
        assert_eq!(
            (again.text(), log.text()),
            ("one\n".to_owned(), "one\n".to_owned())
        );
        assert_eq!(shown(&again), shown(&log));
        let mut last = again.reader(2);
        let read = |records: Records<'_>| records.iter().all(|record| record.is_final());
        assert_eq!(last.read(read).await, Some(true));
        assert_eq!(last.read(read).await, None);
        assert_eq!(again.reader(3).read(read).await, None);
        assert_eq!(again.reader(99).read(read).await, None);
    }

    #[test]
    fn an_answer_that_was_taken_over_ends_beyond_its_attempt() {
        let log = new();
        log.append(frame("some"));
        let mut last = frame("");
        (last.is_final, last.keep) = (true, Some(FrameSeq(1)));
        let (stored, _) = log.with_last(last.clone());
        log.close_beyond(last);
        let last =
            |log: &Log| log.with_records(|all| all.iter().last().and_then(|last| last.cursor()));
        let cursor = last(&log).unwrap();
        assert_eq!(
            (cursor.attempt, cursor.seq),
            (Attempt::FIRST.next(), FrameSeq::START)
        );
        let again = Log::stored(cursor.turn_id, Attempt::FIRST, &stored);
        assert_eq!(last(&again), Some(cursor));
    }

    #[test]
    fn pieces_that_overlap_are_loaded_once_and_none_after_a_gap() {
        let whole = new();
        for text in ["a", "b", "c", "d"] {
            whole.append(frame(text));
        }
        let (bytes, ends) = {
            let written = whole.lock();
            let ends = written.entries.iter().map(|entry| entry.payload_end);
            (written.payloads.clone(), ends.collect::<Vec<_>>())
        };
        let log = new();
        log.load(FrameSeq(2), &bytes[ends[0]..ends[1]]);
        assert_eq!(log.count(), 0);
        log.load(FrameSeq(1), &bytes[..ends[1]]);
        log.load(FrameSeq(1), &bytes[..ends[0]]);
        log.load(FrameSeq(2), &bytes[ends[0]..ends[2]]);
        log.load(FrameSeq(4), &bytes[ends[2]..]);
        assert_eq!(log.text(), "abcd");
        assert_eq!(log.lock().payloads, bytes);
    }

    #[tokio::test]
    async fn a_reader_that_is_ahead_waits() {
        let log = new();
        let mut ahead = log.reader(2);
        log.append(frame("1"));
        log.append(frame("2"));
        let text = |records: Records<'_>| {
            records
                .iter()
                .map(|record| record.text())
                .collect::<String>()
        };
        assert!(futures_util::poll!(Box::pin(ahead.read(text))).is_pending());
        log.append(frame("3"));
        assert_eq!(ahead.read(text).await.as_deref(), Some("3"));
    }
}
