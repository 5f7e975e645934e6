//! Turns that run on other instances, as logs of this one.
//!
//! The frames come from the durable log, by one poll for all turns that somebody here reads. A
//! mirror ends without a final frame when its attempt does: its readers come back, and find the
//! next one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{Engine, log::Log};
use crate::store::{TurnId, logs::Progress};

/// How often other instances' turns are looked at.
const POLL: Duration = Duration::from_millis(100);
/// The same, where hints say when there is something to see.
const REPAIR: Duration = Duration::from_millis(500);
/// For how long their owners are told that somebody reads here, and how often.
const WATCH: Duration = Duration::from_secs(15);
const WATCH_AGAIN: Duration = Duration::from_secs(5);
/// For how long hints are listened to after the last reader has gone, and when they are tried again
/// where they could not be had.
const LISTEN: Duration = Duration::from_secs(30);
/// For how long the database may be away before readers are sent away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The mirrors of this instance, by turn and attempt.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    state: Mutex<State>,
    /// One of them may have grown.
    hint: Notify,
    /// Whether hints arrive.
    hears: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    logs: HashMap<(TurnId, i32), Weak<Log>>,
    is_polled: bool,
    /// Since when hints are listened to, or when that failed.
    listened: Option<Instant>,
    is_listening: bool,
    /// A mirror is new: its owner does not know yet that it is read.
    is_news: bool,
}

impl Mirrors {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mirrors that somebody reads. Where there is none, nobody polls from now on.
    fn read(&self) -> Vec<(TurnId, i32, Arc<Log>)> {
        let mut state = self.lock();
        state.logs.retain(|_, log| log.strong_count() > 0);
        let logs = state.logs.iter();
        let read: Vec<_> = logs
            .filter_map(|((turn, attempt), log)| Some((*turn, *attempt, log.upgrade()?)))
            .collect();
        state.is_polled = !read.is_empty();
        read
    }

    /// Whether it is the caller's to listen from now on.
    fn may_listen(&self) -> bool {
        let mut state = self.lock();
        let tried = state.listened.is_some_and(|tried| tried.elapsed() < LISTEN);
        if state.is_listening || tried {
            return false;
        }
        state.is_listening = true;
        true
    }

    /// Hears a hint; whether any more are wanted.
    fn hear(&self, turns: &[TurnId]) -> bool {
        let mut state = self.lock();
        if !turns.is_empty() {
            self.hears.store(true, Ordering::Relaxed);
        }
        if turns
            .iter()
            .any(|turn| state.logs.keys().any(|(known, _)| known == turn))
        {
            self.hint.notify_one();
        }
        if state.is_polled {
            state.listened = Some(Instant::now());
        }
        state.listened.is_some_and(|last| last.elapsed() < LISTEN)
    }

    /// There are no hints any more.
    fn is_deaf(&self, tried: Option<Instant>) {
        self.hears.store(false, Ordering::Relaxed);
        let mut state = self.lock();
        state.is_listening = false;
        state.listened = tried;
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
        state.is_news = true;
        self.mirrors.hint.notify_one();
        if !std::mem::replace(&mut state.is_polled, true) {
            self.runtime.spawn(Arc::clone(self).poll_mirrors());
        }
        log
    }

    /// Listens to hints while there are mirrors, and a little longer.
    fn listen_for_mirrors(self: Arc<Self>) {
        let listened = self.store.listen(|turns| self.mirrors.hear(turns));
        let failed = listened.err().map(|error| {
            tracing::debug!(error.cause = %error, "no hints from other instances");
            Instant::now()
        });
        self.mirrors.is_deaf(failed);
    }

    /// Tells the owners of turns that they are read here.
    async fn watch(&self, mirrors: &[(TurnId, i32, Arc<Log>)]) {
        let turns = mirrors.iter().map(|(turn, ..)| *turn).collect();
        if let Err(error) = self.store.watch(turns, WATCH).await {
            tracing::debug!(error.cause = %error, "nobody was told that a turn is read here");
        }
    }

    async fn poll_mirrors(self: Arc<Self>) {
        let _polled = Polled(&self.mirrors);
        let mut heard = Instant::now();
        let mut watched: Option<Instant> = None;
        loop {
            let mirrors = self.mirrors.read();
            if mirrors.is_empty() {
                return;
            }
            if self.mirrors.may_listen() {
                let engine = Arc::clone(&self);
                #[expect(clippy::disallowed_methods, reason = "one thread, which waits")]
                drop(
                    self.runtime
                        .spawn_blocking(move || engine.listen_for_mirrors()),
                );
            }
            let is_news = std::mem::take(&mut self.mirrors.lock().is_news);
            if is_news || watched.is_none_or(|last| last.elapsed() > WATCH_AGAIN) {
                self.watch(&mirrors).await;
                watched = Some(Instant::now());
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
                        let of_turn = progress.iter().find(|progress| {
                            (progress.row.id, progress.attempt) == (*turn, *attempt)
                        });
                        if !of_turn.is_some_and(|progress| go_on(log, progress)) {
                            self.mirrors.lock().logs.remove(&(*turn, *attempt));
                            log.give_up();
                        }
                    }
                }
                Err(error) if heard.elapsed() < PATIENCE => {
                    tracing::debug!(error.cause = %error, "other instances' turns could not be read");
                }
                Err(_) => {
                    // These alone: another may have been added meanwhile.
                    for (turn, attempt, log) in &mirrors {
                        self.mirrors.lock().logs.remove(&(*turn, *attempt));
                        log.give_up();
                    }
                }
            }
            drop(mirrors);
            let pause = match self.mirrors.hears.load(Ordering::Relaxed) {
                true => REPAIR,
                false => POLL,
            };
            drop(timeout(pause, self.mirrors.hint.notified()).await);
        }
    }
}

/// Lets another poller come where one panicked.
struct Polled<'a>(&'a Mirrors);

impl Drop for Polled<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().is_polled = false;
        }
    }
}

/// Appends what is new; whether more may come.
fn go_on(log: &Log, progress: &Progress) -> bool {
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
    row.finish_reason.is_none() && row.attempt == progress.attempt && !row.is_abandoned
}
