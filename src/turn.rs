//! Turns: a visitor's message and all that answers it, as a numbered log with many readers.
//!
//! A turn belongs to its conversation, not to the connection that began it: it runs as a task
//! of its own on the main runtime ([`run`]) and appends frames to a [`log::Log`]. Every face of
//! an answer (JSON, an event stream, a resumed stream) is a reader of that log. Promises, in
//! this order: the message is committed before a [`Reply`] is returned; the answer is
//! committed before the final frame.

mod attach;
pub mod event;
pub mod fold;
mod lease;
pub mod log;
mod prompt;
mod request;
mod run;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agents::Agents,
    clock::Clock,
    config::{OnOutage, Settings},
    error::{Code, Error, Result},
    metrics::Metrics,
    sessions::Sessions,
    store::{
        ConversationId, DeviceId, InstanceId, Store, StoreError, TurnId,
        messages::FinishReason,
        turns::{Begin, Started},
    },
    upkeep::Upkeep,
};
use event::{Cursor, Frame};
use lease::Keeper;
use log::{Log, Reader};
pub use request::TurnRequest;

/// How long a message may take to be committed before the database counts as away.
const COMMIT_PATIENCE: Duration = Duration::from_secs(2);
/// For how long a server that is not ready any more still takes turns: balancers need a moment.
const LAME_DUCK: Duration = Duration::from_millis(500);
/// How long turns that are ended early have to store what they said.
pub const END_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a stop waits for the turn's end.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A turn's answer, as it comes.
#[derive(Debug)]
pub struct Reply {
    /// The turn; none where nothing is stored.
    pub turn_id: Option<TurnId>,
    /// Its conversation.
    pub conversation_id: Option<ConversationId>,
    /// The frames.
    pub reader: Reader,
}

/// Runs turns and knows those that are running here.
pub struct Engine {
    store: Store,
    agents: Arc<Agents>,
    sessions: Sessions,
    upkeep: Upkeep,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    owner: InstanceId,
    leases: Arc<Keeper>,
    running: Mutex<HashMap<TurnId, Running>>,
    finished: attach::Finished,
    runtime: Handle,
    tasks: TaskTracker,
    closing: CancellationToken,
    draining: CancellationToken,
    shutdown: CancellationToken,
}

/// A turn that runs here.
#[derive(Debug, Clone)]
struct Running {
    conversation_id: ConversationId,
    device: DeviceId,
    log: Arc<Log>,
    stop: CancellationToken,
}

/// A turn that runs here, for as long as its task does, however that ends.
struct Registered {
    engine: Arc<Engine>,
    turn_id: TurnId,
    log: Arc<Log>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.engine.leases.release(self.turn_id);
        self.engine.running().remove(&self.turn_id);
        let error = Error::new(Code::Internal);
        self.log.close(Frame::last(
            FinishReason::Error,
            Some(&error),
            self.engine.clock.now(),
        ));
    }
}

impl Engine {
    /// An engine of a new instance. Must be called on the main runtime, on which its turns
    /// then run.
    pub fn new(
        store: Store,
        agents: Arc<Agents>,
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let owner = InstanceId::new();
        let sessions = Sessions::new(store.clone(), Arc::clone(&agents), &settings);
        let lease = Duration::from_secs(settings.turn.lease_seconds);
        let engine = Arc::new(Self {
            leases: Keeper::new(store.clone(), owner, lease),
            upkeep: Upkeep::new(store.clone(), sessions.clone()),
            store,
            agents,
            sessions,
            clock,
            settings,
            metrics,
            owner,
            running: Mutex::default(),
            finished: attach::Finished::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            draining: CancellationToken::new(),
            shutdown: CancellationToken::new(),
        });
        let leases = Arc::clone(&engine.leases);
        engine.runtime.spawn(async move { leases.run().await });
        engine
    }

    /// The session locks.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Begins a turn: its message is committed when this returns. It goes on whether or not
    /// the caller stays, from the first moment.
    ///
    /// # Errors
    /// When the request is refused, or the database is away and outages are not answered.
    pub async fn start(self: &Arc<Self>, request: TurnRequest) -> Result<Reply> {
        let engine = Arc::clone(self);
        let begun = self.spawn(async move { engine.begin(request).await });
        begun
            .await
            .unwrap_or_else(|panic| Err(Error::new(Code::Internal).caused_by(panic)))
    }

    async fn begin(self: Arc<Self>, request: TurnRequest) -> Result<Reply> {
        if self.draining.is_cancelled() {
            return Err(Error::new(Code::Unavailable).detail("This server is shutting down."));
        }
        if let Some(agent) = request
            .agent
            .as_deref()
            .filter(|agent| !self.agents.contains(agent))
        {
            return Err(
                Error::new(Code::UnknownAgent).detail(format!("No agent has the path {agent:?}."))
            );
        }
        self.nudge_upkeep();
        let since = Instant::now();
        let turn = request.begin(&self, since);
        let store = self.store.clone();
        let mut committed = Box::pin(async move { store.begin_turn(turn).await });
        let begun = match timeout_at(since + COMMIT_PATIENCE, &mut committed).await {
            Ok(begun) => begun,
            Err(_) => {
                let engine = Arc::clone(&self);
                self.spawn(async move { engine.give_back(committed.await).await });
                Err(StoreError::Unavailable("not committed in time".to_owned()))
            }
        };
        match begun {
            Ok(Begin::Started(started)) => Ok(self.launch(*started, since, request.mirror_text)),
            Ok(Begin::Repeated(row)) => self.repeat(&request.device, row).await,
            Ok(Begin::Busy) => Err(Error::new(Code::TurnInProgress)),
            Ok(Begin::Limited(wait)) => Err(Error::new(Code::RateLimited).retry_after(wait)),
            Ok(Begin::KeyReused) => Err(Error::new(Code::IdempotencyKeyReused)),
            Err(error) => self.without_database(request, error),
        }
    }

