//! A pool's connections: prepared when made, tested when taken, closed when dead.

use std::time::{Duration, Instant};

use ::r2d2::{ManageConnection, Pool};
use diesel::{
    QueryResult,
    connection::CacheSize,
    r2d2::{self, ConnectionManager, R2D2Connection},
};

use super::StoreError;

/// How long to wait for a connection. After that the database counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection taken less than this ago is not tested again.
const TRUSTED_TIME: Duration = Duration::from_secs(1);

/// How long an unused connection is kept. Not longer, because instances share the database's few connections,
/// and each holds buffers as large as its largest statement.
const IDLE_TIME: Duration = Duration::from_secs(120);

/// A pool that has no connection yet.
pub(super) fn pool<C: R2D2Connection + 'static>(
    url: String,
    size: u32,
    prepare: impl Fn(&mut C) -> QueryResult<()> + Send + Sync + 'static,
) -> Result<Pool<PooledConnections<C>>, StoreError> {
    Ok(Pool::builder()
        .max_size(size)
        .min_idle(Some(0))
        .connection_timeout(CONNECT_TIMEOUT)
        .idle_timeout(Some(IDLE_TIME))
        .test_on_check_out(true)
        .error_handler(Box::new(LogError))
        .build_unchecked(PooledConnections {
            manager: ConnectionManager::new(url),
            prepare: Box::new(prepare),
        }))
}

/// Prepares new connections, and tests idle ones only: a test costs a round trip.
pub(super) struct PooledConnections<C: R2D2Connection + 'static> {
    manager: ConnectionManager<C>,
    prepare: Box<Prepare<C>>,
}

/// Prepares a new connection.
type Prepare<C> = dyn Fn(&mut C) -> QueryResult<()> + Send + Sync;

/// A connection, and when it was last taken from the pool.
pub(super) struct PooledConnection<C> {
    pub(super) conn: C,
    taken: Instant,
    keeps_statements: bool,
    /// The connection is dead, or leads to a server that no longer accepts writes.
    pub(super) is_stale: bool,
}

impl<C: diesel::Connection> PooledConnection<C> {
    /// Sets whether statements stay prepared on this connection.
    pub(super) fn keep_statements(&mut self, keep: bool) {
        if self.keeps_statements != keep {
            self.keeps_statements = keep;
            self.conn.set_prepared_statement_cache_size(match keep {
                true => CacheSize::Unbounded,
                false => CacheSize::Disabled,
            });
        }
    }
}

impl<C: R2D2Connection + 'static> ManageConnection for PooledConnections<C> {
    type Connection = PooledConnection<C>;
    type Error = r2d2::Error;

    fn connect(&self) -> Result<PooledConnection<C>, r2d2::Error> {
        let mut conn = self.manager.connect()?;
        (self.prepare)(&mut conn).map_err(r2d2::Error::QueryError)?;
        let taken = Instant::now();
        Ok(PooledConnection {
            conn,
            taken,
            keeps_statements: true,
            is_stale: false,
        })
    }

    fn is_valid(&self, connection: &mut PooledConnection<C>) -> Result<(), r2d2::Error> {
        if connection.taken.elapsed() > TRUSTED_TIME {
            self.manager.is_valid(&mut connection.conn)?;
        }
        connection.taken = Instant::now();
        Ok(())
    }

    fn has_broken(&self, connection: &mut PooledConnection<C>) -> bool {
        connection.is_stale || self.manager.has_broken(&mut connection.conn)
    }
}

/// Logs the pool's own failures, which no caller sees.
#[derive(Debug)]
struct LogError;

impl<E: std::error::Error> ::r2d2::HandleError<E> for LogError {
    fn handle_error(&self, error: E) {
        tracing::warn!(error.cause = %error, "database connection failed");
    }
}
