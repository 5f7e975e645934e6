//! A turn's numbered log: frames in one buffer, written once, read by many.
//!
//! A reader is a number: it waits for frames past it and takes those that are there in one piece.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::Stream;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::yield_now;

use super::event::Frame;
use crate::store::FrameSeq;

/// The most bytes that a reader takes at once, unless one frame is larger: what a client that
/// does not read holds in memory.
const PIECE: usize = 64 * 1024;
/// Frames that follow each other faster than this come in a burst.
const BURST: Duration = Duration::from_millis(1);

/// The log of one attempt.
#[derive(Debug)]
pub struct Log {
    /// The frames' ids without their numbers; none for a turn that is not stored.
    prefix: Option<String>,
    /// Whether frames also say their content as `text`.
    mirror_text: bool,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    /// How many frames are in the durable log.
    flushed: usize,
    closed: bool,
    /// Whether the last frame is the turn's final one.
    complete: bool,
    /// The readers that wait for more.
    waiting: Vec<Waker>,
    /// How often they were woken.
    woken: usize,
}

impl Written {
    /// Whoever waits has something to see.
    fn wake(&mut self) {
        self.woken += 1;
        self.waiting.drain(..).for_each(Waker::wake);
    }

    /// Puts a reader among those that wait, once.
    fn wait(&mut self, place: &mut Option<(usize, usize)>, waker: &Waker) {
        let taken = place.filter(|(_, when)| *when == self.woken);
        match taken.and_then(|(place, _)| self.waiting.get_mut(place)) {
            Some(known) => known.clone_from(waker),
            None => {
                *place = Some((self.waiting.len(), self.woken));
                self.waiting.push(waker.clone());
            }
        }
    }

    /// The frames after so many, which is put forward: at least one, and no more than [`PIECE`]
    /// otherwise.
    fn after(&self, seen: &mut usize) -> Option<Bytes> {
        let start = match seen.checked_sub(1) {
            Some(last) => *self.ends.get(last)?,
            None => 0,
        };
        let rest = self.ends.get(*seen..)?;
        let fitting = rest.partition_point(|end| *end <= start + PIECE).max(1);
        let end = *rest.get(fitting - 1)?;
        let frames = Bytes::copy_from_slice(self.bytes.get(start..end)?);
        *seen += fitting;
        Some(frames)
    }
}

impl Log {
    /// An empty log.
    pub fn new(prefix: Option<String>, mirror_text: bool) -> Self {
        Self {
            prefix,
            mirror_text,
            written: Mutex::default(),
        }
    }

    /// A log that is complete, from its frames.
    pub fn complete(bytes: &[u8]) -> Self {
        let log = Self::new(None, false);
        log.append_framed(FrameSeq(1), bytes);
        log.finish();
        log
    }

    /// Appends frames that were framed elsewhere, of which the first has this number: those that
    /// this log does not have. Where some are missing before them, nothing.
    pub fn append_framed(&self, first: FrameSeq, frames: &[u8]) {
        let mut written = self.lock();
        let Some(known) = (written.ends.len() + 1).checked_sub(first.count()) else {
            return;
        };
        let ends = frames.windows(2).enumerate();
        let ends = ends.filter(|(_, pair)| *pair == b"\n\n");
        let ends: Vec<usize> = ends.map(|(at, _)| at + 2).collect();
        let start = match known.checked_sub(1) {
            Some(last) => ends.get(last).copied().unwrap_or(frames.len()),
            None => 0,
        };
        let before = written.bytes.len();
        written
            .bytes
            .extend_from_slice(frames.get(start..).unwrap_or_default());
        let new = ends.into_iter().skip(known);
        written.ends.extend(new.map(|end| before + end - start));
        written.wake();
    }

    /// All frames.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// The last frame.
    pub fn last(&self) -> Vec<u8> {
        let written = self.lock();
        let before = written.ends.len().checked_sub(2);
        let start = before.and_then(|before| written.ends.get(before).copied());
        let last = written.bytes.get(start.unwrap_or_default()..);
        last.unwrap_or_default().to_vec()
    }

    /// How many frames there are.
    pub fn count(&self) -> usize {
        self.lock().ends.len()
    }

    /// The frames that are not in the durable log yet, the first one's number and the last one's. A
    /// log that has ended is stored as a whole, not here.
    pub fn unflushed(&self) -> Option<(Vec<u8>, usize, usize)> {
        let written = self.lock();
        if written.closed || written.flushed == written.ends.len() {
            return None;
        }
        let start = match written.flushed.checked_sub(1) {
            Some(last) => *written.ends.get(last)?,
            None => 0,
        };
        let frames = written.bytes.get(start..)?.to_vec();
        Some((frames, written.flushed + 1, written.ends.len()))
    }

    /// So many frames are in the durable log.
    pub fn set_flushed(&self, frames: usize) {
        self.lock().flushed = frames;
    }

    /// Ends it as it is: readers end where they are, and come back to where the turn goes on.
    pub fn give_up(&self) {
        let mut written = self.lock();
        written.closed = true;
        written.wake();
    }

    /// The final frame has been appended: readers end after it.
    pub fn finish(&self) {
        let mut written = self.lock();
        (written.closed, written.complete) = (true, true);
        written.wake();
    }

    /// Appends a frame. Only the turn's own task does.
    pub fn append(&self, mut frame: Frame<'_>) {
        self.mirror(&mut frame);
        let mut written = self.lock();
        let seq = written.ends.len() + 1;
        frame.write(self.id(seq), &mut written.bytes);
        let end = written.bytes.len();
        written.ends.push(end);
        written.wake();
    }

