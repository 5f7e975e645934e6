//! How a running turn is told to end.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicU8, Ordering},
    task::Poll,
};

use futures_util::task::AtomicWaker;

/// What a turn is told. It listens alone.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: AtomicU8,
    waker: AtomicWaker,
}

/// Why a turn has to end; of several the first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cause {
    /// It is another's by now, or was closed.
    Lost = 1,
    /// The visitor stopped it.
    Stopped = 2,
    /// The server shuts down.
    Shutdown = 4,
}

impl Signal {
    /// Tells it.
    pub(super) fn raise(&self, cause: Cause) {
        self.raised.fetch_or(cause as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Waits until it is told.
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
