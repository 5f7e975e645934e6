//! Database errors, classified by what a caller can do about them.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::{Code, Error};

/// Why a step failed. Nothing of it was stored, unless the outcome is [unknown](Self::Unknown).
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or cannot serve. Nothing was stored.
    #[error("the database is away: {0}")]
    Away(String),
    /// The database, or this instance's pool, is busy: the step may be repeated. Nothing was stored.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The step was sent and not answered: it may be done, not done, or done later. To find out, repeat
    /// a finish; for a beginning, call [`Store::begun`](super::Store::begun).
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The step's deadline has passed, or its caller gave it up. Nothing was stored.
    #[error("nobody waits for it any more")]
    Late,
    /// Another transaction won. Nothing was stored; the step may be repeated at once.
    #[error("the transaction must be repeated: {0}")]
    Conflict(String),
    /// The step or the database has a fault: repeating does not help.
    #[error("the database refused: {0}")]
    Refused(String),
}

/// Parts of the error texts of PostgreSQL and SQLite when they cannot serve. diesel has no error
/// kind for these.
const AWAY: [&str; 12] = [
    "idle-in-transaction",
    "terminating connection",
    "server closed the connection",
    "connection to server",
    "could not connect",
    "the database system is",
    "no connection to the server",
    "too many connections",
    "remaining connection slots",
    "No space left",
    "disk is full",
    "disk I/O error",
];

/// Parts of the error texts when a statement waited too long, for a row or for SQLite's one writer.
const BUSY: [&str; 2] = ["canceling statement due to", "database is locked"];

impl StoreError {
    /// Whether the database did not answer or cannot serve.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unknown(_))
    }

    /// Whether the same step may succeed a moment later. Nothing of it was stored.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Conflict(_))
    }

    /// Whether this error text says that the database cannot serve.
    pub(super) fn is_outage(text: &str) -> bool {
        AWAY.iter().any(|sign| text.contains(sign))
    }

    /// Whether this error text says that the statement waited too long.
    pub(super) fn is_wait(text: &str) -> bool {
        BUSY.iter().any(|sign| text.contains(sign))
    }

    /// Whether the connection must be replaced: it is dead (outside a transaction only a test shows
    /// that), or since a failover it leads to a read-only server.
    pub(super) fn spoils_connection(&self) -> bool {
        self.is_away()
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        use DatabaseErrorKind::{
            ClosedConnection, ReadOnlyTransaction, SerializationFailure, UnableToSendCommand,
        };
        let text = error.to_string();
        match &error {
            DieselError::RollbackErrorOnCommit { .. } => Self::Unknown(text),
            DieselError::DatabaseError(SerializationFailure, _) => Self::Conflict(text),
            DieselError::DatabaseError(
                ClosedConnection | UnableToSendCommand | ReadOnlyTransaction,
                _,
            )
            | DieselError::BrokenTransactionManager => Self::Away(text),
            DieselError::DatabaseError(..) if text.contains("deadlock detected") => {
                Self::Conflict(text)
            }
            DieselError::DatabaseError(..) if Self::is_wait(&text) => Self::Busy(text),
            DieselError::DatabaseError(..) if Self::is_outage(&text) => Self::Away(text),
            _ => Self::Refused(text),
        }
    }
}

/// Why a transaction is rolled back.
pub(super) enum Abort<T> {
    /// The step ends with this outcome and must not write anything.
    With(T),
    /// The database failed.
    Failed(StoreError),
}

impl<T> From<DieselError> for Abort<T> {
    fn from(error: DieselError) -> Self {
        Self::Failed(error.into())
    }
}

impl<T> Abort<T> {
    /// The outcome of a transaction that may have been aborted.
    pub(super) fn outcome<D>(
        result: Result<D, Self>,
        done: impl FnOnce(D) -> T,
    ) -> Result<T, StoreError> {
        match result {
            Ok(value) => Ok(done(value)),
            Err(Self::With(outcome)) => Ok(outcome),
            Err(Self::Failed(error)) => Err(error),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Away(_)
            | StoreError::Busy(_)
            | StoreError::Unknown(_)
            | StoreError::Late
            | StoreError::Conflict(_) => Code::Unavailable,
            StoreError::Refused(_) => Code::Internal,
        };
        Self::new(code).caused_by(error)
    }
}
