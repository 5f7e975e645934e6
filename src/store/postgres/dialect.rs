//! What only PostgreSQL has.

use diesel::{
    connection::{AnsiTransactionManager, TransactionManager as _},
    result::Error,
};

/// The connection that the queries are compiled for.
pub type Conn = diesel::PgConnection;

/// The limits travel with the BEGIN, so they cost no round trip; `local`, so that a transaction
/// pooler cannot lose them or give them to others. Without them one instance that is frozen
/// within a transaction would stop all that wait for its locks.
const BEGIN: &str = "begin; set local lock_timeout = 1500; set local statement_timeout = 3500; \
    set local idle_in_transaction_session_timeout = 5000";

/// A transaction that writes.
pub fn write_tx<T, E: From<Error>>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    AnsiTransactionManager::begin_transaction_sql(conn, BEGIN)?;
    match work(conn) {
        Ok(done) => {
            AnsiTransactionManager::commit_transaction(conn)?;
            Ok(done)
        }
        Err(error) => {
            // A connection that cannot even roll back is broken; the pool finds out.
            drop(AnsiTransactionManager::rollback_transaction(conn));
            Err(error)
        }
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
