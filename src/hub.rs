//! One poll for many waiters: reads changes from the database, and wakes the waiters of this instance.
//!
//! A [`Hub`] polls while there are waiters, and at once after a [hint](Hub::hint). Its [`Topic`] is what it polls for:
//! [conversations and the experts' inbox](LiveConversations), or the turns of other instances (`turn::mirror`).

mod conversations;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{runtime::Handle, sync::Notify, time::timeout};

pub use conversations::LiveConversations;

/// What a hub polls for. It knows the waiters and wakes them.
pub trait Topic: Send + Sync + Sized + 'static {
    /// Whether there are waiters.
    fn is_watched(&self) -> bool;

    /// Polls once and wakes the waiters. Returns the time until the next poll, if no hint comes before.
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
    /// A hub without waiters.
    pub fn of(topic: T) -> Arc<Self> {
        Arc::new(Self {
            topic,
            is_polled: Mutex::new(false),
            hint: Notify::new(),
            runtime: Handle::current(),
        })
    }

    /// The topic.
    pub(crate) fn topic(&self) -> &T {
        &self.topic
    }

    /// The main runtime.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Something may have changed: polls at once.
    pub fn hint(&self) {
        self.hint.notify_one();
    }

    /// Starts polling; polls at once if it is running already. Call this after a waiter was added.
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

    /// Whether there are still waiters. If not, polling ends, and the next waiter starts it again.
    fn goes_on(&self) -> bool {
        let mut is_polled = self.is_polled.lock();
        *is_polled = self.topic.is_watched();
        *is_polled
    }
}

/// Lets polling start again after it panicked.
struct Polled<'a>(&'a Mutex<bool>);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.0.lock() = false;
        }
    }
}
