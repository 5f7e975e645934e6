//! Leases: how a server shows that it is alive, and how a turn knows that it is still its own.
//!
//! One statement renews the leases of all turns of an instance. A turn whose last renewal is
//! too old stops sending until it is renewed, or ends when it has become another's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::store::{InstanceId, Store, TurnId};

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
}

#[derive(Debug)]
struct Held {
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
        })
    }

    /// Takes over the lease of a turn whose beginning was asked for at `since`. `stop` is
    /// cancelled when somebody asks for the turn to stop.
    pub(super) fn hold(&self, turn: TurnId, since: Instant, stop: CancellationToken) -> Lease {
        let (sender, valid_until) = watch::channel(since + self.sending_time());
        let lost = CancellationToken::new();
        let held = Held {
            valid_until: sender,
            lost: lost.clone(),
            stop,
        };
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(turn, held);
        Lease { valid_until, lost }
    }

    pub(super) fn release(&self, turn: TurnId) {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&turn);
    }

    /// Renews for ever.
    pub(super) async fn run(&self) {
        let mut pause = self.lease / 4;
        loop {
            sleep(pause).await;
            pause = if self.renew().await {
                self.lease / 4
            } else {
                AFTER_FAILURE
            };
        }
    }

    /// Renews all leases once; whether it succeeded.
    async fn renew(&self) -> bool {
        let turns: Vec<TurnId> = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.keys().copied().collect()
        };
        if turns.is_empty() {
            return true;
        }
        let asked_at = Instant::now();
        let renewed = match self
            .store
            .renew_leases(self.owner, turns.clone(), self.lease)
            .await
        {
            Ok(renewed) => renewed,
            Err(error) => {
                tracing::warn!(error.cause = %error, turns = turns.len(), "leases were not renewed");
                return false;
            }
        };
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for turn in turns {
            let Some(held) = held.get(&turn) else {
                continue;
            };
            match renewed.iter().find(|renewed| renewed.turn_id == turn) {
                Some(renewed) => {
                    held.valid_until
                        .send_replace(asked_at + self.sending_time());
                    if renewed.stop_requested {
                        held.stop.cancel();
                    }
                }
                None => held.lost.cancel(),
            }
        }
        true
    }

    /// For how long after a renewal a turn may send: the lease less two seconds.
    fn sending_time(&self) -> Duration {
        self.lease - Duration::from_secs(2).min(self.lease / 3)
    }
}
