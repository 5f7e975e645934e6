//! Who is writing at this moment, in conversations that a person has.

use std::time::Duration;

use super::{ConversationId, ExpertId, Owner, Store, StoreError, on_db};

/// How long somebody is taken to be writing who has said so, and with how much of that left it is news again.
const LASTS: Duration = Duration::from_secs(5);
const LEFT: Duration = Duration::from_secs(3);

/// Who writes.
#[derive(Debug, Clone)]
pub enum Typist {
    /// Whose conversation it is.
    Owner(Owner),
    /// Who has it.
    Expert(ExpertId),
}

impl Store {
    /// Somebody is writing: whether that is news; none where they have no conversation there that a person
    /// has. Nothing is written that is known: clients say it again and again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_writing(
        &self,
        id: ConversationId,
        typist: Typist,
    ) -> Result<Option<bool>, StoreError> {
        let is_news = {
            let typist = typist.clone();
            on_db!(self, read, |conn, db| db::typing::is_news(
                conn, id, &typist, LEFT
            )
            .map_err(StoreError::from))?
        };
        if is_news == Some(true) {
            on_db!(self, side, |conn, db| db::typing::note(
                conn, id, &typist, LASTS
            )
            .map_err(StoreError::from))?;
        }
        Ok(is_news)
    }
}
