//! Turns whose owner is dead: found, taken over, given up.

use std::time::Duration;

use super::{InstanceId, Store, StoreError, TurnId, begin::Started, on_db};

/// What it takes to adopt a turn.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// The turn.
    pub turn_id: TurnId,
    /// Who runs it from now on.
    pub owner: InstanceId,
    /// For how long the new owner is taken for alive.
    pub lease: Duration,
    /// How many attempts there may be.
    pub attempts: i32,
    /// How many messages to read for the prompt.
    pub history: u32,
}

/// What became of an [`Adopt`].
#[derive(Debug)]
pub enum Adoption {
    /// The turn is the caller's to run, from its beginning.
    Adopted(Box<Started>),
    /// There were too many attempts: it was closed as interrupted.
    Closed,
    /// It has ended, or its owner lives.
    NotAbandoned,
}

impl Store {
    /// Takes over a turn whose owner is dead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn adopt_turn(&self, adopt: Adopt) -> Result<Adoption, StoreError> {
        on_db!(self, write, |conn, db| db::adopt::adopt(conn, &adopt))
    }

    /// Up to `limit` turns whose owner is dead.
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

    /// Gives a turn's lease up, so that another instance can adopt it at once.
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

    /// Closes up to `limit` turns as interrupted that nobody has adopted for so long; how many
    /// there were.
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

    /// Takes all running turns from other owners, for a database that only one server uses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_all_turns(&self, owner: InstanceId) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::adopt::release_all(conn, owner)
            .map_err(Into::into))
    }
}
