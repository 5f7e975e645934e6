//! How a database fails, as far as a caller acts on it.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::{Code, Error};

/// A failed step. Nothing of it was kept, unless its outcome is [unknown](Self::Unknown).
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or cannot serve. Nothing is kept.
    #[error("the database is away: {0}")]
    Away(String),
    /// The database, or this server's share of it, is busy: the step may be repeated. Nothing is kept.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// The step was sent and not answered: it is done, or not, or will be. To repeat a finish finds
    /// out; of a beginning, [`Store::begun`](super::Store::begun) tells.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The caller no longer waits. Nothing was done.
    #[error("nobody waits for it any more")]
    Late,
    /// Another transaction won; the step may be repeated at once.
    #[error("the transaction must be repeated: {0}")]
    Conflict(String),
    /// The step is wrong, or the database is.
    #[error("the database refused: {0}")]
    Refused(String),
}

/// What PostgreSQL and SQLite say when they cannot serve, rather than when a statement is
/// wrong; diesel has no kind for these.
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

/// What they say when a statement had to wait for too long: for a row, or for SQLite's one writer.
const BUSY: [&str; 2] = ["canceling statement due to", "database is locked"];

impl StoreError {
    /// Whether the database is away, rather than wrong or busy.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Unknown(_))
    }

    /// Whether the same step may succeed a moment later, and nothing of it is kept.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Conflict(_))
    }

    /// Whether it is the database that says so because it cannot serve.
    pub(super) fn is_outage(text: &str) -> bool {
        AWAY.iter().any(|sign| text.contains(sign))
    }

    /// Whether it is the database that says so because something else held it up.
    pub(super) fn is_wait(text: &str) -> bool {
        BUSY.iter().any(|sign| text.contains(sign))
    }

    /// Whether to connect anew: the connection is dead, which outside of a transaction nobody notices
    /// who does not test it; or it leads to a server that may not write any more since a failover.
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

/// Why a transaction does not commit.
pub(super) enum Abort<T> {
    /// There is nothing to commit: this is the outcome.
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