    /// Lets a turn run that has begun.
    fn launch(self: &Arc<Self>, started: Started, since: Instant, mirror_text: bool) -> Reply {
        let (turn_id, conversation_id) = (started.turn_id, started.conversation_id);
        let log = Arc::new(Log::new(Some(Cursor::prefix(turn_id, 1)), mirror_text));
        let stop = CancellationToken::new();
        let lease = self.leases.hold(turn_id, since, stop.clone());
        let running = Running {
            conversation_id,
            device: started.device.clone(),
            log: Arc::clone(&log),
            stop: stop.clone(),
        };
        self.running().insert(turn_id, running);
        let registered = Registered {
            engine: Arc::clone(self),
            turn_id,
            log: Arc::clone(&log),
        };
        let reader = log.reader(0);
        let signals = run::Signals {
            stop,
            shutdown: self.shutdown.clone(),
        };
        self.spawn(async move {
            run::run(Arc::clone(&registered.engine), started, log, lease, signals).await;
            drop(registered);
        });
        Reply {
            turn_id: Some(turn_id),
            conversation_id: Some(conversation_id),
            reader,
        }
    }

    /// Ends a turn whose message was committed after its sender had stopped waiting: nobody would
    /// run it, and its conversation would be busy until its lease is over.
    async fn give_back(&self, begun: std::result::Result<Begin, StoreError>) {
        if let Ok(Begin::Started(started)) = begun {
            run::give_back(self, *started).await;
        }
    }

    /// What a message gets while the database is away.
    fn without_database(
        self: &Arc<Self>,
        request: TurnRequest,
        error: StoreError,
    ) -> Result<Reply> {
        if self.settings.database.on_outage == OnOutage::Refuse {
            return Err(Error::new(Code::Unavailable).caused_by(error));
        }
        tracing::warn!(error.cause = %error, "the message could not be stored: answering without memory");
        let log = Arc::new(Log::new(None, request.mirror_text));
        let reader = log.reader(0);
        let signals = run::Signals {
            stop: CancellationToken::new(),
            shutdown: self.shutdown.clone(),
        };
        let message = request.unstored(self);
        self.spawn(run::run_stateless(
            Arc::clone(self),
            message,
            request.agent,
            log,
            signals,
        ));
        Ok(Reply {
            turn_id: None,
            conversation_id: None,
            reader,
        })
    }

    /// Stops a turn. What it has said so far is kept.
    ///
    /// # Errors
    /// `not_found` for a turn that is not this device's.
    pub async fn stop(&self, device: &DeviceId, turn: TurnId) -> Result<()> {
        if let Some(running) = self.running_here(device, turn) {
            running.stop.cancel();
            let mut reader = running.log.reader(0);
            let end = async { while reader.next().await.is_some() {} };
            drop(timeout(STOP_PATIENCE, end).await);
            return Ok(());
        }
        match self.store.turn(device, turn).await? {
            None => Err(Error::new(Code::NotFound)),
            Some(row) if row.finish_reason.is_some() => Ok(()),
            Some(row) => Ok(self.store.request_stop(row.id).await?),
        }
    }

    /// Is not ready from now on, refuses new turns a moment later, gives the running ones until
    /// `deadline` to finish, and ends them then; that takes up to [`END_PATIENCE`].
    pub async fn drain(&self, deadline: Instant) {
        self.closing.cancel();
        sleep_until(deadline.min(Instant::now() + LAME_DUCK)).await;
        self.draining.cancel();
        self.tasks.close();
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            self.shutdown.cancel();
            drop(timeout(END_PATIENCE, self.tasks.wait()).await);
        }
    }

    /// Whether the server is about to shut down.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Sweeps now and then, for ever.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(crate::upkeep::INTERVAL).await;
            self.upkeep.piece().await;
        }
    }

    fn nudge_upkeep(self: &Arc<Self>) {
        if self.upkeep.nudge(self.clock.now()) {
            let engine = Arc::clone(self);
            self.spawn(async move { engine.upkeep.piece().await });
        }
    }

    fn running_here(&self, device: &DeviceId, turn: TurnId) -> Option<Running> {
        self.running()
            .get(&turn)
            .filter(|running| running.device == *device)
            .cloned()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TurnId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns on the caller's runtime, and counts for the shutdown: a turn runs on the worker that
    /// sends its frames, since to wake another thread for each costs more than all the rest.
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn_on(task, &Handle::current())
    }
}
