//! A log's buffers: payloads, text, and where each record ends in both.

use std::task::Waker;

use super::ids::Ids;
use crate::{store::FrameSeq, turn::frame::Frame};

/// Where a record ends in the log's buffers, and its frame if that is more than text.
#[derive(Debug)]
pub(super) struct Entry {
    pub payload_end: usize,
    pub text_end: usize,
    pub frame: Option<Box<Frame<'static>>>,
}

impl Entry {
    pub(super) fn is_final(&self) -> bool {
        self.frame.as_ref().is_some_and(|frame| frame.is_final)
    }
}

#[derive(Debug, Default)]
pub(super) struct Buffer {
    /// The payloads, one per line.
    pub payloads: Vec<u8>,
    /// The text of all records.
    pub text: String,
    pub entries: Vec<Entry>,
    /// The final record's id, if it differs from this attempt and the record's number.
    pub closing: Option<(Option<Ids>, FrameSeq)>,
    /// How many records are in the durable log.
    pub flushed: usize,
    pub closed: bool,
    /// True if the last record is the turn's final one.
    pub complete: bool,
    /// The readers that wait for more.
    pub waiting: Vec<Waker>,
    /// How often they were woken.
    pub woken: usize,
}

impl Buffer {
    pub(super) fn wake(&mut self) {
        self.woken += 1;
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Adds a reader to those that wait, once.
    pub(super) fn wait(&mut self, place: &mut Option<(usize, usize)>, waker: &Waker) {
        let taken = place.filter(|(_, when)| *when == self.woken);
        match taken.and_then(|(place, _)| self.waiting.get_mut(place)) {
            Some(known) => known.clone_from(waker),
            None => {
                *place = Some((self.waiting.len(), self.woken));
                self.waiting.push(waker.clone());
            }
        }
    }

    /// Where the first `records` records end, in payloads and in text.
    pub(super) fn ends_of(&self, records: usize) -> (usize, usize) {
        let last = records.checked_sub(1);
        let last = last.and_then(|last| self.entries.get(last));
        last.map_or((0, 0), |last| (last.payload_end, last.text_end))
    }

    /// Completes the record whose payload was just written.
    pub(super) fn push(&mut self, text: &str, frame: Option<Box<Frame<'static>>>) {
        self.payloads.push(b'\n');
        self.text.push_str(text);
        self.entries.push(Entry {
            payload_end: self.payloads.len(),
            text_end: self.text.len(),
            frame,
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.payloads.len() + self.text.len()
    }
}
