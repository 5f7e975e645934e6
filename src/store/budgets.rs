//! Tokens: what turns have spent, and what there is for a day. It is reserved before a model is asked
//! and settled when the turn has ended, by whoever comes first: its own server, or a sweeper.

use super::{ConversationId, Owner, Store, StoreError, TurnId, on_db};
use crate::clock::Timestamp;

/// What is to be reserved for a turn.
#[derive(Debug, Clone)]
pub struct Reserve {
    /// The turn.
    pub turn_id: TurnId,
    /// Days since 1970.
    pub day: i64,
    /// How many tokens.
    pub tokens: i64,
    /// Whose budgets, and how much each has for a day.
    pub scopes: Vec<(String, i64)>,
}

/// What models were asked for, and what that took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, diesel::Queryable)]
pub struct Spent {
    /// How often.
    pub count: i64,
    /// What they read, in tokens.
    pub input: i64,
    /// What they wrote.
    pub output: i64,
}

/// Which turns, and evaluations of their answers.
#[derive(Debug, Clone, Default)]
pub struct SpentBy {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub before: Option<Timestamp>,
    /// Of this device.
    pub device: Option<Owner>,
    /// In this conversation.
    pub conversation: Option<ConversationId>,
}

impl Store {
    /// Reserves tokens of all these budgets, or of none; whether there were enough. Once for a turn,
    /// however often it is tried.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reserve(&self, reserve: Reserve) -> Result<bool, StoreError> {
        on_db!(self, write, |conn, db| db::budgets::reserve(conn, &reserve))
    }

    /// Settles what a turn that has ended had reserved, or up to `limit` of all such turns; how many
    /// reservations there were.
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

    /// Forgets the oldest day's budgets, if that is before this day; how many there were.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_budgets(&self, before: i64) -> Result<usize, StoreError> {
        on_db!(self, write, |conn, db| db::budgets::forget(conn, before)
            .map_err(Into::into))
    }

    /// What turns have spent, and what judging their answers has, after they had ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn spent(&self, by: SpentBy) -> Result<(Spent, Spent), StoreError> {
        on_db!(self, read, |conn, db| db::budgets::spent(conn, &by)
            .map_err(Into::into))
    }
}
