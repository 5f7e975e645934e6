//! Mirrors: logs on this instance of turns that run on other instances.
//!
//! The records come from the durable log, with one poll for all turns that are read here. If an attempt ends
//! without a final frame, so does its mirror: readers look the turn up again and find the next attempt.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Engine, log::Log};
use crate::{
    hub::{Hub, Topic},
    store::{Attempt, FrameSeq, Store, StoreError, TurnId, logs::MirrorUpdate},
};

/// Pause between polls of other instances' turns.
const MIRROR_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The same, while hints (database notifications) announce new records.
const MIRROR_POLL_INTERVAL_WITH_HINTS: Duration = Duration::from_millis(500);
/// How long other instances remember that their turns are read here.
const WATCH_TIME: Duration = Duration::from_secs(15);
/// How often they are told again.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// How long to listen for hints after the last reader has gone, and how long to wait after listening failed.
const LISTEN_TIME: Duration = Duration::from_secs(30);
/// How long the database may be away before the mirrors end and their readers must reconnect.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// The mirrors of this instance, by turn and attempt.
#[derive(Debug)]
pub(super) struct Mirrors {
    store: Store,
    state: Mutex<MirrorState>,
    /// True while hints arrive.
    hears: AtomicBool,
}

#[derive(Debug, Default)]
struct MirrorState {
    logs: HashMap<(TurnId, Attempt), Weak<Log>>,
    /// When a mirror last had readers while listening, or when listening failed.
    listened: Option<Instant>,
    is_listening: bool,
    /// When the other instances were last told that their turns are read here; none after a mirror was added.
    watched: Option<Instant>,
    /// When the database last answered, or when it was first asked.
    answered: Option<Instant>,
}

/// A mirror that has readers.
type WatchedMirror = (TurnId, Attempt, Arc<Log>);

impl Engine {
    /// The mirror of an attempt that runs on another instance; all readers here share it.
    pub(super) fn mirror(&self, turn: TurnId, attempt: Attempt) -> Arc<Log> {
        let log = {
            let mut state = self.mirrors.topic().state.lock();
            if let Some(log) = state.logs.get(&(turn, attempt)).and_then(Weak::upgrade) {
                return log;
            }
            let log = Arc::new(Log::new(Some((turn, attempt)), false));
            state.logs.insert((turn, attempt), Arc::downgrade(&log));
            state.watched = None;
            log
        };
        self.mirrors.poll();
        log
    }
}

impl Topic for Mirrors {
    fn is_watched(&self) -> bool {
        let mut state = self.state.lock();
        state.logs.retain(|_, log| log.strong_count() > 0);
        if state.logs.is_empty() {
            state.answered = None;
        }
        !state.logs.is_empty()
    }

    async fn look(hub: &Arc<Hub<Self>>) -> Duration {
        let mirrors = hub.topic();
        if mirrors.may_listen() {
            let listening = Arc::clone(hub);
            #[expect(clippy::disallowed_methods, reason = "one thread, which waits")]
            drop(hub.runtime().spawn_blocking(move || listen(&listening)));
        }
        let (read, owners_know) = mirrors.read();
        if !owners_know {
            mirrors.tell_owners(&read).await;
        }
        mirrors.tell_readers(&read).await;
        match mirrors.hears.load(Ordering::Relaxed) {
            true => MIRROR_POLL_INTERVAL_WITH_HINTS,
            false => MIRROR_POLL_INTERVAL,
        }
    }
}

impl Mirrors {
    /// Starts without mirrors. Must be called on the main runtime.
    pub(super) fn new(store: Store) -> Arc<Hub<Self>> {
        Hub::of(Self {
            store,
            state: Mutex::default(),
            hears: AtomicBool::default(),
        })
    }

    /// The mirrors that have readers, and whether the instances that run the turns know. If not, the caller
    /// tells them.
    fn read(&self) -> (Vec<WatchedMirror>, bool) {
        let mut state = self.state.lock();
        state.answered.get_or_insert_with(Instant::now);
        let logs = state.logs.iter();
        let read =
            logs.filter_map(|((turn, attempt), log)| Some((*turn, *attempt, log.upgrade()?)));
        let read = read.collect();
        let owners_know = state
            .watched
            .is_some_and(|last| last.elapsed() <= WATCH_INTERVAL);
        if !owners_know {
            state.watched = Some(Instant::now());
        }
        (read, owners_know)
    }

