//! Housekeeping: expired session locks, turns whose server died, old logs,
//! conversations past their retention (what goes with one: `erase_old` in `store/queries/data.rs`).
//!
//! Nothing depends on a timer alone: on a platform that withdraws the CPU between requests, timers
//! never fire. So turns do a bounded piece when it is due ([`Maintenance::nudge`]), a sweeper does
//! the same at intervals, and `frontdesk tick` does all of it once, for a cron job.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::{
    clock::{Clock, DAY_MICROS, Timestamp},
    config::Settings,
    sessions::Sessions,
    store::{Store, StoreError},
};

/// How often the sweeper runs, and the minimum time between two nudges that do something.
pub const INTERVAL: Duration = Duration::from_secs(30);

/// A turn that no instance has adopted for this long is closed as interrupted.
const FORGOTTEN: Duration = Duration::from_secs(600);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days that old budgets are kept: turns that began yesterday may still be running.
const BUDGETS_KEPT: i64 = 1;

/// Maximum rows per statement.
const MAX_PER_PIECE: u32 = 200;

/// What a sweep cleaned up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Expired session locks.
    pub sessions: usize,
    /// Turns whose server died and that no instance adopted, closed as interrupted.
    pub turns: usize,
    /// Expired logs of finished turns.
    pub logs: usize,
    /// Conversations past their retention.
    pub conversations: usize,
    /// Token reservations of turns that have ended.
    pub reservations: usize,
    /// Waiting conversations that no available expert had been asked for, and that were assigned to one.
    pub handed_out: usize,
}

/// The housekeeping of one instance.
pub struct Maintenance {
    store: Store,
    sessions: Sessions,
    clock: Arc<dyn Clock>,
    log_kept: Duration,
    /// How long conversations are kept; `None`: for ever.
    kept: Option<Duration>,
    last: AtomicI64,
}

impl Maintenance {
    /// The housekeeping of a store.
    pub fn new(
        store: Store,
        sessions: Sessions,
        clock: Arc<dyn Clock>,
        settings: &Settings,
    ) -> Self {
        let days = settings.retention.days;
        Self {
            store,
            sessions,
            clock,
            log_kept: Duration::from_secs(settings.turn.log_kept_seconds),
            kept: (days > 0).then(|| DAY * days),
            last: AtomicI64::new(i64::MIN),
        }
    }

    /// Whether a piece of housekeeping is due. If so, the caller must do it.
    pub fn nudge(&self) -> bool {
        let now = self.clock.now();
        let last = self.last.load(Ordering::Relaxed);
        Timestamp(last).plus(INTERVAL) <= now
            && self
                .last
                .compare_exchange(last, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Does a bounded piece of housekeeping. Failures are only logged.
    pub async fn piece(&self) {
        if let Err(error) = self.sweep(1).await {
            tracing::warn!(error.cause = %error, "housekeeping failed");
        }
    }

    /// Cleans up at most `batches` batches of each kind.
    ///
    /// # Errors
    /// When the database fails. What was cleaned up before stays so.
    pub async fn sweep(&self, batches: usize) -> Result<SweepReport, StoreError> {
        let mut swept = SweepReport {
            sessions: self.sessions.clean_up(batches).await?,
            ..SweepReport::default()
        };
        for _ in 0..batches {
            let turns = self
                .store
                .close_forgotten_turns(FORGOTTEN, MAX_PER_PIECE)
                .await?;
            let logs = self.store.prune_logs(self.log_kept, MAX_PER_PIECE).await?;
            let conversations = match self.kept {
                Some(kept) => {
                    self.store
                        .erase_old(self.clock.now(), kept, MAX_PER_PIECE)
                        .await?
                }
                None => 0,
            };
            let reservations = self.store.settle(None, MAX_PER_PIECE).await?;
            let today = self.clock.now().0.div_euclid(DAY_MICROS);
            self.store.forget_budgets(today - BUDGETS_KEPT).await?;
            swept.reservations += reservations;
            swept.turns += turns;
            swept.logs += logs;
            swept.conversations += conversations;
            if turns.max(logs).max(conversations).max(reservations) < MAX_PER_PIECE as usize {
                break;
            }
        }
        swept.handed_out = self.store.hand_out().await?;
        if swept == SweepReport::default() {
            tracing::debug!("housekeeping found nothing");
        } else {
            tracing::info!(
                cleaned.sessions = swept.sessions,
                cleaned.turns = swept.turns,
                cleaned.logs = swept.logs,
                cleaned.conversations = swept.conversations,
                cleaned.reservations = swept.reservations,
                handed_out = swept.handed_out,
                "housekeeping cleaned up"
            );
        }
        Ok(swept)
    }
}