    /// The whole log as it will be with this last frame, which is not appended yet: it has to
    /// be stored first. With it the last frame's number.
    pub fn with_last(&self, mut last: Frame<'_>) -> (Vec<u8>, FrameSeq) {
        self.mirror(&mut last);
        let written = self.lock();
        let seq = written.ends.len() + 1;
        let mut bytes = written.bytes.clone();
        drop(written);
        last.write(self.id(seq), &mut bytes);
        (bytes, FrameSeq::of(seq))
    }

    /// Appends the last frame: readers end after it. A log that has one keeps it.
    pub fn close(&self, last: Frame<'_>) {
        if self.lock().closed {
            return;
        }
        self.append(last);
        self.finish();
    }

    /// A reader of the frames after this number.
    pub fn reader(self: &Arc<Self>, after: usize) -> Reader {
        Reader {
            log: Arc::clone(self),
            seen: after,
            took: Instant::now(),
            waits: None,
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
        self.written.lock()
    }
}

/// One reader of a log: a stream of frames, as many at once as are there. One that is ahead of the log
/// waits. It ends after the last frame.
#[derive(Debug, Clone)]
pub struct Reader {
    log: Arc<Log>,
    /// How many frames it has.
    seen: usize,
    /// When it took the last.
    took: Instant,
    /// It waits for more. Its place among those that do, and how often they had been woken when it took
    /// it.
    waits: Option<(usize, usize)>,
}

impl Reader {
    /// Whether the reader has ended with the turn's final frame. One that was ahead of the log has not.
    pub fn is_complete(&self) -> bool {
        let written = self.log.lock();
        written.complete && written.ends.len() == self.seen
    }

    /// How many bytes are kept for this reader alone until it has read them: those of a log that was read from the
    /// database for it. Where others read the same, it is kept for them as well.
    pub fn held(&self) -> usize {
        match Arc::strong_count(&self.log) {
            1 => self.log.lock().bytes.len(),
            _ => 0,
        }
    }

    /// How many frames of the attempt the reader has, or takes for granted.
    pub fn seen(&self) -> usize {
        self.seen
    }
}

impl Stream for Reader {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let reader = &mut *self;
        let mut written = reader.log.lock();
        if written.ends.len() <= reader.seen && !written.closed {
            written.wait(&mut reader.waits, cx.waker());
            return Poll::Pending;
        }
        let now = Instant::now();
        // In a burst more is ready at once: then it leaves in one piece.
        if reader.waits.take().is_some() && now < reader.took + BURST {
            // Not woken at once: everybody else who is ready comes first, and what has arrived.
            return pin!(yield_now()).poll(cx).map(|()| None);
        }
        reader.took = now;
        Poll::Ready(written.after(&mut reader.seen))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::clock::Timestamp;

    fn frame(text: &str) -> Frame<'_> {
        Frame::text(text, Timestamp(0))
    }

    #[tokio::test]
    async fn a_reader_gets_every_frame_once_in_pieces_of_a_bounded_size() {
        let log = Arc::new(Log::new(Some("t.1:".to_owned()), false));
        let (small, large) = ("x".repeat(1_000), "y".repeat(2 * PIECE));
        let mut reader = log.reader(0);
        for text in [&small, &small, &large, &small] {
            log.append(frame(text));
        }
        log.close(frame("end"));
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await {
            let frames = piece.windows(2).filter(|pair| pair == b"\n\n").count();
            assert!(piece.len() <= PIECE || frames == 1);
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, log.lock().bytes);
        let again = Arc::new(Log::complete(&all));
        assert_eq!(again.lock().ends, log.lock().ends);
        let mut last = again.reader(4);
        assert!(
            last.next()
                .await
                .is_some_and(|piece| piece.ends_with(b"\"is_final\":false}\n\n"))
        );
        assert!(last.next().await.is_none());
        assert!(again.reader(5).next().await.is_none());
        assert!(again.reader(99).next().await.is_none());
    }

    #[test]
    fn pieces_that_overlap_are_appended_once_and_none_after_a_gap() {
        let whole = Log::new(None, false);
        for text in ["a", "b", "c", "d"] {
            whole.append(frame(text));
        }
        let (bytes, ends) = {
            let written = whole.lock();
            (written.bytes.clone(), written.ends.clone())
        };
        let log = Log::new(None, false);
        log.append_framed(FrameSeq(2), &bytes[ends[0]..ends[1]]);
        assert_eq!(log.count(), 0);
        log.append_framed(FrameSeq(1), &bytes[..ends[1]]);
        log.append_framed(FrameSeq(1), &bytes[..ends[0]]);
        log.append_framed(FrameSeq(2), &bytes[ends[0]..ends[2]]);
        log.append_framed(FrameSeq(4), &bytes[ends[2]..]);
        let written = log.lock();
        assert_eq!((&written.bytes, &written.ends), (&bytes, &ends));
    }

    #[tokio::test]
    async fn a_reader_that_is_ahead_waits() {
        let log = Arc::new(Log::new(None, false));
        let mut ahead = log.reader(2);
        log.append(frame("1"));
        log.append(frame("2"));
        assert!(futures_util::poll!(Box::pin(ahead.next())).is_pending());
        log.append(frame("3"));
        assert!(
            ahead
                .next()
                .await
                .is_some_and(|piece| piece.windows(3).any(|text| text == b"\"3\""))
        );
    }
}
