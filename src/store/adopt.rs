//! Adoption: turns whose instance died are found, taken over or closed. Running turns only.

use std::time::Duration;

use super::{InstanceId, Store, StoreError, TurnId, begin::Started, on_db};

/// A request to adopt a turn.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// The turn.
    pub turn_id: TurnId,
    /// The instance that runs the turn from now on.
    pub instance: InstanceId,
    /// How long the new instance's lease lasts until its first renewal.
    pub lease: Duration,
    /// The maximum number of attempts.
    pub attempts: i32,
    /// How many messages to read for the prompt.
    pub history: u32,
}

/// The outcome of an [`Adopt`].
#[derive(Debug)]
pub enum Adoption {
    /// The caller runs the turn, from its beginning.
    Adopted(Box<Started>),
    /// No attempt was left, or its device is unknown: the turn was closed as interrupted.
    Closed,
    /// The turn has ended, or its lease is still valid.
    NotAbandoned,
}

impl Store {
    /// Adopts a turn whose lease has expired, or closes it when no attempt is left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn adopt_turn(&self, adopt: Adopt) -> Result<Adoption, StoreError> {
        on_db!(self, write, |conn, db| db::adopt::adopt(conn, &adopt))
    }

    /// Up to `limit` turns whose lease has expired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn abandoned_turns(&self, limit: u32) -> Result<Vec<TurnId>, StoreError> {
        on_db!(self, read, |conn, db| db::adopt::abandoned(
            conn,
            limit.into()
        )
        .map_err(Into::into))
    }

    /// Ends a turn's lease now, so that another instance can adopt the turn at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_turn(&self, started: &Started) -> Result<(), StoreError> {
        let (conversation, turn) = (started.conversation_id, started.turn_id);
        let fence = started.fence;
        on_db!(self, renew, |conn, db| db::adopt::release(
            conn,
            conversation,
            turn,
            fence
        )
        .map(drop)
        .map_err(Into::into))
    }

    /// Closes up to `limit` turns as interrupted whose lease expired at least `since` ago and that no
    /// instance has adopted. Returns their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close_forgotten_turns(
        &self,
        since: Duration,
        limit: u32,
    ) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::adopt::close_forgotten(
            conn,
            since,
            limit.into()
        ))
    }

    /// Ends the leases of all other instances: only for a database that a single server uses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_all_turns(&self, instance: InstanceId) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::adopt::release_all(
            conn, instance
        )
        .map_err(Into::into))
    }
}
