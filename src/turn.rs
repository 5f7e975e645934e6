//! Turns: a visitor's message and everything that answers it, as a numbered log with many readers.
//!
//! A turn belongs to its conversation, not to the connection that began it: it runs as its own task ([`run`])
//! and appends records to a [`log::Log`]. JSON, event streams and resumed streams are readers of that log.
//! Guarantees: the message is committed before a [`Reply`] is returned; the answer is committed before the
//! final frame is sent. Records reach the database shortly after they are sent ([`flush`]), so that another
//! instance can show them ([`mirror`]) and, if this one dies, start the turn again ([`adopt`]).

mod adopt;
mod answer;
mod ask_agent;
mod attach;
mod begin;
mod budget;
pub mod collect;
mod commit;
mod draft;
mod elsewhere;
mod finish;
mod flush;
pub mod frame;
mod guard;
mod handoff;
mod lease;
pub mod log;
mod merge;
mod metadata;
mod mirror;
mod output;
mod prompt;
mod replay;
mod request;
mod resume_point;
mod rounds;
mod run;
mod signal;
mod stop;
pub(crate) mod takeover;
mod tool_calls;

use std::{collections::HashMap, future::Future, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    runtime::Handle,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    agents::Agents,
    clock::Clock,
    config::Settings,
    hub::Hub,
    judges::Judges,
    maintenance::Maintenance,
    metrics::Metrics,
    secret::SiteSecret,
    sessions::Sessions,
    store::{
        Attempt, ConversationId, Fence, InstanceId, Owner, Store, StoreError, TurnId,
        begin::Started,
    },
};
pub use elsewhere::RemoteTurn;
use frame::Frame;
use lease::LeaseKeeper;
use log::{Log, Reader};
pub(crate) use metadata::{ASKS_FOR, SKILL, SKILL_CHARACTERS};
pub use request::TurnRequest;
pub use resume_point::ResumePoint;
use signal::{Cause, Signal};

/// How long turns that a shutdown ends early have to store their text.
pub const END_TIMEOUT: Duration = Duration::from_millis(1500);

/// A turn's answer, read while it is written.
#[derive(Debug)]
pub struct Reply {
    /// The turn; none if nothing is stored.
    pub turn_id: Option<TurnId>,
    /// Its conversation.
    pub conversation_id: Option<ConversationId>,
    /// The frames.
    pub reader: Reader,
    /// Set if the turn runs on another instance. If the reader ends early, [`Engine::go_on`] continues it.
    pub elsewhere: Option<RemoteTurn>,
}

/// Runs turns and keeps track of those that run on this instance.
pub struct Engine {
    store: Store,
    agents: Arc<Agents>,
    judges: Arc<Judges>,
    sessions: Sessions,
    maintenance: Maintenance,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    instance: InstanceId,
    leases: Arc<LeaseKeeper>,
    running: Mutex<HashMap<TurnId, Running>>,
    finished: attach::FinishedLogs,
    mirrors: Arc<Hub<mirror::Mirrors>>,
    flushing: tokio::sync::Mutex<()>,
    queues: merge::Queues,
    runtime: Handle,
    tasks: TaskTracker,
    closing: CancellationToken,
    draining: CancellationToken,
    shutdown: CancellationToken,
}

/// A turn that runs on this instance.
#[derive(Debug, Clone)]
struct Running {
    conversation_id: ConversationId,
    attempt: Attempt,
    fence: Fence,
    device: Owner,
    log: Arc<Log>,
    signal: Arc<Signal>,
}

/// What a turn needs of its request that is not stored; empty for an adopted turn.
#[derive(Debug, Clone, Copy, Default)]
struct Origin {
    /// True if frames repeat their content as `text`.
    mirror_text: bool,
    /// The sender's IP address, for the token budgets.
    address: Option<IpAddr>,
}

/// Unregisters a turn when its task ends, for whatever reason.
struct Registered {
    engine: Arc<Engine>,
    turn_id: TurnId,
    fence: Fence,
    log: Arc<Log>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.engine.leases.release(self.turn_id, self.fence);
        let mut running = self.engine.running();
        // This instance may already run a later attempt of the turn.
        if running
            .get(&self.turn_id)
            .is_some_and(|running| running.fence == self.fence)
        {
            running.remove(&self.turn_id);
        }
        drop(running);
        // If the task ended before the turn did, another instance adopts the turn once its lease expires.
        self.log.give_up();
    }
}

