//! From a request to a running turn: its message committed, its conversation free, or an answer
//! without a database.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{Engine, Origin, Reply, TurnRequest, log::Log, run};
use crate::{
    config::{OnOutage, WhenBusy},
    error::{Code, Error, Result},
    store::{
        StoreError,
        begin::{Begin, BeginTurn, Busy, Started},
        sessions::Within,
    },
};

/// How long a message may take to be committed before the database counts as away.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(2);

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
        if self.draining.is_cancelled() {
            return Err(shutting_down());
        }
        let tried = Instant::now();
        let busy = if self.queues.has(&request) {
            if let Some(known) = self.known(&request).await? {
                return self.begun(request, tried, Ok(known)).await;
            }
            None
        } else {
            match self.try_to_begin(&request, &[]).await {
                Ok(Begin::Busy(busy)) => busy,
                begun => return self.begun(request, tried, begun).await,
            }
        };
        let agent = busy.as_ref().and_then(|busy| busy.agent.as_deref());
        if busy.is_some() && self.agents.when_busy(agent) == WhenBusy::Reject {
            return Err(Error::new(Code::TurnInProgress));
        }
        self.wait(request, busy).await
    }

    /// What a request gets that has begun, or will not.
    pub(super) async fn begun(
        self: &Arc<Self>,
        request: TurnRequest,
        tried: Instant,
        begun: std::result::Result<Begin, StoreError>,
    ) -> Result<Reply> {
        match begun {
            Ok(Begin::Started(started)) => Ok(self.launch(*started, tried, request.origin())),
            Ok(Begin::Repeated(turn)) => self.repeat(&request.device, turn).await,
            Ok(Begin::Merged(turn)) => {
                let row = self.store.turn(&request.device, turn).await?;
                let row = row.ok_or_else(|| Error::new(Code::NotFound))?;
                Ok(self.merged(&request, turn, row.conversation_id))
            }
            Ok(Begin::Busy(_)) => Err(Error::new(Code::TurnInProgress)),
            Ok(Begin::Limited(wait)) => Err(Error::new(Code::RateLimited).retry_after(wait)),
            Ok(Begin::Answered) => Err(Error::new(Code::AlreadyAnswered)),
            Ok(Begin::NoWidget | Begin::NoConversation) => Err(Error::new(Code::NotFound)),
            Ok(Begin::KeyReused) => Err(Error::new(Code::IdempotencyKeyReused)),
            Err(error @ StoreError::Refused(_)) => Err(Error::new(Code::Internal).caused_by(error)),
            Err(error) => self.without_database(request, error),
        }
    }

    /// What became of a request with the same key, if there was one.
    pub(super) async fn known(&self, request: &TurnRequest) -> Result<Option<Begin>> {
        match &request.idempotency {
            Some(key) => Ok(self.store.known_turn(&request.device, key.clone()).await?),
            None => Ok(None),
        }
    }

    /// One try to begin a turn. Nothing is kept of one that does not begin.
    /// `earlier` messages go with it.
    pub(super) async fn try_to_begin(
        self: &Arc<Self>,
        request: &TurnRequest,
        earlier: &[&TurnRequest],
    ) -> std::result::Result<Begin, StoreError> {
        let since = Instant::now();
        let deadline = since + BEGIN_TIMEOUT;
        let turn = request.begin(self, earlier, deadline);
        let mut committed = Box::pin(Arc::clone(self).commit(turn, since));
        match timeout_at(deadline, &mut committed).await {
            Ok(begun) => {
                if begun.as_ref().is_err_and(StoreError::is_away) {
                    self.leases.fail();
                }
                begun
            }
            Err(_) => {
                self.leases.fail();
                let engine = Arc::clone(self);
                self.spawn(async move {
                    // Its sender has stopped waiting, but it was said, and a sender with a key comes back.
                    if let Ok(Begin::Started(started)) = committed.await {
                        drop(engine.launch(*started, since, Origin::default()));
                    }
                });
                Err(StoreError::Unavailable("not committed in time".to_owned()))
            }
        }
    }

    /// Commits the beginning of a turn. Where the database's answer is lost, it is asked for it, for as
    /// long as the turn's lease would last.
    async fn commit(
        self: Arc<Self>,
        turn: BeginTurn,
        since: Instant,
    ) -> std::result::Result<Begin, StoreError> {
        let turn = Arc::new(turn);
        let is_own = |busy: &Option<Busy>| {
            busy.as_ref()
                .is_some_and(|busy| busy.turn_id == turn.turn_id)
        };
        let mut is_lost = false;
        loop {
            match self.store.begin_turn(Arc::clone(&turn)).await {
                Err(StoreError::Lost(error)) => {
                    tracing::warn!(error, "a commit's answer was lost");
                    is_lost = true;
                }
                // It was committed after all, after it had been looked for.
                Ok(Begin::Busy(busy)) if is_own(&busy) => {}
                Ok(Begin::Repeated(id) | Begin::Merged(id)) if id == turn.turn_id => {}
                Err(StoreError::Refused(_)) if is_lost => {}
                begun => return begun,
            }
            match self.look_for(&turn, since + turn.lease).await {
                Ok(Some(started)) => return Ok(Begin::Started(Box::new(started))),
                Ok(None) if since.elapsed() < BEGIN_TIMEOUT => {}
                Ok(None) => return Err(StoreError::Late),
                Err(error) => return Err(error),
            }
        }
    }

    /// A turn that may have been committed.
    async fn look_for(
        &self,
        turn: &Arc<BeginTurn>,
        until: Instant,
    ) -> std::result::Result<Option<Started>, StoreError> {
        let mut pause = Duration::from_millis(50);
        loop {
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
            match self.store.begun(Arc::clone(turn)).await {
                Err(_) if Instant::now() < until => {}
                found => return found,
            }
        }
    }

    /// What a message gets while the database is away.
    fn without_database(
        self: &Arc<Self>,
        request: TurnRequest,
        error: StoreError,
    ) -> Result<Reply> {
        let refuse = self.settings.database.on_outage == OnOutage::Refuse;
        if refuse || self.settings.has_people() || request.within != Within::Session {
            return Err(Error::new(Code::Unavailable).caused_by(error));
        }
        tracing::warn!(error.cause = %error, "the message could not be stored: answering without memory");
        let log = Arc::new(Log::new(None, request.mirror_text));
        let reader = log.reader(0);
        let message = request.unstored(self);
        self.spawn(run::run_stateless(
            Arc::clone(self),
            message,
            request.agent,
            log,
            self.shutdown.clone(),
        ));
        Ok(Reply {
            turn_id: None,
            conversation_id: None,
            reader,
            elsewhere: None,
        })
    }
}

/// This server takes no more turns.
pub(super) fn shutting_down() -> Error {
    Error::new(Code::Unavailable).detail("This server is shutting down.")
}
