//! A reader of a log is a number: it waits for records past it and reads those that are there together.

use std::{
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::task::yield_now;

use super::{Log, Records};

/// Records that follow each other faster than this come in a burst.
const BURST: Duration = Duration::from_millis(1);

/// One reader of a log, which reads as many records at once as are there. One that is ahead of the log
/// waits. It ends after the last record.
#[derive(Debug, Clone)]
pub struct Reader {
    log: Arc<Log>,
    /// How many records it has.
    seen: usize,
    /// When it read the last.
    took: Instant,
    /// Set while it waits: its place among the waiting readers, and how often they had been woken when it took
    /// that place.
    waits: Option<(usize, usize)>,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>, seen: usize) -> Self {
        Self {
            log,
            seen,
            took: Instant::now(),
            waits: None,
        }
    }

    /// True if the reader has ended with the turn's final record. One that was ahead of the log has not.
    pub fn is_complete(&self) -> bool {
        let written = self.log.lock();
        written.complete && written.entries.len() == self.seen
    }

    /// How many bytes are kept for this reader alone until it has read them: those of a log that was read from the
    /// database for it. Where others read the same log, it is kept for them as well.
    pub fn held(&self) -> usize {
        match Arc::strong_count(&self.log) {
            1 => self.log.lock().bytes(),
            _ => 0,
        }
    }

    /// How many records of the attempt the reader has, or takes for granted.
    pub fn seen(&self) -> usize {
        self.seen
    }

    /// Reads the next records; `None` after the last one. The log is locked while `read` runs: it copies what it
    /// needs.
    pub fn poll_read<T>(
        &mut self,
        cx: &mut Context<'_>,
        read: impl FnOnce(Records<'_>) -> T,
    ) -> Poll<Option<T>> {
        let mut written = self.log.lock();
        if written.entries.len() <= self.seen && !written.closed {
            written.wait(&mut self.waits, cx.waker());
            return Poll::Pending;
        }
        let now = Instant::now();
        // In a burst more is ready at once: then it leaves together.
        if self.waits.take().is_some() && now < self.took + BURST {
            // Not woken at once: everybody else who is ready comes first, and what has arrived.
            return pin!(yield_now()).poll(cx).map(|()| None);
        }
        self.took = now;
        let records = self.log.after(&written, self.seen);
        self.seen += records.map_or(0, |records| records.entries.len());
        Poll::Ready(records.map(read))
    }

    /// The same, waited for.
    pub async fn read<T>(&mut self, mut read: impl FnMut(Records<'_>) -> T) -> Option<T> {
        poll_fn(|cx| self.poll_read(cx, &mut read)).await
    }

    /// Waits for the end of the log.
    pub async fn end(&mut self) {
        while self.read(|_| ()).await.is_some() {}
    }
}
