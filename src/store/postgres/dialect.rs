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

/// How long a transaction waits for a row, in milliseconds.
pub const LOCK_TIMEOUT: u32 = 1_500;

/// The limits travel with the BEGIN, so they cost no round trip; `local`, so that a transaction
/// pooler cannot lose them or give them to others. Without them one instance that is frozen
/// within a transaction would stop all that wait for its locks.
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
            // A connection that cannot even roll back is broken; the pool finds out.
            drop(AnsiTransactionManager::rollback_transaction(conn));
            Err(error)
        }
    }
}

/// Whether the commit was done is unknown where the connection broke meanwhile.
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

/// A statement that is a transaction of its own. Whether it was done is unknown where the connection
/// broke meanwhile.
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

/// A batch: one function of the database, which is a transaction of its own where the role's transactions are read
/// committed. Elsewhere it needs one around it: the functions rely on that isolation.
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

/// Locks the rows that a query selects and passes over those that others have locked.
macro_rules! skip_locked {
    ($query:expr) => {
        $query.for_update().skip_locked()
    };
}
pub(crate) use skip_locked;

/// What was deleted is overwritten by PostgreSQL's own vacuum, in its own time.
pub fn scrub(_: &mut Conn) -> QueryResult<()> {
    Ok(())
}
