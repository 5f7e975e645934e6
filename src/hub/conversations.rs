//! Changes of conversations outside their turns, and the experts' inbox.
//!
//! A conversation's messages are numbered under the lock of its row, so a reader that has read up to a number has
//! missed nothing below it. The hub only polls snapshots of conversations; a woken reader reads new messages itself.
//! A change made on this instance is seen at once, one made on another within half a second.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Hub, Topic};
use crate::store::{ConversationId, Store, StoreError, conversations::Snapshot, experts::Inbox};

/// How often changes of other instances are polled.
const CONVERSATIONS_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The watched conversations, and the experts' inbox.
pub struct LiveConversations {
    store: Store,
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    conversations: HashMap<ConversationId, watch::Sender<Option<Snapshot>>>,
    work: Option<watch::Sender<Arc<Inbox>>>,
}

impl Hub<LiveConversations> {
    /// A hub without waiters. Must be made on the main runtime.
    pub fn new(store: Store) -> Arc<Self> {
        Self::of(LiveConversations {
            store,
            watched: Mutex::default(),
        })
    }

    /// Watches a conversation's snapshot, starting with `now`; `None` once the conversation is gone.
    pub fn conversation(
        self: &Arc<Self>,
        id: ConversationId,
        now: Snapshot,
    ) -> watch::Receiver<Option<Snapshot>> {
        let receiver = {
            let mut watched = self.topic().watched.lock();
            let conversation = watched.conversations.entry(id);
            let conversation = conversation.or_insert_with(|| watch::Sender::new(Some(now)));
            conversation.subscribe()
        };
        self.poll();
        receiver
    }

    /// Watches the experts' inbox, starting with `now`.
    pub fn work(self: &Arc<Self>, now: Inbox) -> watch::Receiver<Arc<Inbox>> {
        let receiver = {
            let mut watched = self.topic().watched.lock();
            let work = watched
                .work
                .get_or_insert_with(|| watch::Sender::new(Arc::new(now)));
            work.subscribe()
        };
        self.poll();
        receiver
    }
}

impl Topic for LiveConversations {
    fn is_watched(&self) -> bool {
        let mut watched = self.watched.lock();
        watched
            .conversations
            .retain(|_, conversation| conversation.receiver_count() > 0);
        watched.work.take_if(|work| work.receiver_count() == 0);
        watched.work.is_some() || !watched.conversations.is_empty()
    }

    async fn look(hub: &Arc<Hub<Self>>) -> Duration {
        if let Err(error) = hub.topic().tell().await {
            tracing::debug!(error.cause = %error, "changes of conversations could not be read");
        }
        CONVERSATIONS_POLL_INTERVAL
    }
}

impl LiveConversations {
    async fn tell(&self) -> Result<(), StoreError> {
        let (ids, with_work) = {
            let watched = self.watched.lock();
            let ids: Vec<_> = watched.conversations.keys().copied().collect();
            (ids, watched.work.is_some())
        };
        if !ids.is_empty() {
            let snapshots: HashMap<_, _> = self
                .store
                .snapshots(ids.clone())
                .await?
                .into_iter()
                .collect();
            let watched = self.watched.lock();
            for id in ids {
                if let Some(conversation) = watched.conversations.get(&id) {
                    send_if_new(conversation, snapshots.get(&id).copied());
                }
            }
        }
        if with_work {
            let work = Arc::new(self.store.work().await?);
            if let Some(watched) = &self.watched.lock().work {
                send_if_new(watched, work);
            }
        }
        Ok(())
    }
}

fn send_if_new<T: PartialEq>(watched: &watch::Sender<T>, now: T) {
    watched.send_if_modified(|known| {
        let is_new = *known != now;
        *known = now;
        is_new
    });
}
