//! The audit: who at the desk read or wrote what, without the content. Append-only.

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};

use super::{AuditId, ConversationId, Store, StoreError, on_db, schema, types::SqlTime};
use crate::clock::Timestamp;

/// Who acts, and the action.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The `sub` of the person's token.
    pub sub: String,
    /// The role they act in.
    pub role: &'static str,
    /// The action's name.
    pub action: &'static str,
}

/// An entry of the audit.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::audit_log, check_for_backend(Pg, Sqlite))]
pub struct AuditEntry {
    /// Its id; ids sort by creation time.
    pub id: AuditId,
    /// When it happened.
    #[diesel(deserialize_as = SqlTime)]
    pub at: Timestamp,
    /// The `sub` of the person who acted.
    pub actor: String,
    /// The role they acted in.
    pub role: String,
    /// The action's name.
    pub action: String,
    /// The conversation, if the action is about one.
    pub conversation_id: Option<ConversationId>,
}

impl Store {
    /// Writes one entry for each of these conversations, or one without a conversation if the list is empty.
    ///
    /// # Errors
    /// When the database fails; then nothing is written.
    pub async fn note(&self, actor: Actor, of: Vec<ConversationId>) -> Result<(), StoreError> {
        on_db!(self, write, |conn, db| db::audit::write_all(
            conn, &actor, &of
        )
        .map(drop)
        .map_err(Into::into))
    }

    /// The newest entries, of one conversation or of all, optionally only those older than `before`.
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
