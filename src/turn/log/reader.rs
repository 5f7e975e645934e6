//! Readers of a log. A reader is a position: it waits for later records and reads all that are available at
//! once.

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

/// One reader of a log. It waits if it is ahead of the log, and ends after the last record.
#[derive(Debug, Clone)]
pub struct Reader {
    log: Arc<Log>,
    /// How many records it has read or skipped.
    seen: usize,
    /// When it last read.
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

    /// Bytes of log that are in memory for this reader alone, because the log was read from the database for
    /// it. 0 if others share the log.
    pub fn held(&self) -> usize {
        match Arc::strong_count(&self.log) {
            1 => self.log.lock().payloads.len(),
            _ => 0,
        }
    }

    /// How many records of the attempt the reader has read or skipped.
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
        // In a burst, wait for more records, so that they leave together.
        if self.waits.take().is_some() && now < self.took + BURST {
            // Yield once: other ready tasks run first, and more records arrive.
            return pin!(yield_now()).poll(cx).map(|()| None);
        }
        self.took = now;
        let records = self.log.after(&written, self.seen);
        self.seen += records.map_or(0, |records| records.entries.len());
        Poll::Ready(records.map(read))
    }

    /// Like [`Reader::poll_read`], as a future.
    pub async fn read<T>(&mut self, mut read: impl FnMut(Records<'_>) -> T) -> Option<T> {
        poll_fn(|cx| self.poll_read(cx, &mut read)).await
    }

    /// Waits for the end of the log.
    pub async fn end(&mut self) {
        while self.read(|_| ()).await.is_some() {}
    }
}