impl Engine {
    /// Creates the engine of a new instance. Must be called on the main runtime: lease renewal and log writing
    /// run there.
    pub fn new(
        store: Store,
        secret: Arc<SiteSecret>,
        agents: Arc<Agents>,
        judges: Arc<Judges>,
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let instance = InstanceId::new();
        let sessions = Sessions::new(store.clone(), secret, Arc::clone(&agents), &settings);
        let lease = Duration::from_secs(settings.turn.lease_seconds);
        let engine = Arc::new(Self {
            leases: LeaseKeeper::new(store.clone(), instance, lease),
            mirrors: mirror::Mirrors::new(store.clone()),
            maintenance: Maintenance::new(
                store.clone(),
                sessions.clone(),
                Arc::clone(&clock),
                &settings,
            ),
            store,
            agents,
            judges,
            sessions,
            clock,
            settings,
            metrics,
            instance,
            running: Mutex::default(),
            finished: attach::FinishedLogs::default(),
            flushing: tokio::sync::Mutex::default(),
            queues: merge::Queues::default(),
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            draining: CancellationToken::new(),
            shutdown: CancellationToken::new(),
        });
        let leases = Arc::clone(&engine.leases);
        engine.runtime.spawn(async move { leases.run().await });
        engine.runtime.spawn(Arc::clone(&engine).flush_for_ever());
        engine
    }

    /// The agents.
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    /// The session locks.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Runs a turn that has begun or was adopted.
    fn launch(self: &Arc<Self>, started: Started, since: Instant, origin: Origin) -> Reply {
        let (turn_id, conversation_id) = (started.turn_id, started.conversation_id);
        let (attempt, fence) = (started.attempt, started.fence);
        let log = Arc::new(Log::new(Some((turn_id, attempt)), origin.mirror_text));
        if attempt > Attempt::FIRST {
            log.append(Frame::reset(self.clock.now()));
        }
        let signal = Arc::new(Signal::default());
        let lease = self.leases.hold(turn_id, fence, since, Arc::clone(&signal));
        let running = Running {
            conversation_id,
            attempt,
            fence,
            device: started.device.clone(),
            log: Arc::clone(&log),
            signal: Arc::clone(&signal),
        };
        self.running().insert(turn_id, running);
        let registered = Registered {
            engine: Arc::clone(self),
            turn_id,
            fence,
            log: Arc::clone(&log),
        };
        let reader = log.reader(0);
        if self.shutdown.is_cancelled() {
            signal.raise(Cause::Shutdown);
        }
        self.spawn(async move {
            let engine = Arc::clone(&registered.engine);
            run::run(engine, started, log, lease, signal, origin.address).await;
            drop(registered);
        });
        Reply {
            turn_id: Some(turn_id),
            conversation_id: Some(conversation_id),
            reader,
            elsewhere: None,
        }
    }

    /// Shuts the engine down: reports "not ready" at once, refuses new turns after
    /// `server.lame_duck_milliseconds`, and ends the turns that still run at `deadline`. Ending them takes up
    /// to [`END_TIMEOUT`].
    pub async fn drain(&self, deadline: Instant) {
        self.closing.cancel();
        let lame_duck = Duration::from_millis(self.settings.server.lame_duck_milliseconds);
        sleep_until(deadline.min(Instant::now() + lame_duck)).await;
        self.draining.cancel();
        self.tasks.close();
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            self.shutdown.cancel();
            for running in self.running().values() {
                running.signal.raise(Cause::Shutdown);
            }
            drop(timeout(END_TIMEOUT, self.tasks.wait()).await);
        }
    }

    /// How many messages wait on this instance until their conversation is free.
    pub fn waiting(&self) -> usize {
        self.queues.count()
    }

    /// True once the shutdown has begun.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Completes when the shutdown begins.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closing.clone().cancelled_owned()
    }

    /// Adopts abandoned turns and does maintenance, every [`crate::maintenance::INTERVAL`], for ever.
    pub async fn sweep(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(crate::maintenance::INTERVAL).await;
            self.run_maintenance().await;
        }
    }

    async fn run_maintenance(self: &Arc<Self>) {
        self.adopt_some().await;
        self.maintenance.piece().await;
    }

    fn nudge_maintenance(self: &Arc<Self>) {
        if self.maintenance.nudge() {
            let engine = Arc::clone(self);
            self.spawn(async move { engine.run_maintenance().await });
        }
    }

    /// Expires the leases of all running turns in the database and starts to adopt the turns. For a database
    /// that only this server uses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_all(self: &Arc<Self>) -> std::result::Result<(), StoreError> {
        let turns = self.store.release_all_turns(self.instance).await?;
        tracing::debug!(turns, "turns of a server that died are free");
        let engine = Arc::clone(self);
        self.spawn(async move { engine.adopt_some().await });
        Ok(())
    }

    fn running_here(&self, device: &Owner, turn: TurnId) -> Option<Running> {
        self.running()
            .get(&turn)
            .filter(|running| running.device == *device)
            .cloned()
    }

    fn running(&self) -> MutexGuard<'_, HashMap<TurnId, Running>> {
        self.running.lock()
    }

    /// Spawns on the caller's runtime and tracks the task for the shutdown. A turn runs on the worker thread
    /// that sends its frames: waking another thread for each frame costs more than everything else.
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn_on(task, &Handle::current())
    }
}
