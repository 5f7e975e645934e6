//! A turn's numbered log: frames in one buffer, written once, read by many.
//!
//! A reader is a number: it waits for frames past it and takes all that are there in one piece.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::event::Frame;

/// The log of one attempt.
#[derive(Debug)]
pub struct Log {
    /// The frames' ids without their numbers; none for a turn that is not stored.
    prefix: Option<String>,
    /// Whether frames also say their content as `text`.
    mirror_text: bool,
    written: Mutex<Written>,
    grown: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    closed: bool,
}

impl Log {
    /// An empty log.
    pub fn new(prefix: Option<String>, mirror_text: bool) -> Self {
        Self {
            prefix,
            mirror_text,
            written: Mutex::default(),
            grown: watch::Sender::new(()),
        }
    }

    /// A log that is complete, from its frames.
    pub fn complete(bytes: Vec<u8>) -> Self {
        let ends = bytes
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| *pair == b"\n\n")
            .map(|(at, _)| at + 2);
        let written = Written {
            ends: ends.collect(),
            bytes,
            closed: true,
        };
        Self {
            written: Mutex::new(written),
            ..Self::new(None, false)
        }
    }

    /// Appends a frame. Only the turn's own task does.
    pub fn append(&self, mut frame: Frame<'_>) {
        self.mirror(&mut frame);
        let mut written = self.lock();
        let seq = written.ends.len() + 1;
        frame.write(self.id(seq), &mut written.bytes);
        let end = written.bytes.len();
        written.ends.push(end);
        drop(written);
        self.grown.send_replace(());
    }

    /// The whole log as it will be with this last frame, which is not appended yet: it has to
    /// be stored first. With it the last frame's number.
    pub fn with_last(&self, mut last: Frame<'_>) -> (Vec<u8>, usize) {
        self.mirror(&mut last);
        let written = self.lock();
        let seq = written.ends.len() + 1;
        let mut bytes = written.bytes.clone();
        drop(written);
        last.write(self.id(seq), &mut bytes);
        (bytes, seq)
    }

    /// Appends the last frame: readers end after it.
    pub fn close(&self, last: Frame<'_>) {
        self.append(last);
        self.lock().closed = true;
        self.grown.send_replace(());
    }

    /// A reader of the frames after this number.
    pub fn reader(self: &Arc<Self>, after: usize) -> Reader {
        Reader {
            grown: self.grown.subscribe(),
            log: Arc::clone(self),
            seen: after,
        }
    }

    fn id(&self, seq: usize) -> Option<(&str, usize)> {
        self.prefix.as_deref().map(|prefix| (prefix, seq))
    }

    fn mirror(&self, frame: &mut Frame<'_>) {
        if self.mirror_text {
            frame.text = Some(frame.content.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of a log.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    grown: watch::Receiver<()>,
    /// How many frames it has.
    seen: usize,
}

impl Reader {
    /// All frames that are there and that the reader does not have, as soon as there is one.
    /// A reader that is ahead of the log waits. `None` after the last.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.grown.borrow_and_update();
            if let Some(frames) = self.ready() {
                return Some(frames);
            }
            if self.log.lock().closed || self.grown.changed().await.is_err() {
                return self.ready();
            }
        }
    }

    fn ready(&mut self) -> Option<Bytes> {
        let written = self.log.lock();
        let start = match self.seen.checked_sub(1) {
            Some(last) => *written.ends.get(last)?,
            None => 0,
        };
        let frames = written
            .bytes
            .get(start..)
            .filter(|frames| !frames.is_empty())?;
        let frames = Bytes::copy_from_slice(frames);
        self.seen = written.ends.len();
        Some(frames)
    }
}
