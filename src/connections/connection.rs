//! A client's connection: what it is doing, and how soon it goes when others need its place.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::Context,
    time::Duration,
};

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// How long a request may take to arrive, and more time for what has arrived: a byte now and then does not hold a
/// connection.
const ARRIVAL: Duration = Duration::from_secs(15);
const ARRIVING_BYTES_PER_SECOND: u64 = 1024;
/// How long a request may take to arrive where its connection is needed for others.
const ARRIVAL_IN_NEED: Duration = Duration::from_secs(2);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing was asked for, or all is answered.
    Idle,
    /// A request is arriving.
    Arriving,
    /// A request is being answered.
    Answering,
    /// A stream goes on that has nothing to say for now.
    Standing,
}

impl Phase {
    fn of(number: u8) -> Self {
        let all = [Self::Idle, Self::Arriving, Self::Answering, Self::Standing];
        let found = all.into_iter().find(|phase| *phase as u8 == number);
        found.unwrap_or(Self::Answering)
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    /// Its place among all that there were.
    pub(super) number: u64,
    phase: AtomicU8,
    /// When this phase began, or when something was said last in it: milliseconds, see [`now`].
    since: AtomicU64,
    /// How much of a request has arrived in this phase, in bytes.
    arrived: AtomicU64,
    closed: AtomicBool,
    waker: AtomicWaker,
    /// Whether it was taken when there were too many already.
    is_in_reserve: bool,
}

/// Milliseconds since the first connection.
pub(super) fn now() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Connection {
    pub(super) fn new(number: u64, is_in_reserve: bool) -> Self {
        Self {
            number,
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(now()),
            arrived: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            is_in_reserve,
        }
    }

    fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    fn is(&self, phase: Phase) {
        self.since.store(now(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Bytes came from the client. Those that come while nothing is asked for begin a request.
    pub fn has_read(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self.phase() {
            Phase::Idle => {
                self.arrived.store(bytes, Ordering::Relaxed);
                self.is(Phase::Arriving);
            }
            Phase::Arriving => drop(self.arrived.fetch_add(bytes, Ordering::Relaxed)),
            Phase::Answering | Phase::Standing => {}
        }
    }

    /// How long the request that is arriving may still take; none while nothing is.
    pub fn left_to_arrive(&self) -> Option<Duration> {
        if self.phase() != Phase::Arriving {
            return None;
        }
        let more = self.arrived.load(Ordering::Relaxed) * 1000 / ARRIVING_BYTES_PER_SECOND;
        let until = self.since.load(Ordering::Relaxed) + millis(ARRIVAL) + more;
        Some(Duration::from_millis(until.saturating_sub(now())))
    }

    /// A request has arrived whole, or says something once more on its stream.
    pub fn is_answering(&self) {
        self.is(Phase::Answering);
    }

    /// What was asked for is answered.
    pub fn is_idle(&self) {
        self.is(Phase::Idle);
    }

    /// A stream on it has nothing to say for now.
    pub fn is_standing(&self) {
        self.is(Phase::Standing);
    }

    /// Whether it was taken when there were too many already: it serves what cannot wait, and nothing else.
    pub fn is_in_reserve(&self) -> bool {
        self.is_in_reserve
    }

    /// Whether it is to be closed; if not now, the task is woken then.
    pub fn is_closed(&self, cx: &mut Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.closed.load(Ordering::Acquire)
    }

    /// Lets it be closed, at once and without the end of what is being sent.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// How soon it goes when others need its place, the least first. None: it stays.
    pub(super) fn worth(&self) -> Option<(u8, u64)> {
        let since = self.since.load(Ordering::Relaxed);
        match self.phase() {
            Phase::Idle => Some((0, since)),
            Phase::Arriving if since + millis(ARRIVAL_IN_NEED) < now() => Some((0, since)),
            Phase::Standing => Some((1, since)),
            Phase::Arriving | Phase::Answering => None,
        }
    }
}
