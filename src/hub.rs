//! One poll for many waiters: reads from the database what has changed, and wakes those who wait for it on this instance.
//!
//! A [`Hub`] polls while somebody waits, and at once after a [hint](Hub::hint). What it polls for is its
//! [`Topic`]: [conversations and the desk](LiveConversations), or the turns of other instances (`turn::mirror`).

mod conversations;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify, time::timeout};

pub use conversations::LiveConversations;

/// What a hub polls for. It knows who waits, and tells them.
pub trait Topic: Send + Sync + Sized + 'static {
    /// Whether anybody waits.
    fn is_watched(&self) -> bool;

    /// Looks once and tells those who wait. Returns how long until the next look, if no hint comes before.
    fn look(hub: &Arc<Hub<Self>>) -> impl Future<Output = Duration> + Send;
}

/// Polls for a topic. Must be made on the main runtime.
pub struct Hub<T> {
    topic: T,
    is_polled: Mutex<bool>,
    hint: Notify,
    runtime: Handle,
}

impl<T: Topic> Hub<T> {
    /// A hub that nobody waits at yet.
    pub fn of(topic: T) -> Arc<Self> {
        Arc::new(Self {
            topic,
            is_polled: Mutex::new(false),
            hint: Notify::new(),
            runtime: Handle::current(),
        })
    }

    /// What it polls for.
    pub(crate) fn topic(&self) -> &T {
        &self.topic
    }

    /// The main runtime.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Something may have changed: it is looked for at once.
    pub fn hint(&self) {
        self.hint.notify_one();
    }

    /// Polls from now on. Called after somebody new waits.
    pub(crate) fn poll(self: &Arc<Self>) {
        match std::mem::replace(&mut *self.is_polled.lock(), true) {
            true => self.hint(),
            false => drop(self.runtime.spawn(Arc::clone(self).poll_while_watched())),
        }
    }

    async fn poll_while_watched(self: Arc<Self>) {
        let _polled = Polled(&self.is_polled);
        while self.goes_on() {
            let pause = T::look(&self).await;
            drop(timeout(pause, self.hint.notified()).await);
        }
    }

    /// Whether anybody still waits. Once this is false the poll ends; the next one who waits starts another.
    fn goes_on(&self) -> bool {
        let mut is_polled = self.is_polled.lock();
        *is_polled = self.topic.is_watched();
        *is_polled
    }
}

/// Lets another poll start after one that panicked.
struct Polled<'a>(&'a Mutex<bool>);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.lock() = false;
        }
    }
}
