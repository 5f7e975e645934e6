//! Batches of what is waiting: a step that comes while others of its kind are under way goes
//! with the next ones in one transaction.
//!
//! There is no timer: a lone step goes at once. Every caller gets an answer of its own; a step
//! that does not go with others is run alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, MutexGuard};
use tokio::{runtime::Handle, sync::oneshot};

use super::{Store, StoreError};

/// After how long a worker does not count as one any more: its connection may hang, and callers wait for
/// two seconds only.
const WORKER_TIMEOUT: Duration = Duration::from_millis(500);
/// The most steps in one transaction.
const MAX_STEPS: usize = 64;
/// How much text the steps of one transaction may have, unless one alone has more: it is held several
/// times over until it is sent, and the connection keeps its largest buffer.
const MAX_BATCH_BYTES: usize = 512 * 1024;

/// A step that can be done for many at once.
pub(super) trait BatchStep: Send + Sync + Sized + 'static {
    /// What becomes of it.
    type Done: Send + 'static;

    /// Two steps of the same row never go together.
    fn same_row(&self, other: &Self) -> bool;

    /// Does them, in one transaction; in their order, what became of each, and none for one that has to
    /// be done alone. May block.
    ///
    /// # Errors
    /// When the same would become of each.
    fn together(store: &Store, steps: &[Arc<Self>]) -> Result<Vec<Option<Self::Done>>, StoreError>;

    /// Does one.
    fn alone(store: Store, step: Arc<Self>) -> BoxFuture<'static, Result<Self::Done, StoreError>>;

    /// Until when its caller waits. It is not begun later.
    fn deadline(&self) -> Instant;

    /// How much text it has, about.
    fn bytes(&self) -> usize;
}

/// The steps of one kind.
pub(super) struct Batches<S: BatchStep> {
    state: Mutex<BatchQueue<S>>,
    /// How many batches may be under way.
    most: usize,
    runtime: Handle,
}

struct BatchQueue<S: BatchStep> {
    waiting: VecDeque<WaitingStep<S>>,
    /// The workers, and since when each is at its batch. One whose connection hangs does not count.
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

    /// Does a step, with those that wait. It is done even when the caller does not stay.
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

    /// Adds a step; a new worker, if a further batch may be under way.
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

    /// Batch after batch, until nothing waits.
    fn work(self: &Arc<Self>, worker: u64, store: &Store) {
        let _under_way = RunningWorker(self, worker);
        while let Some(batch) = self.take(worker) {
            self.batch(store, batch);
        }
    }

    /// The next batch, in the order of coming; of the same row only the first. When there is none,
    /// one fewer is under way.
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

    /// Does a step by itself: the others do not wait for what it waits for.
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

/// Counts a worker out, even one that panicked.
struct RunningWorker<'a, S: BatchStep>(&'a Batches<S>, u64);

impl<S: BatchStep> Drop for RunningWorker<'_, S> {
    fn drop(&mut self) {
        self.0.lock().under_way.remove(&self.1);
    }
}
