//! A way to the database: so many connections, a permit for each, threads that may block.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use diesel::r2d2::{ConnectionManager, Pool, R2D2Connection};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use super::StoreError;

/// How long a step may take. libpq blocks for minutes on a server that has become silent.
const DEADLINE: Duration = Duration::from_secs(4);
/// How often a step is repeated that lost to another transaction.
const REPEATS: usize = 3;

/// A pool behind a semaphore with as many permits as it has connections, so that waiting is
/// done by tasks and never by threads.
pub(super) struct Lane<C: R2D2Connection + 'static> {
    pool: Pool<ConnectionManager<C>>,
    permits: Arc<Semaphore>,
    connections: usize,
    /// Threads that are past their deadline. Each keeps its permit.
    stuck: Arc<AtomicUsize>,
    runtime: Handle,
}

impl<C: R2D2Connection + 'static> Lane<C> {
    pub(super) fn new(pool: Pool<ConnectionManager<C>>) -> Self {
        let connections = pool.max_size() as usize;
        Self {
            pool,
            permits: Arc::new(Semaphore::new(connections)),
            connections,
            stuck: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Runs a step, which may be repeated when it lost to another transaction.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        step: impl FnMut(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_for(DEADLINE, step).await
    }

    pub(super) async fn run_for<T: Send + 'static>(
        &self,
        deadline: Duration,
        mut step: impl FnMut(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let unavailable = |why: &str| StoreError::Unavailable(why.to_owned());
        if self.stuck.load(Ordering::Relaxed) >= self.connections {
            return Err(unavailable("every connection hangs"));
        }
        let permit = timeout(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(unavailable("no connection became free"));
        };
        let pool = self.pool.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that bounds database work"
        )]
        let mut work = self.runtime.spawn_blocking(move || {
            let _permit = permit;
            let mut conn = pool
                .get()
                .map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let mut tries = 0;
            loop {
                match step(&mut conn) {
                    Err(StoreError::Conflict(_)) if tries < REPEATS => tries += 1,
                    done => return done,
                }
            }
        });
        if let Ok(done) = timeout(deadline, &mut work).await {
            return done.unwrap_or_else(|panic| Err(StoreError::Refused(panic.to_string())));
        }
        self.stuck.fetch_add(1, Ordering::Relaxed);
        let stuck = Arc::clone(&self.stuck);
        self.runtime.spawn(async move {
            drop(work.await);
            stuck.fetch_sub(1, Ordering::Relaxed);
        });
        Err(unavailable("the database did not answer in time"))
    }
}

impl<C: R2D2Connection + 'static> fmt::Debug for Lane<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
