//! What only PostgreSQL has.

use std::sync::LazyLock;

use diesel::{
    QueryResult,
    connection::{AnsiTransactionManager, TransactionManager as _},
    result::Error,
};

use crate::store::StoreError;

/// The connection that the queries are compiled for.
pub type Conn = diesel::PgConnection;

/// Bounds each wait for a row lock, in milliseconds.
pub const LOCK_TIMEOUT: u32 = 1_500;

/// The limits are sent with the BEGIN, so they cost no round trip. They are `local`, so that a
/// transaction pooler cannot lose them or give them to other clients. Without them, an instance
/// frozen within a transaction would block all that wait for its locks. Values in milliseconds.
static BEGIN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "begin isolation level read committed; set local lock_timeout = {LOCK_TIMEOUT}; set local statement_timeout = 3500; \
         set local idle_in_transaction_session_timeout = 5000"
    )
});

/// A transaction that writes.
pub fn write_tx<T, E: From<Error>>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    AnsiTransactionManager::begin_transaction_sql(conn, &BEGIN)?;
    match work(conn) {
        Ok(done) => {
            commit(conn)?;
            Ok(done)
        }
        Err(error) => {
            // A connection that cannot even roll back is broken; the pool detects that.
            drop(AnsiTransactionManager::rollback_transaction(conn));
            Err(error)
        }
    }
}

/// If the connection breaks meanwhile, the outcome is unknown.
fn commit(conn: &mut Conn) -> QueryResult<()> {
    AnsiTransactionManager::commit_transaction(conn).map_err(|error| {
        match AnsiTransactionManager::is_broken_transaction_manager(conn) {
            true => Error::RollbackErrorOnCommit {
                rollback_error: Box::new(Error::BrokenTransactionManager),
                commit_error: Box::new(error),
            },
            false => error,
        }
    })
}

/// Runs a statement as a transaction of its own. If the connection breaks meanwhile, the outcome is
/// unknown.
fn autocommit<T>(
    conn: &mut Conn,
    statement: impl FnOnce(&mut Conn) -> QueryResult<T>,
) -> Result<T, StoreError> {
    statement(conn).map_err(|error| {
        let is_broken = AnsiTransactionManager::is_broken_transaction_manager(conn);
        match StoreError::from(error) {
            StoreError::Away(text) if is_broken => StoreError::Unknown(text),
            error => error,
        }
    })
}

/// Calls a batch's database function. The functions rely on read committed: if that is not the role's default
/// isolation, the call gets a transaction around it, otherwise it is one of its own.
pub fn batch<T>(
    conn: &mut Conn,
    is_read_committed: bool,
    statement: impl FnOnce(&mut Conn) -> QueryResult<T>,
) -> Result<T, StoreError> {
    match is_read_committed {
        true => autocommit(conn, statement),
        false => write_tx(conn, |conn| statement(conn).map_err(StoreError::from)),
    }
}

/// Locks the rows that a query selects, against all but readers and foreign keys.
macro_rules! lock_rows {
    ($query:expr) => {
        $query.for_no_key_update()
    };
}
pub(crate) use lock_rows;

/// Locks the rows that a query selects, skipping those that others have locked.
macro_rules! skip_locked {
    ($query:expr) => {
        $query.for_update().skip_locked()
    };
}
pub(crate) use skip_locked;

/// Nothing to do: PostgreSQL's vacuum overwrites deleted data in its own time.
pub fn scrub(_: &mut Conn) -> QueryResult<()> {
    Ok(())
}
