//! Daily token budgets, and the tokens that turns have spent. Tokens are reserved before a model is called and
//! settled after the turn has ended, by its own instance or by a sweeper, so a crash leaves nothing reserved.

use super::{ConversationId, Owner, Store, StoreError, TurnId, on_db};
use crate::clock::Timestamp;

/// A request to reserve tokens for a turn.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// The turn.
    pub turn_id: TurnId,
    /// The day, in days since 1970-01-01.
    pub day: i64,
    /// How many tokens to reserve.
    pub tokens: i64,
    /// The budgets to reserve from, each with its daily limit in tokens.
    pub scopes: Vec<(String, i64)>,
}

/// Turns or evaluations, and the tokens that they spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, diesel::Queryable)]
pub struct Spent {
    /// How many turns or evaluations.
    pub count: i64,
    /// Input tokens.
    pub input: i64,
    /// Output tokens.
    pub output: i64,
}

/// Selects turns, and evaluations of their answers.
#[derive(Debug, Clone, Default)]
pub struct SpentBy {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
    /// Of this owner.
    pub device: Option<Owner>,
    /// In this conversation.
    pub conversation: Option<ConversationId>,
}

impl Store {
    /// Reserves tokens from all of these budgets, or from none; false if one has too few left. Repeating
    /// the call for a turn reserves nothing more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reserve(&self, reserve: Reserve) -> Result<bool, StoreError> {
        on_db!(self, write, |conn, db| db::budgets::reserve(conn, &reserve))
    }

    /// Settles the reservations of a turn that has ended, or up to `limit` reservations of all such turns.
    /// Returns their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(&self, turn: Option<TurnId>, limit: u32) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::budgets::settle(
            conn,
            turn,
            limit.into()
        ))
    }

    /// Deletes the budgets of the oldest day, if it is before this day. Returns their number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_budgets(&self, before: i64) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::budgets::forget(conn, before)
            .map_err(Into::into))
    }

    /// What turns have spent, and what the evaluations of their answers have spent.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent(&self, by: SpentBy) -> Result<(Spent, Spent), StoreError> {
        on_db!(self, read, |conn, db| db::budgets::spent(conn, &by)
            .map_err(Into::into))
    }
}