    /// Tells the instances that run these turns that they are read here: they then flush more often.
    async fn tell_owners(&self, read: &[WatchedMirror]) {
        let turns = read.iter().map(|(turn, ..)| *turn).collect();
        if let Err(error) = self.store.watch(turns, WATCH_TIME).await {
            tracing::debug!(error.cause = %error, "no instance was told that its turn is read here");
            self.state.lock().watched = None;
        }
    }

    /// Appends new records, and closes mirrors whose attempt does not go on: their readers look the turn up
    /// again.
    async fn tell_readers(&self, read: &[WatchedMirror]) {
        let known = read
            .iter()
            .map(|(turn, attempt, log)| (*turn, *attempt, FrameSeq::of(log.count())));
        let progress = self.store.progress(known.collect()).await;
        let is_over = self.is_over(progress.as_ref().err());
        for (turn, attempt, log) in read {
            let goes_on = match &progress {
                Ok(progress) => progress
                    .iter()
                    .find(|progress| (progress.row.id, progress.attempt) == (*turn, *attempt))
                    .is_some_and(|progress| go_on(log, progress)),
                Err(_) => !is_over,
            };
            if !goes_on {
                self.state.lock().logs.remove(&(*turn, *attempt));
                log.give_up();
            }
        }
    }

    /// True if the database has been away for [`OUTAGE_TIMEOUT`].
    fn is_over(&self, error: Option<&StoreError>) -> bool {
        let mut state = self.state.lock();
        let Some(error) = error else {
            state.answered = Some(Instant::now());
            return false;
        };
        tracing::debug!(error.cause = %error, "other instances' turns could not be read");
        state
            .answered
            .is_some_and(|answered| answered.elapsed() >= OUTAGE_TIMEOUT)
    }

    /// True if the caller should start to listen.
    fn may_listen(&self) -> bool {
        let mut state = self.state.lock();
        let tried = state
            .listened
            .is_some_and(|tried| tried.elapsed() < LISTEN_TIME);
        if state.is_listening || tried {
            return false;
        }
        state.is_listening = true;
        true
    }

    /// Handles a hint. Returns whether to keep listening, and whether a mirror may have grown.
    fn hear(&self, turns: &[TurnId]) -> (bool, bool) {
        if !turns.is_empty() {
            self.hears.store(true, Ordering::Relaxed);
        }
        let mut state = self.state.lock();
        let is_mirrored = |turn: &TurnId| state.logs.keys().any(|(known, _)| known == turn);
        let has_grown = turns.iter().any(is_mirrored);
        if state.logs.values().any(|log| log.strong_count() > 0) {
            state.listened = Some(Instant::now());
        }
        let is_wanted = state
            .listened
            .is_some_and(|last| last.elapsed() < LISTEN_TIME);
        (is_wanted, has_grown)
    }

    /// Notes that listening has ended, and when it failed.
    fn stop_listening(&self, tried: Option<Instant>) {
        self.hears.store(false, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.is_listening = false;
        state.listened = tried;
    }
}

/// Listens for hints while mirrors have readers, and [`LISTEN_TIME`] longer. Blocks its thread.
fn listen(hub: &Hub<Mirrors>) {
    let mirrors = hub.topic();
    let listened = mirrors.store.listen(|turns| {
        let (is_wanted, has_grown) = mirrors.hear(turns);
        if has_grown {
            hub.hint();
        }
        is_wanted
    });
    let failed = listened.err().map(|error| {
        tracing::debug!(error.cause = %error, "no hints from other instances");
        Instant::now()
    });
    mirrors.stop_listening(failed);
}

/// Appends new records to a mirror. True if more may come.
fn go_on(log: &Log, progress: &MirrorUpdate) -> bool {
    for piece in &progress.pieces {
        log.load(piece.first_seq, &piece.records);
    }
    if let Some(kept) = &progress.kept {
        log.load(FrameSeq(1), &kept.records);
        log.finish();
    }
    let row = &progress.row;
    row.finish_reason.is_none() && row.attempt == progress.attempt && !row.is_abandoned
}
