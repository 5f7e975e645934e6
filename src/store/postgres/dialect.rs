//! What only PostgreSQL has.

use diesel::{
    QueryResult,
    connection::{AnsiTransactionManager, TransactionManager as _},
    result::Error,
};

use crate::store::{StoreError, batches::Batch};

/// The connection that the queries are compiled for.
pub type Conn = diesel::PgConnection;

/// The limits travel with the BEGIN, so they cost no round trip; `local`, so that a transaction
/// pooler cannot lose them or give them to others. Without them one instance that is frozen
/// within a transaction would stop all that wait for its locks.
const BEGIN: &str = "begin; set local lock_timeout = 1500; set local statement_timeout = 3500; \
    set local idle_in_transaction_session_timeout = 5000";

/// One row that is locked must not hold up a whole batch. And whatever the statistics say when the
/// plan is made, which is then kept: the tables may be empty now and large in an hour, and a batch
/// is small, so rows are found by their indexes.
const BEGIN_BATCH: &str = "begin; set local lock_timeout = 200; \
    set local statement_timeout = 3500; set local idle_in_transaction_session_timeout = 5000; \
    set local enable_seqscan = off; set local enable_hashjoin = off; \
    set local enable_mergejoin = off; set local plan_cache_mode = force_generic_plan";

/// The log of running turns: nothing of it is promised, so nobody waits for the disk.
const BEGIN_LOG: &str = "begin; set local synchronous_commit = off; set local lock_timeout = 500; \
    set local statement_timeout = 3500; set local idle_in_transaction_session_timeout = 5000; \
    set local enable_seqscan = off; set local enable_hashjoin = off; \
    set local enable_mergejoin = off; set local plan_cache_mode = force_generic_plan";

/// A transaction that writes.
pub fn write_tx<T, E: From<Error>>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    transaction(conn, BEGIN, work)
}

/// A transaction that may be forgotten by a database that crashes.
pub fn log_tx<T, E: From<Error>>(
    conn: &mut Conn,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    transaction(conn, BEGIN_LOG, work)
}

fn transaction<T, E: From<Error>>(
    conn: &mut Conn,
    begin: &str,
    work: impl FnOnce(&mut Conn) -> Result<T, E>,
) -> Result<T, E> {
    AnsiTransactionManager::begin_transaction_sql(conn, begin)?;
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

/// A transaction of so many steps, which is kept only if all of them are done.
pub fn batch_tx<T>(
    conn: &mut Conn,
    steps: usize,
    work: impl FnOnce(&mut Conn) -> QueryResult<Batch<T>>,
) -> Result<Batch<T>, StoreError> {
    let run = || -> QueryResult<Batch<T>> {
        AnsiTransactionManager::begin_transaction_sql(conn, BEGIN_BATCH)?;
        let done = work(conn);
        match &done {
            Ok(Batch::Done(_)) => commit(conn)?,
            _ => drop(AnsiTransactionManager::rollback_transaction(conn)),
        }
        done
    };
    match run().map_err(StoreError::from) {
        Ok(done) => Ok(done),
        Err(error @ StoreError::Lost(_)) => Err(error),
        Err(StoreError::Unavailable(text)) if !text.contains("lock timeout") => {
            Err(StoreError::Unavailable(text))
        }
        // One of them cannot be done, or has to wait: alone they do not harm each other.
        Err(_) => Ok(Batch::Without((0..steps).collect())),
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
