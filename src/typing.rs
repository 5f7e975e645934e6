//! Who is writing at this moment. It is told to the other side for as long as it is said again.

use std::sync::Arc;

use crate::{
    error::{Code, Error, Result},
    hub::{Hub, LiveConversations},
    store::{ConversationId, Store, typing::Typist},
};

/// Who is writing.
pub struct Typing {
    store: Store,
    hub: Arc<Hub<LiveConversations>>,
}

impl Typing {
    /// Nobody is.
    pub fn new(store: Store, hub: Arc<Hub<LiveConversations>>) -> Self {
        Self { store, hub }
    }

    /// Somebody is writing. Where agents answer, nobody is told.
    ///
    /// # Errors
    /// `not_found` for a conversation that this person at the desk has not.
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
