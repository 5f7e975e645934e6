//! Typing signals: the other side sees that somebody is writing, for as long as the signal is repeated.

use std::sync::Arc;

use crate::{
    error::{Code, Error, Result},
    hub::{Hub, LiveConversations},
    store::{ConversationId, Store, typing::Typist},
};

/// Receives typing signals.
pub struct Typing {
    store: Store,
    hub: Arc<Hub<LiveConversations>>,
}

impl Typing {
    /// No signals yet.
    pub fn new(store: Store, hub: Arc<Hub<LiveConversations>>) -> Self {
        Self { store, hub }
    }

    /// Notes that somebody is writing. While agents answer, this has no effect.
    ///
    /// # Errors
    /// `not_found` if this expert has not claimed the conversation.
    pub async fn is_writing(&self, id: ConversationId, typist: Typist) -> Result<()> {
        let is_expert = matches!(typist, Typist::Expert(_));
        match self.store.is_writing(id, typist).await? {
            Some(true) => self.hub.hint(),
            Some(false) => {}
            None if is_expert => return Err(Error::new(Code::NotFound)),
            None => {}
        }
        Ok(())
    }
}
