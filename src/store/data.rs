//! All data that is stored about a visitor: exported, or erased. The statements are in `queries/data.rs`;
//! `turn/stop.rs` stops the visitor's turns first.

use std::time::Duration;

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};
use serde_json::Value;

use super::{
    ConversationId, LimitKey, Owner, Store, StoreError, UserId, messages::JsonColumn, on_db,
    schema, sessions::LockRequest, types::SqlTime,
};
use crate::clock::Timestamp;

/// A user's data, for the export.
#[derive(Debug, Clone, Queryable, Selectable)]
#[diesel(table_name = schema::users, check_for_backend(Pg, Sqlite))]
pub struct ExportedUser {
    /// Their id.
    pub id: UserId,
    /// Their name, if known.
    pub name: Option<String>,
    /// When they first came.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
    /// When they began their last conversation.
    #[diesel(deserialize_as = SqlTime)]
    pub last_seen_at: Timestamp,
}

/// A conversation's data, for the export.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = schema::conversations, check_for_backend(Pg, Sqlite))]
pub struct ExportedConversation {
    /// Its id.
    pub id: ConversationId,
    /// Its title.
    pub title: Option<String>,
    /// The agent that answered last.
    pub agent_path: Option<String>,
    /// The agents' stored state.
    #[diesel(deserialize_as = JsonColumn)]
    pub state: Value,
    /// When it began.
    #[diesel(deserialize_as = SqlTime)]
    pub created_at: Timestamp,
}

/// The outcome of opening a conversation.
#[derive(Debug)]
pub enum OpenOutcome {
    /// The conversation is open.
    Done(ConversationId),
    /// The owner wrote too many messages; opening is allowed after this time.
    Limited(Duration),
}

impl Store {
    /// Opens an empty conversation and moves the owner's session lock to it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_conversation(
        &self,
        lock: LockRequest,
        context: Option<Value>,
    ) -> Result<OpenOutcome, StoreError> {
        let user = UserId::new();
        on_db!(self, write, |conn, db| db::begin::open(
            conn,
            user,
            &lock,
            context.clone()
        ))
    }

    /// An owner's conversations, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn conversations(
        &self,
        device: &Owner,
    ) -> Result<Vec<ExportedConversation>, StoreError> {
        let handle = device.handle();
        on_db!(self, read, |conn, db| db::data::conversations(
            conn, &handle
        )
        .map_err(Into::into))
    }

    /// An owner's user row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn visitor(&self, device: &Owner) -> Result<Option<ExportedUser>, StoreError> {
        let handle = device.handle();
        on_db!(self, read, |conn, db| db::data::visitor(conn, &handle)
            .map_err(Into::into))
    }

    /// The conversation that a user began next after `after`; without it, the user's first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_conversation(
        &self,
        user: UserId,
        after: Option<ConversationId>,
    ) -> Result<Option<ExportedConversation>, StoreError> {
        on_db!(self, read, |conn, db| db::data::next_conversation(
            conn, user, after
        )
        .map_err(Into::into))
    }

    /// Erases up to `limit` conversations that have not changed for at least `kept`, and users who have no other
    /// data. Returns the number of conversations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_old(
        &self,
        now: Timestamp,
        kept: Duration,
        limit: u32,
    ) -> Result<usize, StoreError> {
        let micros = i64::try_from(kept.as_micros()).unwrap_or(i64::MAX);
        let before = ConversationId::first_at(Timestamp(now.0.saturating_sub(micros)));
        on_db!(self, write, |conn, db| db::data::erase_old(
            conn,
            before,
            kept,
            limit.into()
        ))
    }

    /// Erases all data of an owner; false if there was none. A running turn loses its lease. Messages
    /// written and tokens spent still count, under the key.
    ///
    /// # Errors
    /// When the database fails; then nothing is erased.
    pub async fn erase(&self, device: &Owner, key: LimitKey) -> Result<bool, StoreError> {
        let device = device.clone();
        on_db!(self, write, |conn, db| db::data::erase(conn, &device, &key))
    }
}
