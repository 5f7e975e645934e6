//! The audit: who of the desk read or wrote what, without what it says. It is only ever added to.

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};

use super::{AuditId, ConversationId, Store, StoreError, on_db, schema, types::SqlTime};
use crate::clock::Timestamp;

/// Who does something, and what.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Who, as their tokens call them.
    pub sub: String,
    /// As what.
    pub role: &'static str,
    /// What: a word.
    pub action: &'static str,
}

/// An entry.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::audit_log, check_for_backend(Pg, Sqlite))]
pub struct AuditEntry {
    /// Its id; they are in the order of their making.
    pub id: AuditId,
    /// When.
    #[diesel(deserialize_as = SqlTime)]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// As what.
    pub role: String,
    /// What.
    pub action: String,
    /// Where.
    pub conversation_id: Option<ConversationId>,
}

impl Store {
    /// Keeps that somebody does something with each of these conversations; of none, where there are none.
    ///
    /// # Errors
    /// When the database fails; then nothing is kept.
    pub async fn note(&self, actor: Actor, of: Vec<ConversationId>) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::audit::write_all(
            conn, &actor, &of
        )
        .map(drop)
        .map_err(Into::into))
    }

    /// The newest entries, of one conversation or of all, before one of them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit(
        &self,
        of: Option<ConversationId>,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        on_db!(self, read, |conn, db| db::audit::newest(
            conn,
            of,
            before,
            limit.into()
        )
        .map_err(Into::into))
    }
}
