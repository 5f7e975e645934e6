//! Tells a running turn to end.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicU8, Ordering},
    task::Poll,
};

use futures_util::task::AtomicWaker;

/// A signal to one turn, its only listener.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: AtomicU8,
    waker: AtomicWaker,
}

/// Why a turn has to end. If there are several causes, the first one of this list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cause {
    /// The turn was adopted, taken over by an expert, or closed.
    Lost = 1,
    /// The visitor stopped it.
    Stopped = 2,
    /// The server shuts down.
    Shutdown = 4,
}

impl Signal {
    /// Signals the turn to end.
    pub(super) fn raise(&self, cause: Cause) {
        self.raised.fetch_or(cause as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Waits for a signal.
    pub(super) async fn raised(&self) -> Cause {
        poll_fn(|cx| match self.cause() {
            Some(cause) => Poll::Ready(cause),
            None => {
                self.waker.register(cx.waker());
                self.cause().map_or(Poll::Pending, Poll::Ready)
            }
        })
        .await
    }

    fn cause(&self) -> Option<Cause> {
        let raised = self.raised.load(Ordering::Acquire);
        [Cause::Lost, Cause::Stopped, Cause::Shutdown]
            .into_iter()
            .find(|cause| raised & *cause as u8 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_lost_counts_before_what_is_stopped() {
        let signal = Signal::default();
        assert!(futures_util::poll!(Box::pin(signal.raised())).is_pending());
        signal.raise(Cause::Shutdown);
        signal.raise(Cause::Stopped);
        assert_eq!(signal.raised().await, Cause::Stopped);
        signal.raise(Cause::Lost);
        assert_eq!(signal.raised().await, Cause::Lost);
    }
}
