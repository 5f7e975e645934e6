//! What only PostgreSQL has.

use diesel::Connection as _;

/// The connection that the queries are compiled for.
pub type Conn = diesel::PgConnection;

/// A transaction that writes.
pub fn write_tx<T, E: From<diesel::result::Error>>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    conn.transaction(work)
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
