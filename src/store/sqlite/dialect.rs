//! What only SQLite has.

use diesel::{
    QueryResult,
    connection::{
        AnsiTransactionManager, Connection as _, SimpleConnection as _, TransactionManager as _,
    },
};

/// The connection that the queries are compiled for.
pub type Conn = diesel::SqliteConnection;

/// A transaction that writes: it takes the one write lock at its beginning. Within one it is a
/// savepoint.
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

/// A writing transaction is alone: there is nothing to lock.
macro_rules! lock_rows {
    ($query:expr) => {
        $query
    };
}
pub(crate) use lock_rows;

/// A writing transaction is alone: there is nothing to pass over.
macro_rules! skip_locked {
    ($query:expr) => {
        $query
    };
}
pub(crate) use skip_locked;

/// Lets nothing of what was deleted stay in a file: its pages are overwritten as they are freed, and the
/// log of earlier writes is emptied here.
pub fn scrub(conn: &mut Conn) -> QueryResult<()> {
    conn.batch_execute("pragma wal_checkpoint(truncate)")
}
