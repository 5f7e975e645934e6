//! Leases: how an instance shows that it is alive, and how it learns that it has lost a turn.
//!
//! One statement renews the leases of all turns of an instance. A turn whose last renewal is too old stops
//! sending until the next renewal; a turn whose lease is lost ends. A session lock's TTL is another matter:
//! `store/queries/sessions.rs`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::signal::{Cause, Signal};
use crate::store::{Fence, InstanceId, Store, TurnId, turns::Renewed};

/// Longest pause between renewals: a renewal also tells of a stop that another instance requested.
const MAX_RENEWAL_INTERVAL: Duration = Duration::from_millis(800);
/// How long after a failed renewal the next one is tried.
const RENEWAL_RETRY_DELAY: Duration = Duration::from_millis(500);

/// How often a turn that waits for its lease checks it.
const VALID_POLL_INTERVAL: Duration = Duration::from_millis(20);

/// One turn's lease.
#[derive(Debug)]
pub(super) struct Lease {
    fence: Fence,
    since: Instant,
    /// How long the turn may send, in milliseconds from `since`.
    valid_for: AtomicU64,
    signal: Arc<Signal>,
}

impl Lease {
    /// True if the turn may send.
    pub(super) fn is_valid(&self) -> bool {
        let valid_for = self.valid_for.load(Ordering::Relaxed);
        self.since.elapsed() < Duration::from_millis(valid_for)
    }

    /// Waits until the turn may send; for ever if its lease is lost.
    pub(super) async fn valid(&self) {
        while !self.is_valid() {
            sleep(VALID_POLL_INTERVAL).await;
        }
    }

    fn renew(&self, until: Instant) {
        let valid_for = until.saturating_duration_since(self.since).as_millis();
        let valid_for = u64::try_from(valid_for).unwrap_or(u64::MAX);
        self.valid_for.store(valid_for, Ordering::Relaxed);
    }
}

/// The leases of an instance.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    store: Store,
    instance: InstanceId,
    lease: Duration,
    held: Mutex<HashMap<TurnId, Arc<Lease>>>,
    failed: Mutex<Option<Instant>>,
}

impl LeaseKeeper {
    pub(super) fn new(store: Store, instance: InstanceId, lease: Duration) -> Arc<Self> {
        Arc::new(Self {
            store,
            instance,
            lease,
            held: Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Registers a turn's lease. `since` is when its begin or adoption was sent to the database; `signal` tells
    /// the turn that the lease is lost or that it has to stop. An older lease on the same turn is lost.
    pub(super) fn hold(
        &self,
        turn: TurnId,
        fence: Fence,
        since: Instant,
        signal: Arc<Signal>,
    ) -> Arc<Lease> {
        let lease = Arc::new(Lease {
            fence,
            since,
            valid_for: AtomicU64::default(),
            signal,
        });
        lease.renew(since + self.sending_time());
        if let Some(older) = self.held().insert(turn, Arc::clone(&lease)) {
            older.signal.raise(Cause::Lost);
        }
        lease
    }

    /// Removes a lease.
    pub(super) fn release(&self, turn: TurnId, fence: Fence) {
        let mut held = self.held();
        if held.get(&turn).is_some_and(|held| held.fence == fence) {
            held.remove(&turn);
        }
    }

    /// Handles a database's answer for a turn and fence: `None` means that the lease is lost; otherwise it may
    /// ask the turn to stop.
    pub(super) fn note_renewal(&self, turn: TurnId, fence: Fence, renewed: Option<&Renewed>) {
        let held = self.held();
        let held = held.get(&turn).filter(|held| held.fence == fence);
        match (held, renewed) {
            (Some(held), None) => held.signal.raise(Cause::Lost),
            (Some(held), Some(renewed)) if renewed.stop_requested => {
                held.signal.raise(Cause::Stopped);
            }
            _ => {}
        }
    }

    /// Notes that the database did not answer.
    pub(super) fn fail(&self) {
        *self.failed.lock() = Some(Instant::now());
    }

    /// True if the database failed to answer within the last `time`.
    pub(super) fn failed_within(&self, time: Duration) -> bool {
        let failed = self.failed.lock();
        failed.is_some_and(|failed| failed.elapsed() < time)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<TurnId, Arc<Lease>>> {
        self.held.lock()
    }

    /// Renews all leases, for ever.
    pub(super) async fn run(&self) {
        let often = (self.lease / 4).min(MAX_RENEWAL_INTERVAL);
        let mut pause = often;
        loop {
            sleep(pause).await;
            pause = if self.renew().await {
                often
            } else {
                RENEWAL_RETRY_DELAY
            };
        }
    }

    /// Renews all leases once. False if the database failed.
    async fn renew(&self) -> bool {
        let turns: Vec<(TurnId, Fence)> = {
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
                self.instance,
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
        let renewed = renewed
            .into_iter()
            .map(|renewed| (renewed.turn_id, renewed));
        let renewed: HashMap<_, _> = renewed.collect();
        for (turn, fence) in turns {
            let renewed = renewed.get(&turn);
            if let (Some(held), Some(_)) = (self.held().get(&turn), renewed) {
                held.renew(asked_at + self.sending_time());
            }
            self.note_renewal(turn, fence, renewed);
        }
        true
    }

    /// How long after a renewal a turn may send: the lease minus 2 s, or minus a third of it if that is less.
    fn sending_time(&self) -> Duration {
        self.lease - Duration::from_secs(2).min(self.lease / 3)
    }
}
