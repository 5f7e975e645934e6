//! Starts a turn: commits the message and runs the task. If the database is away, answers without storing
//! anything.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Engine, Origin, Reply, TurnRequest, log::Log, run};
use crate::{
    config::{OnOutage, WhenBusy},
    error::{Code, Error, Result},
    store::{
        StoreError, TurnId,
        begin::{Begin, BeginTurn},
        sessions::Within,
    },
};

/// The database counts as away if a message cannot be sent to it within this time.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the outcome of a commit that the database did not answer is looked up.
const UNKNOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between these look-ups, which use other connections.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Pauses between the tries of a step: the first one, and the maximum that doubling reaches.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(20);
const MAX_RETRY_PAUSE: Duration = Duration::from_millis(500);

impl Engine {
    /// Starts a turn. When this returns, the message is committed, unless the database is away. The turn does
    /// not depend on the caller: it goes on if the caller is dropped.
    ///
    /// # Errors
    /// If the request is refused, or the database is away and the request is not answered without it.
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
        self.nudge_maintenance();
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

    /// The reply to a request, from the outcome of its begin.
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
            Ok(Begin::Unknown(turn)) => Err(unknown(turn)),
            Err(error @ StoreError::Away(_)) => self.without_database(request, error),
            Err(error) => Err(error.into()),
        }
    }

    /// The outcome of an earlier request with the same idempotency key, if there was one.
    pub(super) async fn known(&self, request: &TurnRequest) -> Result<Option<Begin>> {
        match request.idempotency() {
            Some(key) => Ok(self.store.known_turn(&request.device, key).await?),
            None => Ok(None),
        }
    }

    /// Tries once to begin a turn, together with the `earlier` messages. If it does not begin, nothing is
    /// stored, unless the outcome is unknown.
    pub(super) async fn try_to_begin(
        self: &Arc<Self>,
        request: &TurnRequest,
        earlier: &[&TurnRequest],
    ) -> std::result::Result<Begin, StoreError> {
        let since = Instant::now();
        let until = since + UNKNOWN_TIMEOUT;
        let key = self.sessions.limit_key(&request.device);
        let key = timeout_at(since + BEGIN_TIMEOUT, key).await;
        let key = match key.unwrap_or_else(|_| Err(self.unsent(since))) {
            // Only the limit key was looked up: the message was not sent yet.
            Err(StoreError::Unknown(why)) => return Err(StoreError::Away(why)),
            key => key?,
        };
        let turn = Arc::new(request.begin(self, key, earlier, until));
        let mut committed = Box::pin(Arc::clone(self).commit(Arc::clone(&turn), since));
        if let Ok(begun) = timeout_at(since + BEGIN_TIMEOUT, &mut committed).await {
            if begun.as_ref().is_err_and(StoreError::is_away) {
                self.leases.fail();
            }
            return begun;
        }
        let was_sent = !turn.sent.give_up();
        if !was_sent {
            return Err(self.unsent(since));
        }
        self.leases.fail();
        // The message was sent: look for the outcome on other connections too.
        let found = async {
            loop {
                sleep(LOOK_INTERVAL).await;
                if let Ok(Some(started)) = self.store.begun(Arc::clone(&turn)).await {
                    return started;
                }
            }
        };
        tokio::select! {
            biased;
            begun = &mut committed => return begun,
            started = found => return Ok(Begin::Started(Box::new(started))),
            () = sleep_until(until) => {}
        }
        let turn_id = turn.turn_id;
        let engine = Arc::clone(self);
        self.spawn(async move {
            // The sender was told to ask for this turn later, so the turn must run.
            if let Ok(Begin::Started(started)) = committed.await {
                drop(engine.launch(*started, since, Origin::default()));
            }
        });
        Ok(Begin::Unknown(turn_id))
    }

    /// Why a step was not sent in time. A database that answered others meanwhile is busy, not away.
    fn unsent(&self, since: Instant) -> StoreError {
        if self.store.has_answered_since(since) {
            return StoreError::Busy("others came first".to_owned());
        }
        self.leases.fail();
        StoreError::Away("no connection in time".to_owned())
    }

    /// Commits the start of a turn. Repeats the step if the database is busy or does not answer: its ids make
    /// it idempotent.
    async fn commit(
        self: Arc<Self>,
        turn: Arc<BeginTurn>,
        since: Instant,
    ) -> std::result::Result<Begin, StoreError> {
        let mut is_unknown = false;
        let mut pause = FIRST_RETRY_PAUSE;
        loop {
            let begun = self.store.begin_turn(Arc::clone(&turn)).await;
            let is_own = match &begun {
                Ok(Begin::Busy(Some(busy))) => busy.turn_id == turn.turn_id,
                Ok(Begin::Repeated(id) | Begin::Merged(id)) => *id == turn.turn_id,
                _ => false,
            };
            match begun {
                // An earlier try was committed.
                Ok(_) if is_own => {}
                Err(StoreError::Unknown(error)) => {
                    tracing::warn!(turn.id = %turn.turn_id, error, "it is not known whether a message was stored");
                    is_unknown = true;
                }
                // An earlier try may be committed, whatever this one says: this result may even be its effect.
                Err(_) | Ok(Begin::Limited(_) | Begin::Answered) if is_unknown => {}
                Err(error) if error.is_passing() && since.elapsed() < BEGIN_TIMEOUT => {}
                begun => return begun,
            }
            if (is_own || is_unknown)
                && let Ok(Some(started)) = self.store.begun(Arc::clone(&turn)).await
            {
                return Ok(Begin::Started(Box::new(started)));
            }
            if since.elapsed() > UNKNOWN_TIMEOUT {
                return Ok(Begin::Unknown(turn.turn_id));
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            pause = (pause * 2).min(MAX_RETRY_PAUSE);
        }
    }

    /// The reply while the database is away: an answer that is not stored, or an error.
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

/// The error if it is unknown whether a message is stored. The sender can repeat the request with the turn's id
/// as key.
pub(super) fn unknown(turn: TurnId) -> Error {
    Error::new(Code::Unavailable)
        .detail(
            "It is not known yet whether the message was stored. Repeat the request with the same \
             Idempotency-Key, or with this turn's id as the key: it is answered once.",
        )
        .with("turn_id", turn)
}

/// The same error for a message that was merged into a later one's turn: the turn's id stands for the later
/// message.
pub(super) fn unknown_without_key() -> Error {
    Error::new(Code::Unavailable).detail(
        "It is not known yet whether the message was stored. If it was, the history has it, and its answer.",
    )
}

/// The error for new turns during the shutdown.
pub(super) fn shutting_down() -> Error {
    Error::new(Code::Unavailable).detail("This server is shutting down.")
}
