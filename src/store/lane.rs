//! A way to the database: so many connections, a permit for each, threads that may block.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use diesel::r2d2::R2D2Connection;
use parking_lot::Mutex;
use r2d2::Pool;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use super::{StoreError, connection::Connections};

/// How long a step may take, its waiting for a connection included. libpq blocks for minutes on
/// a server that has become silent.
const STEP_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a step is repeated that lost to another transaction.
const MAX_REPEATS: usize = 3;

/// A pool behind a semaphore with as many permits as it has connections, so that waiting is
/// done by tasks and never by threads. Cheap to clone.
pub(super) struct Lane<C: R2D2Connection + 'static> {
    pool: Pool<Connections<C>>,
    permits: Arc<Semaphore>,
    busy: Arc<Busy>,
    /// Whether a pooler stands between: then nothing may stay prepared on a connection.
    pooled: Arc<AtomicBool>,
    runtime: Handle,
}

impl<C: R2D2Connection + 'static> Clone for Lane<C> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            permits: Arc::clone(&self.permits),
            busy: Arc::clone(&self.busy),
            pooled: Arc::clone(&self.pooled),
            runtime: self.runtime.clone(),
        }
    }
}

impl<C: R2D2Connection + 'static> Lane<C> {
    pub(super) fn new(pool: Pool<Connections<C>>, pooled: &Arc<AtomicBool>) -> Self {
        let permits = Arc::new(Semaphore::new(pool.max_size() as usize));
        Self {
            pool,
            permits,
            busy: Arc::default(),
            pooled: Arc::clone(pooled),
            runtime: Handle::current(),
        }
    }

    /// How many connections there are, and how many of them are idle.
    pub(super) fn connections(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections, state.idle_connections)
    }

    /// Runs a step, which may be repeated when it lost to another transaction.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        step: impl FnMut(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run_for(STEP_TIMEOUT, step).await
    }

    pub(super) async fn run_for<T: Send + 'static>(
        &self,
        patience: Duration,
        mut step: impl FnMut(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + patience;
        if self.permits.available_permits() == 0 && self.busy.all_since_before(STEP_TIMEOUT) {
            return Err(unavailable("every connection hangs"));
        }
        let permit = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(unavailable("no connection became free"));
        };
        let lane = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that bounds database work"
        )]
        let work = self
            .runtime
            .spawn_blocking(move || lane.work(permit, &mut step));
        match timeout_at(deadline, work).await {
            Ok(done) => done.unwrap_or_else(|panic| Err(StoreError::Refused(panic.to_string()))),
            Err(_) => Err(StoreError::Lost("no answer in time".to_owned())),
        }
    }
}

impl<C: R2D2Connection + 'static> Lane<C> {
    /// Runs a step on this thread, which may block.
    pub(super) fn run_blocking<T>(
        &self,
        mut step: impl FnMut(&mut C) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        match self.runtime.block_on(timeout(STEP_TIMEOUT, permit)) {
            Ok(Ok(permit)) => self.work(permit, &mut step),
            _ => Err(unavailable("no connection became free")),
        }
    }

    fn work<T>(
        &self,
        _permit: OwnedSemaphorePermit,
        step: &mut dyn FnMut(&mut C) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _busy = Arc::clone(&self.busy).enter();
        let mut conn = self
            .pool
            .get()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        conn.keep_statements(!self.pooled.load(Ordering::Relaxed));
        let mut tries = 0;
        loop {
            match step(&mut conn.conn) {
                Err(StoreError::Conflict(_)) if tries < MAX_REPEATS => tries += 1,
                done => {
                    let failed = done.as_ref().err();
                    conn.is_stale = failed.is_some_and(StoreError::spoils_connection);
                    return done;
                }
            }
        }
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.to_owned())
}

/// Since when each working thread works. One that hangs keeps its permit, whoever has stopped
/// waiting for it.
#[derive(Debug, Default)]
struct Busy(Mutex<(u64, HashMap<u64, Instant>)>);

impl Busy {
    fn enter(self: Arc<Self>) -> impl Drop {
        struct Entered(Arc<Busy>, u64);
        impl Drop for Entered {
            fn drop(&mut self) {
                self.0.0.lock().1.remove(&self.1);
            }
        }
        let mut threads = self.0.lock();
        threads.0 += 1;
        let id = threads.0;
        threads.1.insert(id, Instant::now());
        drop(threads);
        Entered(self, id)
    }

    fn all_since_before(&self, long: Duration) -> bool {
        let threads = self.0.lock();
        !threads.1.is_empty() && threads.1.values().all(|since| since.elapsed() > long)
    }
}
