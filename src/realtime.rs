//! What happens in conversations beside their turns, for whoever stands by: one poll for all of them.
//!
//! A conversation's number is given under the lock of its row, so who has read up to a number has missed
//! nothing below it. What is watched here is only how far each has come; whoever is told reads what is new.
//! A change that is made on this instance is looked for at once, one of another within half a second.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::timeout,
};

use crate::store::{ConversationId, Store, conversations::Stand, experts::Work};

/// How often other instances' changes are looked for.
const POLL: Duration = Duration::from_millis(500);

/// Fans out what one poll finds. Must be made on the main runtime.
pub struct Hub {
    store: Store,
    state: Mutex<State>,
    hint: Notify,
    runtime: Handle,
}

#[derive(Default)]
struct State {
    conversations: HashMap<ConversationId, watch::Sender<Option<Stand>>>,
    work: Option<watch::Sender<Arc<Work>>>,
    is_polled: bool,
}

impl Hub {
    /// A hub to which nobody listens yet.
    pub fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: Mutex::default(),
            hint: Notify::new(),
            runtime: Handle::current(),
        })
    }

    /// How a conversation stands, whenever that changes; none once it is gone.
    pub fn conversation(
        self: &Arc<Self>,
        id: ConversationId,
        now: Stand,
    ) -> watch::Receiver<Option<Stand>> {
        let mut state = self.lock();
        let watched = state.conversations.entry(id);
        let watched = watched.or_insert_with(|| watch::Sender::new(Some(now)));
        let receiver = watched.subscribe();
        self.poll(state);
        receiver
    }

    /// What the desk has to do, whenever that changes.
    pub fn work(self: &Arc<Self>, now: Work) -> watch::Receiver<Arc<Work>> {
        let mut state = self.lock();
        let watched = state
            .work
            .get_or_insert_with(|| watch::Sender::new(Arc::new(now)));
        let receiver = watched.subscribe();
        self.poll(state);
        receiver
    }

    /// Something has changed here.
    pub fn hint(&self) {
        self.hint.notify_one();
    }

    fn poll(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.is_polled, true) {
            self.runtime.spawn(Arc::clone(self).poll_for_ever());
        }
        drop(state);
        self.hint();
    }

    async fn poll_for_ever(self: Arc<Self>) {
        loop {
            drop(timeout(POLL, self.hint.notified()).await);
            let Some((ids, with_work)) = self.watched() else {
                return;
            };
            if let Err(error) = self.look(ids, with_work).await {
                tracing::debug!(error.cause = %error, "nobody was told what has changed");
            }
        }
    }

    /// What is watched; where nothing is, nobody polls from now on.
    fn watched(&self) -> Option<(Vec<ConversationId>, bool)> {
        let mut state = self.lock();
        state
            .conversations
            .retain(|_, watched| watched.receiver_count() > 0);
        state.work = state
            .work
            .take()
            .filter(|watched| watched.receiver_count() > 0);
        let ids: Vec<_> = state.conversations.keys().copied().collect();
        let with_work = state.work.is_some();
        state.is_polled = with_work || !ids.is_empty();
        state.is_polled.then_some((ids, with_work))
    }

    async fn look(
        &self,
        ids: Vec<ConversationId>,
        with_work: bool,
    ) -> Result<(), crate::store::StoreError> {
        if !ids.is_empty() {
            let stands: HashMap<_, _> = self.store.stands(ids.clone()).await?.into_iter().collect();
            let state = self.lock();
            for id in ids {
                if let Some(watched) = state.conversations.get(&id) {
                    let now = stands.get(&id).copied();
                    watched.send_if_modified(|known| {
                        let changed = *known != now;
                        *known = now;
                        changed
                    });
                }
            }
        }
        if with_work {
            let work = self.store.work().await?;
            if let Some(watched) = &self.lock().work {
                watched.send_if_modified(|known| {
                    let changed = **known != work;
                    if changed {
                        *known = Arc::new(work);
                    }
                    changed
                });
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
