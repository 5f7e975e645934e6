//! A pool's connections: checked, prepared, and given up when they are dead.

use std::time::{Duration, Instant};

use ::r2d2::{ManageConnection, Pool};
use diesel::{
    QueryResult,
    connection::CacheSize,
    r2d2::{self, ConnectionManager, R2D2Connection},
};

use super::StoreError;

/// How long to wait for a connection before the database counts as away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// For how long a connection that was just in use is taken for alive.
const TRUSTED_TIME: Duration = Duration::from_secs(1);

/// For how long a connection that nobody needs is kept: a database has few for many instances, and each
/// holds buffers as large as what was last said.
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

/// Makes connections fit, and tests those that have been idle: a test costs a round trip.
pub(super) struct PooledConnections<C: R2D2Connection + 'static> {
    manager: ConnectionManager<C>,
    prepare: Box<Prepare<C>>,
}

/// Makes a fresh connection fit.
type Prepare<C> = dyn Fn(&mut C) -> QueryResult<()> + Send + Sync;

/// A connection, and when it was last taken.
pub(super) struct PooledConnection<C> {
    pub(super) conn: C,
    taken: Instant,
    keeps_statements: bool,
    /// It is dead, or leads to a server that is not the one to write to any more.
    pub(super) is_stale: bool,
}

impl<C: diesel::Connection> PooledConnection<C> {
    /// Lets statements stay prepared, or not.
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

/// The pool's own failures, which no caller sees.
#[derive(Debug)]
struct LogError;

impl<E: std::error::Error> ::r2d2::HandleError<E> for LogError {
    fn handle_error(&self, error: E) {
        tracing::warn!(error.cause = %error, "database connection failed");
    }
}
