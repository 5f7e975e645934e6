//! Turns: a visitor's message and all that answers it, as a numbered log with many readers.
//!
//! A turn belongs to its conversation, not to the connection that began it: it runs as a task
//! of its own ([`run`]) and appends frames to a [`log::Log`]. Every face of
//! an answer (JSON, an event stream, a resumed stream) is a reader of that log. Promises, in
//! this order: the message is committed before a [`Reply`] is returned; the answer is
//! committed before the final frame. What was said in between is in the database a moment later
//! ([`flush`]), so that another instance shows it ([`mirror`]) and, when this one dies, begins the
//! turn anew ([`adopt`]).

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
mod metadata;
mod mirror;
mod output;
mod prompt;
mod queue;
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

/// How long turns that are ended early have to store what they said.
pub const END_TIMEOUT: Duration = Duration::from_millis(1500);

/// A turn's answer, as it comes.
#[derive(Debug)]
pub struct Reply {
    /// The turn; none where nothing is stored.
    pub turn_id: Option<TurnId>,
    /// Its conversation.
    pub conversation_id: Option<ConversationId>,
    /// The frames.
    pub reader: Reader,
    /// Where the turn runs, if that is another instance: its reader [goes on](Engine::go_on).
    pub elsewhere: Option<RemoteTurn>,
}

/// Runs turns and knows those that are running here.
pub struct Engine {
    store: Store,
    agents: Arc<Agents>,
    judges: Arc<Judges>,
    sessions: Sessions,
    upkeep: Maintenance,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    owner: InstanceId,
    leases: Arc<LeaseKeeper>,
    running: Mutex<HashMap<TurnId, Running>>,
    finished: attach::FinishedLogs,
    mirrors: Arc<Hub<mirror::Mirrors>>,
    flushing: tokio::sync::Mutex<()>,
    queues: queue::Queues,
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
    attempt: Attempt,
    fence: Fence,
    device: Owner,
    log: Arc<Log>,
    signal: Arc<Signal>,
}

/// What is known of a turn's request beside what is stored; nothing of an adopted turn's.
#[derive(Debug, Clone, Copy, Default)]
struct Origin {
    /// Whether frames also say their content as `text`.
    mirror_text: bool,
    /// Who sent it.
    address: Option<IpAddr>,
}

/// A turn that runs here, for as long as its task does, however that ends.
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
        // It may have been adopted here meanwhile, by another attempt.
        if running
            .get(&self.turn_id)
            .is_some_and(|running| running.fence == self.fence)
        {
            running.remove(&self.turn_id);
        }
        drop(running);
        // Where the task ended before the turn did, that goes on elsewhere once the lease has expired.
        self.log.give_up();
    }
}

impl Engine {
    /// An engine of a new instance. Must be called on the main runtime, on which its turns
    /// then run.
    pub fn new(
        store: Store,
        secret: Arc<SiteSecret>,
        agents: Arc<Agents>,
        judges: Arc<Judges>,
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let owner = InstanceId::new();
        let sessions = Sessions::new(store.clone(), secret, Arc::clone(&agents), &settings);
        let lease = Duration::from_secs(settings.turn.lease_seconds);
        let engine = Arc::new(Self {
            leases: LeaseKeeper::new(store.clone(), owner, lease),
            mirrors: mirror::Mirrors::new(store.clone()),
            upkeep: Maintenance::new(
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
            owner,
            running: Mutex::default(),
            finished: attach::FinishedLogs::default(),
            flushing: tokio::sync::Mutex::default(),
            queues: queue::Queues::default(),
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

    /// Lets a turn run that has begun, or was adopted.
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

    /// Is not ready from now on, refuses new turns a moment later, gives the running ones until
    /// `deadline` to finish, and ends them then; that takes up to [`END_TIMEOUT`].
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

    /// How many messages wait here until their conversation is free.
    pub fn waiting(&self) -> usize {
        self.queues.count()
    }

    /// Whether the server is about to shut down.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Ends when the server is about to shut down.
    pub fn closing(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closing.clone().cancelled_owned()
    }

    /// Sweeps now and then, for ever.
    pub async fn sweep(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(crate::maintenance::INTERVAL).await;
            self.keep_up().await;
        }
    }

    async fn keep_up(self: &Arc<Self>) {
        self.adopt_some().await;
        self.upkeep.piece().await;
    }

    fn nudge_upkeep(self: &Arc<Self>) {
        if self.upkeep.nudge() {
            let engine = Arc::clone(self);
            self.spawn(async move { engine.keep_up().await });
        }
    }

    /// Makes all turns that are running in the database free to be adopted: for a database that
    /// only this server uses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_all(self: &Arc<Self>) -> std::result::Result<(), StoreError> {
        let turns = self.store.release_all_turns(self.owner).await?;
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

    /// Spawns on the caller's runtime, and counts for the shutdown: a turn runs on the worker that
    /// sends its frames, since to wake another thread for each costs more than all the rest.
    fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.tasks.spawn_on(task, &Handle::current())
    }
}
