//! Session locks: which conversation an owner is in, and which agent answers there.
//!
//! A lock lives for its `session_ttl` after the last message, on the database's clock. An expired
//! lock counts as absent, whether or not its row was deleted yet.

use std::time::Duration;

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};

use super::{ConversationId, LimitKey, Owner, Store, StoreError, on_db, schema, types::SqlTime};
use crate::clock::Timestamp;

pub use super::enums::Mode;

/// A session lock.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = schema::session_locks, check_for_backend(Pg, Sqlite))]
pub struct SessionLock {
    /// The conversation that the owner is in.
    pub conversation_id: ConversationId,
    /// The agent that answers; `None` before the first answer.
    pub active_agent: Option<String>,
    /// When the lock was last taken, refreshed or handed to an agent.
    #[diesel(deserialize_as = SqlTime)]
    pub locked_at: Timestamp,
    /// Lifetime after `locked_at`, in seconds. Longer while an expert has the conversation.
    pub session_ttl: i64,
    /// When the lock expires.
    #[diesel(deserialize_as = SqlTime)]
    pub expires_at: Timestamp,
    /// When the current rate limit window began.
    #[diesel(deserialize_as = SqlTime)]
    pub window_began: Timestamp,
    /// Messages written in this window.
    pub window_count: i64,
}

/// The rate limit's window: an owner's messages are counted within it.
pub const WINDOW: Duration = Duration::from_secs(60);

impl SessionLock {
    /// How long until the owner may write again; `None` if the last message was within the limit.
    pub fn wait(&self, limit: Option<u32>) -> Option<Duration> {
        let limit = i64::from(limit?);
        let over = self
            .window_began
            .plus(WINDOW)
            .0
            .saturating_sub(self.locked_at.0);
        (self.window_count > limit).then(|| Duration::from_micros(u64::try_from(over).unwrap_or(0)))
    }
}

/// Which conversation a message goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Within {
    /// The live lock's conversation; a new one if there is no live lock.
    #[default]
    Session,
    /// A new one.
    New,
    /// The user's conversation with this client-chosen name or, failing that, with this id; if there is none, a
    /// new one with this name.
    Named(String),
    /// This one, if it is the user's.
    Conversation(ConversationId),
}

impl Within {
    /// The client's name for a new conversation.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            _ => None,
        }
    }
}

/// A session lock to take or refresh.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// The lock's owner.
    pub device: Owner,
    /// The key under which the message count is kept if the lock is deleted.
    pub limit_key: LimitKey,
    /// Which conversation to go to.
    pub within: Within,
    /// The conversation's id, if a new one is opened.
    pub new_conversation: ConversationId,
    /// The agent to move to; `None` keeps the current one.
    pub agent: Option<String>,
    /// Lifetime of a new lock.
    pub default_ttl: Duration,
    /// Lifetime of a lock that moves to `agent`.
    pub agent_ttl: Option<Duration>,
    /// How many messages to count against the limit.
    pub messages: u32,
    /// How many messages an owner may write per [`WINDOW`]; `None` for no limit.
    pub limit: Option<u32>,
}

impl LockRequest {
    /// Lifetime of the lock, if it is new or moves to another agent.
    pub fn ttl(&self) -> Duration {
        self.agent_ttl.unwrap_or(self.default_ttl)
    }
}

impl Store {
    /// An owner's live lock and its conversation's mode.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, device: &Owner) -> Result<Option<(SessionLock, Mode)>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::sessions::get(conn, &device)
            .map_err(Into::into))
    }

    /// Ends an owner's lock. Returns whether it was live. The row stays until its rate limit window is
    /// over, so that a new session does not reset the count.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clear_session(&self, device: &Owner) -> Result<bool, StoreError> {
        let device = device.clone();
        on_db!(self, write, |conn, db| db::sessions::clear(conn, &device))
    }

    /// Deletes up to `limit` expired locks. Returns how many were deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clean_up_sessions(&self, limit: u32) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::sessions::clean_up(
            conn,
            limit.into()
        ))
    }
}
