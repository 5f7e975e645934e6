//! A log's buffer: the payloads, where each ends, and where the text is in it.

use std::task::Waker;

use super::ids::Ids;
use crate::{store::FrameSeq, turn::frame::Frame};

/// Where a record ends in the log's buffers, and its frame if that is more than text.
#[derive(Debug)]
pub(super) struct Entry {
    pub payload_end: usize,
    pub text: Text,
    pub frame: Option<Box<Frame<'static>>>,
}

/// A record's text.
#[derive(Debug)]
pub(super) enum Text {
    /// Length in bytes, from [`TEXT_START`] in the payload, if the JSON has no escapes there.
    InPayload(usize),
    /// A copy, because the JSON has it with escapes.
    Copied(Box<str>),
}

/// Where the text of an unescaped `content` begins in a payload: it is the first member.
const TEXT_START: usize = "{\"content\":\"".len();

impl Text {
    fn new(text: &str, payload: &[u8]) -> Self {
        match payload.get(TEXT_START..TEXT_START + text.len()) {
            Some(written) if written == text.as_bytes() => Self::InPayload(text.len()),
            _ => Self::Copied(text.into()),
        }
    }

    /// The text of a record with this payload.
    pub(super) fn of<'a>(&'a self, payload: &'a [u8]) -> &'a str {
        match self {
            Self::Copied(text) => text,
            Self::InPayload(length) => {
                let text = payload.get(TEXT_START..TEXT_START + length);
                // Cannot fail: `new` found these bytes equal to a `str`.
                str::from_utf8(text.unwrap_or_default()).unwrap_or_default()
            }
        }
    }
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

    /// Where the first `records` records end in the payloads.
    pub(super) fn end_of(&self, records: usize) -> usize {
        let last = records.checked_sub(1);
        let last = last.and_then(|last| self.entries.get(last));
        last.map_or(0, |last| last.payload_end)
    }

    /// Adds a record.
    pub(super) fn append(&mut self, frame: Frame<'_>) {
        frame.write(&mut self.payloads);
        if frame.is_text() {
            self.push(&frame.content, None);
        } else {
            let frame = Box::new(frame.into_owned());
            self.push(&frame.content.clone(), Some(frame));
        }
    }

    /// Completes the record whose payload was just written.
    pub(super) fn push(&mut self, text: &str, frame: Option<Box<Frame<'static>>>) {
        let start = self.end_of(self.entries.len());
        let text = Text::new(text, self.payloads.get(start..).unwrap_or_default());
        self.payloads.push(b'\n');
        self.entries.push(Entry {
            payload_end: self.payloads.len(),
            text,
            frame,
        });
    }
}
