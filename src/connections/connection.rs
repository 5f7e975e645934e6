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
/// How long a request may take to arrive, and a client to read on, where the connection is needed for others.
const PATIENCE_IN_NEED: Duration = Duration::from_secs(2);
/// How many bytes may follow a request before it is answered.
const MOST_AHEAD_BYTES: u64 = 64 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Nothing was asked for, or all is answered.
    Idle,
    /// A request is arriving.
    Arriving,
    /// A request has begun to be answered before all of it has arrived.
    Taking,
    /// A request is being answered.
    Answering,
    /// A stream goes on that has nothing to say for now.
    Standing,
}

impl Phase {
    fn of(number: u8) -> Self {
        let all = [
            Self::Idle,
            Self::Arriving,
            Self::Taking,
            Self::Answering,
            Self::Standing,
        ];
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
    /// When the request that is being served began to arrive.
    began: AtomicU64,
    /// How many bytes have come: of the request while it arrives, and of what follows it while it is answered.
    arrived: AtomicU64,
    /// Since when the client has made no room for what is written to it; 0: it has.
    full_since: AtomicU64,
    /// Whether the client goes on talking while it is answered: a WebSocket.
    is_socket: AtomicBool,
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
            began: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            full_since: AtomicU64::new(0),
            is_socket: AtomicBool::new(false),
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

    /// Bytes came from the client; whether that may be. Those that come while nothing is asked for begin a request.
    /// While one is answered, no more than a little may follow it: nobody reads it, and all of it is kept.
    #[must_use]
    pub fn has_read(&self, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = match self.phase() {
            Phase::Idle => {
                self.arrived.store(bytes, Ordering::Relaxed);
                self.is(Phase::Arriving);
                self.began.store(now(), Ordering::Relaxed);
                return true;
            }
            _ => self.arrived.fetch_add(bytes, Ordering::Relaxed),
        };
        match self.phase() {
            Phase::Answering | Phase::Standing if !self.is_socket.load(Ordering::Relaxed) => {
                before + bytes <= MOST_AHEAD_BYTES
            }
            _ => true,
        }
    }

    /// How long the request that is arriving may still take; none while nothing is.
    pub fn left_to_arrive(&self) -> Option<Duration> {
        if self.phase() != Phase::Arriving {
            return None;
        }
        let more = self.arrived.load(Ordering::Relaxed) * 1000 / ARRIVING_BYTES_PER_SECOND;
        let until = self.began.load(Ordering::Relaxed) + millis(ARRIVAL) + more;
        Some(Duration::from_millis(until.saturating_sub(now())))
    }

    /// The head of a request has arrived, and the rest of it may still be on its way. A head that came while the
    /// request before it was answered begins now.
    pub fn is_taking(&self) {
        if self.phase() != Phase::Arriving {
            self.began.store(now(), Ordering::Relaxed);
        }
        self.is(Phase::Taking);
    }

    /// More of a request is waited for.
    pub fn is_arriving(&self) {
        if self.phase() != Phase::Arriving {
            self.is(Phase::Arriving);
        }
    }

    /// A request has arrived whole.
    pub fn is_answering(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.is(Phase::Answering);
    }

    /// From now on the client may say what it likes.
    pub fn becomes_socket(&self) {
        self.is_socket.store(true, Ordering::Relaxed);
    }

    /// Whether the client makes room for what is written to it.
    pub fn has_room(&self, has_room: bool) {
        let since = if has_room { 0 } else { now().max(1) };
        self.full_since.store(since, Ordering::Relaxed);
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
        let is_late = |since| since + millis(PATIENCE_IN_NEED) < now();
        match (self.full_since.load(Ordering::Relaxed), self.phase()) {
            (full @ 1.., _) => is_late(full).then_some((0, full)),
            (0, Phase::Idle) => Some((0, since)),
            (0, Phase::Arriving) if is_late(since) => Some((0, since)),
            (0, Phase::Standing) => Some((1, since)),
            (0, Phase::Arriving | Phase::Taking | Phase::Answering) => None,
        }
    }
}
