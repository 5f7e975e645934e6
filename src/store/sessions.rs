//! Session locks: which conversation a device is in, and which agent holds it.
//!
//! A lock lives for its `session_ttl` after the last message, on the database's clock. One
//! that has expired counts as none, whether or not it was cleaned up yet.

use std::time::Duration;

use diesel::{Queryable, Selectable, pg::Pg, sqlite::Sqlite};

use super::{ConversationId, LimitKey, Owner, Store, StoreError, on_db, schema, types::SqlTime};
use crate::clock::Timestamp;

pub use super::enums::Mode;

/// A live lock.
#[derive(Debug, Clone, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = schema::session_locks, check_for_backend(Pg, Sqlite))]
pub struct SessionLock {
    /// The conversation that the device is in.
    pub conversation_id: ConversationId,
    /// The agent that holds it; none before the first answer.
    pub active_agent: Option<String>,
    /// When the last message came.
    #[diesel(deserialize_as = SqlTime)]
    pub locked_at: Timestamp,
    /// Seconds from then to the end.
    pub session_ttl: i64,
    /// The end.
    #[diesel(deserialize_as = SqlTime)]
    pub expires_at: Timestamp,
    /// Since when the device's messages are counted.
    #[diesel(deserialize_as = SqlTime)]
    pub window_began: Timestamp,
    /// How many there were since then.
    pub window_count: i64,
}

/// The stretch in which a device's messages are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

impl SessionLock {
    /// How long until the device may write again, if its last message was one too many.
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

/// To which conversation a message goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Within {
    /// To the one that the lock is on, while it lives; else to a new one.
    #[default]
    Session,
    /// To a new one.
    New,
    /// To the one that the user's client calls so, or that has this id; to a new one of that name, where
    /// there is none.
    Named(String),
    /// To this one, if it is the user's.
    Conversation(ConversationId),
}

impl Within {
    /// What the client calls a new conversation.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Named(name) => Some(name),
            _ => None,
        }
    }
}

/// A lock to take, or to refresh.
#[derive(Debug, Clone)]
pub struct LockRequest {
    /// Whose lock it is.
    pub device: Owner,
    /// Under which it is counted what they write, when the lock is deleted.
    pub limit_key: LimitKey,
    /// Where to go with it.
    pub within: Within,
    /// The conversation to open, where that is a new one.
    pub new_conversation: ConversationId,
    /// The agent to move to; none leaves it as it is.
    pub agent: Option<String>,
    /// The life of a new lock.
    pub default_ttl: Duration,
    /// The life that a lock gets by moving to `agent`.
    pub agent_ttl: Option<Duration>,
    /// How many messages are written with it.
    pub messages: u32,
    /// How many messages a device may write in [`WINDOW`].
    pub limit: Option<u32>,
}

impl LockRequest {
    /// The life of the lock, if it is new or moves.
    pub fn ttl(&self) -> Duration {
        self.agent_ttl.unwrap_or(self.default_ttl)
    }
}

impl Store {
    /// A device's live lock and the mode of its conversation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn session(&self, device: &Owner) -> Result<Option<(SessionLock, Mode)>, StoreError> {
        let device = device.clone();
        on_db!(self, read, |conn, db| db::sessions::get(conn, &device)
            .map_err(Into::into))
    }

    /// Ends a device's lock; whether there was a live one. The row stays until the device's
    /// window is over, so that nobody writes more by beginning anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn clear_session(&self, device: &Owner) -> Result<bool, StoreError> {
        let device = device.clone();
        on_db!(self, write, |conn, db| db::sessions::clear(conn, &device))
    }

    /// Deletes up to `limit` expired locks; how many there were.
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
