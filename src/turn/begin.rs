//! From a request to a running turn: its message committed, its conversation free, or an answer
//! without a database.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Engine, Reply, TurnRequest, log::Log, run};
use crate::{
    config::OnOutage,
    error::{Code, Error, Result},
    store::{
        DeviceId, StoreError,
        turns::{Begin, Busy},
    },
};

/// How long a message may take to be committed before the database counts as away.
pub(super) const COMMIT_PATIENCE: Duration = Duration::from_secs(2);
/// How long a message waits that finds its conversation busy elsewhere, before it tries again.
const AGAIN: Duration = Duration::from_millis(200);
/// How many messages of a device may wait here at once.
const MOST_WAITING: usize = 8;

/// How many messages wait, by device.
#[derive(Debug, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<DeviceId, usize>>>);

impl Waiting {
    /// Counts a message that waits, for as long as what is returned lives.
    fn enter(&self, device: &DeviceId) -> Option<Waits> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_device = waiting.entry(device.clone()).or_default();
        if *of_device >= MOST_WAITING {
            return None;
        }
        *of_device += 1;
        Some(Waits(Arc::clone(&self.0), device.clone()))
    }
}

/// A message that waits.
struct Waits(Arc<Mutex<HashMap<DeviceId, usize>>>, DeviceId);

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&self.1) {
            Some(of_device) if *of_device > 1 => *of_device -= 1,
            _ => drop(waiting.remove(&self.1)),
        }
    }
}

impl Engine {
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
        let patience = Duration::from_secs(self.settings.turn.wait_seconds);
        let mut waits = None;
        loop {
            if self.draining.is_cancelled() {
                return Err(Error::new(Code::Unavailable).detail("This server is shutting down."));
            }
            let tried = Instant::now();
            let busy = match self.try_to_begin(&request).await {
                Ok(Begin::Started(started)) => {
                    return Ok(self.launch(*started, tried, request.mirror_text));
                }
                Ok(Begin::Repeated(turn)) => return self.repeat(&request.device, turn).await,
                Ok(Begin::Busy(busy)) => busy,
                Ok(Begin::Limited(wait)) => {
                    return Err(Error::new(Code::RateLimited).retry_after(wait));
                }
                Ok(Begin::KeyReused) => return Err(Error::new(Code::IdempotencyKeyReused)),
                Err(error) => return self.without_database(request, error),
            };
            if waits.is_none() {
                waits = self.waiting.enter(&request.device);
            }
            if since.elapsed() >= patience || waits.is_none() {
                return Err(Error::new(Code::TurnInProgress));
            }
            self.wait_for(busy, since + patience).await?;
        }
    }

    /// One try to begin a turn. Nothing is kept of one that does not begin.
    async fn try_to_begin(
        self: &Arc<Self>,
        request: &TurnRequest,
    ) -> std::result::Result<Begin, StoreError> {
        let since = Instant::now();
        let turn = request.begin(self, since);
        let store = self.store.clone();
        let mut committed = Box::pin(async move { store.begin_turn(turn).await });
        match timeout_at(since + COMMIT_PATIENCE, &mut committed).await {
            Ok(begun) => begun,
            Err(_) => {
                let engine = Arc::clone(self);
                self.spawn(async move { engine.give_back(committed.await).await });
                Err(StoreError::Unavailable("not committed in time".to_owned()))
            }
        }
    }

    /// Waits until a conversation may be free: for its turn's end, or a moment. A turn whose
    /// owner is dead is adopted, so that it does end.
    async fn wait_for(self: &Arc<Self>, busy: Option<Busy>, until: Instant) -> Result<()> {
        let Some(Busy {
            turn_id,
            is_abandoned,
        }) = busy
        else {
            return Ok(());
        };
        if is_abandoned {
            self.adopt(turn_id).await?;
        }
        let here = self
            .running()
            .get(&turn_id)
            .map(|running| running.log.reader(usize::MAX));
        let end = async {
            match here {
                Some(mut reader) => while reader.next().await.is_some() {},
                None => sleep(AGAIN).await,
            }
        };
        drop(timeout_at(until, end).await);
        Ok(())
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
}
