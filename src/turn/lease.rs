//! Leases: how a server shows that it is alive, and how a turn knows that it is still its own.
//!
//! One statement renews the leases of all turns of an instance. A turn whose last renewal is
//! too old stops sending until it is renewed, or ends when it has become another's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::store::{InstanceId, Store, TurnId, turns::Renewed};

/// How often leases are renewed at the least: a stop from another instance is heard with it.
const OFTEN: Duration = Duration::from_millis(800);
/// How long after a failed renewal the next one is tried.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// One turn's lease.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    /// Until when the turn may send.
    valid_until: watch::Receiver<Instant>,
    /// The turn is another's, or was closed.
    pub lost: CancellationToken,
}

impl Lease {
    /// Whether the turn may send.
    pub(super) fn is_valid(&self) -> bool {
        *self.valid_until.borrow() > Instant::now()
    }

    /// Waits until the turn may send. For ever if its lease is lost.
    pub(super) async fn valid(&mut self) {
        while *self.valid_until.borrow_and_update() <= Instant::now() {
            if self.valid_until.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// The leases of an instance.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Store,
    owner: InstanceId,
    lease: Duration,
    held: Mutex<HashMap<TurnId, Held>>,
    failed: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Held {
    fence: i64,
    valid_until: watch::Sender<Instant>,
    lost: CancellationToken,
    stop: CancellationToken,
}

impl Keeper {
    pub(super) fn new(store: Store, owner: InstanceId, lease: Duration) -> Arc<Self> {
        Arc::new(Self {
            store,
            owner,
            lease,
            held: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Takes over the lease of a turn whose beginning was asked for at `since`. `stop` is
    /// cancelled when somebody asks for the turn to stop. An older lease on the same turn is lost.
    pub(super) fn hold(
        &self,
        turn: TurnId,
        fence: i64,
        since: Instant,
        stop: CancellationToken,
    ) -> Lease {
        let (sender, valid_until) = watch::channel(since + self.sending_time());
        let lost = CancellationToken::new();
        let held = Held {
            fence,
            valid_until: sender,
            lost: lost.clone(),
            stop,
        };
        if let Some(older) = self.held().insert(turn, held) {
            older.lost.cancel();
        }
        Lease { valid_until, lost }
    }

    /// Forgets a lease.
    pub(super) fn release(&self, turn: TurnId, fence: i64) {
        let mut held = self.held();
        if held.get(&turn).is_some_and(|held| held.fence == fence) {
            held.remove(&turn);
        }
    }

    /// What the database said of a turn of this fence: it is another's by now, or somebody asks
    /// for it to stop.
    pub(super) fn heard(&self, turn: TurnId, fence: i64, renewed: Option<&Renewed>) {
        let held = self.held();
        let held = held.get(&turn).filter(|held| held.fence == fence);
        match (held, renewed) {
            (Some(held), None) => held.lost.cancel(),
            (Some(held), Some(renewed)) if renewed.stop_requested => held.stop.cancel(),
            _ => {}
        }
    }

    /// The database does not answer.
    pub(super) fn fail(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether the database was away a moment ago.
    pub(super) fn failed_within(&self, time: Duration) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|failed| failed.elapsed() < time)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<TurnId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews for ever.
    pub(super) async fn run(&self) {
        let often = (self.lease / 4).min(OFTEN);
        let mut pause = often;
        loop {
            sleep(pause).await;
            pause = if self.renew().await {
                often
            } else {
                AFTER_FAILURE
            };
        }
    }

    /// Renews all leases once; whether it succeeded.
    async fn renew(&self) -> bool {
        let turns: Vec<(TurnId, i64)> = {
            let held = self.held();
            held.iter()
                .map(|(turn, held)| (*turn, held.fence))
                .collect()
        };
        if turns.is_empty() {
            return true;
        }
        let asked_at = Instant::now();
        let renewed = match self
            .store
            .renew_leases(
                self.owner,
                turns.iter().map(|(turn, _)| *turn).collect(),
                self.lease,
            )
            .await
        {
            Ok(renewed) => renewed,
            Err(error) => {
                self.fail();
                tracing::warn!(error.cause = %error, turns = turns.len(), "leases were not renewed");
                return false;
            }
        };
        for (turn, fence) in turns {
            let renewed = renewed.iter().find(|renewed| renewed.turn_id == turn);
            if let (Some(held), Some(_)) = (self.held().get(&turn), renewed) {
                held.valid_until
                    .send_replace(asked_at + self.sending_time());
            }
            self.heard(turn, fence, renewed);
        }
        true
    }

    /// For how long after a renewal a turn may send: the lease less two seconds.
    fn sending_time(&self) -> Duration {
        self.lease - Duration::from_secs(2).min(self.lease / 3)
    }
}
