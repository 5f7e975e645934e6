//! Turns that run on other instances, as logs of this one.
//!
//! The frames come from the durable log, by one poll for all turns that somebody here reads. A
//! mirror ends without a final frame when its attempt does: its readers come back, and find the
//! next one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{Engine, log::Log};
use crate::store::{TurnId, logs::Progress};

/// How often other instances' turns are looked at.
const POLL: Duration = Duration::from_millis(100);
/// For how long the database may be away before readers are sent away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mirrors of this instance, by turn and attempt.
#[derive(Debug, Default)]
pub(super) struct Mirrors(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logs: HashMap<(TurnId, i32), Weak<Log>>,
    is_polled: bool,
}

impl Mirrors {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirrors that somebody reads. Where there is none, nobody polls from now on.
    fn read(&self) -> Vec<(TurnId, i32, Arc<Log>)> {
        let mut state = self.lock();
        state.logs.retain(|_, log| log.strong_count() > 0);
        state.is_polled = !state.logs.is_empty();
        let logs = state.logs.iter();
        logs.filter_map(|((turn, attempt), log)| Some((*turn, *attempt, log.upgrade()?)))
            .collect()
    }
}

impl Engine {
    /// A log of an attempt that runs on another instance.
    pub(super) fn mirror(self: &Arc<Self>, turn: TurnId, attempt: i32) -> Arc<Log> {
        let mut state = self.mirrors.lock();
        if let Some(log) = state.logs.get(&(turn, attempt)).and_then(Weak::upgrade) {
            return log;
        }
        let log = Arc::new(Log::new(None, false));
        state.logs.insert((turn, attempt), Arc::downgrade(&log));
        if !std::mem::replace(&mut state.is_polled, true) {
            self.runtime.spawn(Arc::clone(self).poll_mirrors());
        }
        log
    }

    async fn poll_mirrors(self: Arc<Self>) {
        let mut heard = Instant::now();
        loop {
            let mirrors = self.mirrors.read();
            if mirrors.is_empty() {
                return;
            }
            let known = mirrors.iter().map(|(turn, attempt, log)| {
                (
                    *turn,
                    *attempt,
                    i64::try_from(log.count()).unwrap_or(i64::MAX),
                )
            });
            match self.store.progress(known.collect()).await {
                Ok(progress) => {
                    heard = Instant::now();
                    for (turn, attempt, log) in &mirrors {
                        let of_turn = progress.iter().find(|progress| progress.row.id == *turn);
                        if !of_turn.is_some_and(|progress| go_on(log, *attempt, progress)) {
                            self.mirrors.lock().logs.remove(&(*turn, *attempt));
                            log.give_up();
                        }
                    }
                }
                Err(error) if heard.elapsed() < PATIENCE => {
                    tracing::debug!(error.cause = %error, "other instances' turns could not be read");
                }
                Err(_) => mirrors.iter().for_each(|(.., log)| log.give_up()),
            }
            drop(mirrors);
            sleep(POLL).await;
        }
    }
}

/// Appends what is new; whether more may come.
fn go_on(log: &Log, attempt: i32, progress: &Progress) -> bool {
    for piece in &progress.pieces {
        log.append_framed(
            usize::try_from(piece.first_seq).unwrap_or(usize::MAX),
            &piece.frames,
        );
    }
    if let Some(kept) = &progress.kept {
        log.append_framed(1, &kept.frames);
    }
    let row = &progress.row;
    row.finish_reason.is_none() && row.attempt == attempt && !row.is_abandoned
}
