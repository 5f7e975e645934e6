//! Typing signals, in conversations that an expert has or is asked for.

use std::time::Duration;

use super::{ConversationId, ExpertId, Owner, Store, StoreError, on_db};

/// A typing signal lasts for `LASTS`; it is written again only when less than `LEFT` remains.
const LASTS: Duration = Duration::from_secs(5);
const LEFT: Duration = Duration::from_secs(3);

/// Who is typing.
#[derive(Debug, Clone)]
pub enum Typist {
    /// The conversation's owner.
    Owner(Owner),
    /// The expert who has claimed it.
    Expert(ExpertId),
}

impl Store {
    /// Records a typing signal. Returns whether it is news; `None` if the conversation is not the typist's or
    /// agents answer it. Only news is written, because clients repeat their signals.
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
