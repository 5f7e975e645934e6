//! Batching of database steps: steps that arrive while a batch of their kind runs go into the next batch.
//! One transaction for many steps costs the database far less than one each.
//!
//! There is no timer: a lone step runs at once. Every caller gets its own answer; a step that cannot be
//! done in a batch runs alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::{runtime::Handle, sync::oneshot};

use super::{Store, StoreError};

/// After this time on one batch, a worker no longer counts as running: its connection may hang, and callers
/// wait only 2 s.
const WORKER_TIMEOUT: Duration = Duration::from_millis(500);
/// Maximum number of steps in one transaction.
const MAX_STEPS: usize = 64;
/// Maximum bytes of text in one batch; a larger step is a batch of its own. Bounded because memory holds several
/// copies of the text until it is sent, and the connection keeps its largest buffer.
const MAX_BATCH_BYTES: usize = 512 * 1024;

/// A step of which many can run in one transaction.
pub(super) trait BatchStep: Send + Sync + Sized + 'static {
    /// The step's outcome.
    type Done: Send + 'static;

    /// Whether both steps write the same row. Such steps never go into one batch.
    fn same_row(&self, other: &Self) -> bool;

    /// Runs the steps in one transaction. Returns their outcomes in the same order, and `None` for a step
    /// that has to run alone. May block.
    ///
    /// # Errors
    /// When every step of the batch gets this error.
    fn together(store: &Store, steps: &[Arc<Self>]) -> Result<Vec<Option<Self::Done>>, StoreError>;

    /// Runs one step.
    fn alone(store: Store, step: Arc<Self>) -> BoxFuture<'static, Result<Self::Done, StoreError>>;

    /// When the caller stops waiting. The step does not start later than this.
    fn deadline(&self) -> Instant;

    /// The step's approximate size in bytes.
    fn bytes(&self) -> usize;
}

/// The queue and the workers for steps of one kind.
pub(super) struct Batches<S: BatchStep> {
    state: Mutex<BatchQueue<S>>,
    /// How many batches may run at once.
    most: usize,
    runtime: Handle,
}

struct BatchQueue<S: BatchStep> {
    waiting: VecDeque<WaitingStep<S>>,
    /// The workers, and when each took its batch.
    under_way: HashMap<u64, Instant>,
    last_worker: u64,
}

struct WaitingStep<S: BatchStep> {
    step: Arc<S>,
    answer: oneshot::Sender<Result<S::Done, StoreError>>,
}

impl<S: BatchStep> Batches<S> {
    /// Must be called on the main runtime.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(BatchQueue {
                waiting: VecDeque::new(),
                under_way: HashMap::new(),
                last_worker: 0,
            }),
            most,
            runtime: Handle::current(),
        })
    }

    /// Runs a step together with those that wait. The step runs even if the caller stops waiting.
    pub(super) async fn run(
        self: &Arc<Self>,
        store: &Store,
        step: Arc<S>,
    ) -> Result<S::Done, StoreError> {
        let (answer, answered) = oneshot::channel();
        if let Some(worker) = self.push(WaitingStep { step, answer }) {
            let (batches, store) = (Arc::clone(self), store.clone());
            #[expect(
                clippy::disallowed_methods,
                reason = "database work, bounded by its pool"
            )]
            drop(
                self.runtime
                    .spawn_blocking(move || batches.work(worker, &store)),
            );
        }
        let gone = |_| Err(StoreError::Refused("the batch was given up".to_owned()));
        answered.await.unwrap_or_else(gone)
    }

    /// Queues a step. Returns a new worker's number if another batch may run.
    fn push(&self, waiting: WaitingStep<S>) -> Option<u64> {
        let mut state = self.lock();
        state.waiting.push_back(waiting);
        let at_work = state.under_way.values();
        let at_work = at_work
            .filter(|since| since.elapsed() < WORKER_TIMEOUT)
            .count();
        if at_work >= self.most {
            return None;
        }
        state.last_worker += 1;
        let worker = state.last_worker;
        state.under_way.insert(worker, Instant::now());
        Some(worker)
    }

    /// Runs batches until the queue is empty.
    fn work(self: &Arc<Self>, worker: u64, store: &Store) {
        let _under_way = RunningWorker(self, worker);
        while let Some(batch) = self.take(worker) {
            self.batch(store, batch);
        }
    }

    /// Takes the next batch, in order of arrival. A second step on one row waits for a later batch. If the queue
    /// is empty, the worker is removed.
    fn take(&self, worker: u64) -> Option<Vec<WaitingStep<S>>> {
        let mut state = self.lock();
        let now = Instant::now();
        let mut batch: Vec<WaitingStep<S>> = Vec::new();
        let mut later = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_STEPS
            && let Some(next) = state.waiting.pop_front()
        {
            if next.step.deadline() < now {
                drop(next.answer.send(Err(StoreError::Late)));
                continue;
            }
            if batch.iter().any(|taken| taken.step.same_row(&next.step)) {
                later.push(next);
                continue;
            }
            bytes += next.step.bytes();
            if bytes > MAX_BATCH_BYTES && !batch.is_empty() {
                later.push(next);
                break;
            }
            batch.push(next);
        }
        for next in later.into_iter().rev() {
            state.waiting.push_front(next);
        }
        if batch.is_empty() {
            state.under_way.remove(&worker);
            return None;
        }
        state.under_way.insert(worker, now);
        Some(batch)
    }

    fn batch(&self, store: &Store, batch: Vec<WaitingStep<S>>) {
        let steps: Vec<Arc<S>> = batch
            .iter()
            .map(|waiting| Arc::clone(&waiting.step))
            .collect();
        match S::together(store, &steps) {
            Ok(all) => {
                for (waiting, done) in batch.into_iter().zip(all) {
                    match done {
                        Some(done) => drop(waiting.answer.send(Ok(done))),
                        None => self.alone(store.clone(), waiting),
                    }
                }
            }
            Err(error) => {
                for waiting in batch {
                    drop(waiting.answer.send(Err(error.clone())));
                }
            }
        }
    }

    /// Runs a step in its own task, so that the next batches do not wait for it.
    fn alone(&self, store: Store, waiting: WaitingStep<S>) {
        self.runtime.spawn(async move {
            let done = S::alone(store, waiting.step).await;
            drop(waiting.answer.send(done));
        });
    }

    fn lock(&self) -> MutexGuard<'_, BatchQueue<S>> {
        self.state.lock()
    }
}

/// Removes a worker when it ends, even by a panic.
struct RunningWorker<'a, S: BatchStep>(&'a Batches<S>, u64);

impl<S: BatchStep> Drop for RunningWorker<'_, S> {
    fn drop(&mut self) {
        self.0.lock().under_way.remove(&self.1);
    }
}
