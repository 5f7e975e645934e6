//! What only SQLite has.

use diesel::{
    QueryResult,
    connection::{
        AnsiTransactionManager, Connection as _, SimpleConnection as _, TransactionManager as _,
    },
};

/// The connection that the queries are compiled for.
pub type Conn = diesel::SqliteConnection;

/// A transaction that writes: it takes SQLite's only write lock at its beginning. Inside another one
/// it is a savepoint.
pub fn write_tx<T, E: From<diesel::result::Error>>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    let status = AnsiTransactionManager::transaction_manager_status_mut(conn);
    match status.transaction_depth()?.is_some() {
        true => conn.transaction(work),
        false => conn.immediate_transaction(work),
    }
}

/// Nothing to lock: SQLite runs one write transaction at a time.
macro_rules! lock_rows {
    ($query:expr) => {
        $query
    };
}
pub(crate) use lock_rows;

/// Nothing to skip: SQLite runs one write transaction at a time.
macro_rules! skip_locked {
    ($query:expr) => {
        $query
    };
}
pub(crate) use skip_locked;

/// Removes deleted data from the files: `pragma secure_delete` overwrites it in the database file, and this
/// empties the write-ahead log.
pub fn scrub(conn: &mut Conn) -> QueryResult<()> {
    conn.batch_execute("pragma wal_checkpoint(truncate)")
}
