//! A connection pool for async code: tasks wait for a permit, then a blocking thread runs the step. Every step has
//! a deadline.

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

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use tracing::Span;

use super::{StoreError, connection::PooledConnections};

/// Bounds a step, including its wait for a connection. Without a bound, libpq blocks for minutes on a server that
/// has gone silent.
const STEP_TIMEOUT: Duration = Duration::from_secs(4);
/// Delay before a step that lost to another transaction is repeated. It doubles with each repeat, up to
/// [`MAX_REPEAT_DELAY`]; the step's deadline ends the repeats.
const FIRST_REPEAT_DELAY: Duration = Duration::from_millis(5);
const MAX_REPEAT_DELAY: Duration = Duration::from_millis(200);

/// A pool behind a semaphore with one permit per connection, so that tasks wait and never threads. Cheap to clone.
pub(super) struct Pool<C: R2D2Connection + 'static> {
    pool: r2d2::Pool<PooledConnections<C>>,
    permits: Arc<Semaphore>,
    /// Limits this view of the connections. Taken before the permits that all views share.
    own: Arc<Semaphore>,
    busy: Arc<WorkingThreads>,
    /// When the database last answered.
    answered: Arc<Mutex<Option<Instant>>>,
    /// Whether connections go through a transaction pooler: then no statement may stay prepared.
    pooled: Arc<AtomicBool>,
    runtime: Handle,
}

impl<C: R2D2Connection + 'static> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            permits: Arc::clone(&self.permits),
            own: Arc::clone(&self.own),
            busy: Arc::clone(&self.busy),
            answered: Arc::clone(&self.answered),
            pooled: Arc::clone(&self.pooled),
            runtime: self.runtime.clone(),
        }
    }
}

impl<C: R2D2Connection + 'static> Pool<C> {
    pub(super) fn new(pool: r2d2::Pool<PooledConnections<C>>, pooled: &Arc<AtomicBool>) -> Self {
        let permits = Arc::new(Semaphore::new(pool.max_size() as usize));
        Self {
            pool,
            permits,
            own: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            busy: Arc::default(),
            answered: Arc::default(),
            pooled: Arc::clone(pooled),
            runtime: Handle::current(),
        }
    }

    /// A view of this pool that uses at most `connections` of its connections at once.
    pub(super) fn with_at_most(&self, connections: u32) -> Self {
        Self {
            own: Arc::new(Semaphore::new(connections as usize)),
            ..self.clone()
        }
    }

    /// Takes a permit of this view, then a shared one.
    async fn permit(&self) -> Option<Permit> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let shared = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        Some((own, shared))
    }

    /// Whether the database has answered since then, even with a refusal.
    pub(super) fn has_answered_since(&self, since: Instant) -> bool {
        self.answered.lock().is_some_and(|last| last > since)
    }

    /// How many connections there are, and how many of them are idle.
    pub(super) fn connections(&self) -> (u32, u32) {
        let state = self.pool.state();
        (state.connections, state.idle_connections)
    }

    /// Runs a step. It is repeated if it loses to another transaction.
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
            return Err(StoreError::Away("every connection hangs".to_owned()));
        }
        let Ok(Some(permit)) = timeout_at(deadline, self.permit()).await else {
            return Err(no_connection());
        };
        let (pool, span) = (self.clone(), Span::current());
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that bounds database work"
        )]
        let work = self
            .runtime
            .spawn_blocking(move || span.in_scope(|| pool.work(permit, deadline, &mut step)));
        match timeout_at(deadline, work).await {
            Ok(done) => done.unwrap_or_else(|panic| Err(StoreError::Refused(panic.to_string()))),
            Err(_) => Err(StoreError::Unknown("no answer in time".to_owned())),
        }
    }
}

impl<C: R2D2Connection + 'static> Pool<C> {
    /// Runs a step on the calling thread, which must be allowed to block.
    pub(super) fn run_blocking<T>(
        &self,
        mut step: impl FnMut(&mut C) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + STEP_TIMEOUT;
        match self.runtime.block_on(timeout_at(deadline, self.permit())) {
            Ok(Some(permit)) => self.work(permit, deadline, &mut step),
            _ => Err(no_connection()),
        }
    }

    fn work<T>(
        &self,
        _permit: Permit,
        deadline: Instant,
        step: &mut dyn FnMut(&mut C) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _busy = Arc::clone(&self.busy).enter();
        let mut conn = self
            .pool
            .get()
            .map_err(|error| StoreError::Away(error.to_string()))?;
        conn.keep_statements(!self.pooled.load(Ordering::Relaxed));
        let mut pause = FIRST_REPEAT_DELAY;
        loop {
            match step(&mut conn.conn) {
                // Random delays, so that steps that lost to the same transaction do not collide again.
                Err(StoreError::Conflict(_)) if Instant::now() + pause * 3 / 2 < deadline => {
                    std::thread::sleep(pause.mul_f64(rand::random_range(0.5..1.5)));
                    pause = (pause * 2).min(MAX_REPEAT_DELAY);
                }
                done => {
                    let failed = done.as_ref().err();
                    if !failed.is_some_and(StoreError::is_away) {
                        *self.answered.lock() = Some(Instant::now());
                    }
                    conn.is_stale = failed.is_some_and(StoreError::spoils_connection);
                    return done;
                }
            }
        }
    }
}

/// Held while a connection is in use.
type Permit = (OwnedSemaphorePermit, OwnedSemaphorePermit);

fn no_connection() -> StoreError {
    StoreError::Busy("no connection became free".to_owned())
}

/// When each busy thread began its step. A thread that hangs keeps its permit, even after its caller has timed out.
#[derive(Debug, Default)]
struct WorkingThreads(Mutex<(u64, HashMap<u64, Instant>)>);

impl WorkingThreads {
    fn enter(self: Arc<Self>) -> impl Drop {
        struct WorkingThread(Arc<WorkingThreads>, u64);
        impl Drop for WorkingThread {
            fn drop(&mut self) {
                self.0.0.lock().1.remove(&self.1);
            }
        }
        let mut threads = self.0.lock();
        threads.0 += 1;
        let id = threads.0;
        threads.1.insert(id, Instant::now());
        drop(threads);
        WorkingThread(self, id)
    }

    fn all_since_before(&self, long: Duration) -> bool {
        let threads = self.0.lock();
        !threads.1.is_empty() && threads.1.values().all(|since| since.elapsed() > long)
    }
}
