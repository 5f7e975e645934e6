//! A client's connection: what it is doing, and how soon it is closed when others need its place.

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

/// Timeout for a request to arrive, extended by a second per KiB that has arrived: so a client that sends a byte now
/// and then cannot keep a connection.
const ARRIVAL: Duration = Duration::from_secs(15);
const ARRIVING_BYTES_PER_SECOND: u64 = 1024;
/// Shorter timeout when others need the connection: for a request to arrive, and for a client to read on.
const PATIENCE_IN_NEED: Duration = Duration::from_secs(2);
/// Maximum bytes that may follow a request before it is answered.
const MOST_AHEAD_BYTES: u64 = 64 * 1024;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// No request has arrived, or all are answered.
    Idle,
    /// A request is arriving.
    Arriving,
    /// A request is being handled while its body still arrives.
    Taking,
    /// A request is being answered.
    Answering,
    /// A standing stream is open and has nothing to send now.
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
    /// Its number, in the order in which connections were opened.
    pub(super) number: u64,
    phase: AtomicU8,
    /// When this phase began or, for a standing stream, when it last sent an event: milliseconds, see [`now`].
    since: AtomicU64,
    /// When the current request began to arrive, in milliseconds.
    began: AtomicU64,
    /// Bytes received: of the request while it arrives, then of what follows it while it is answered.
    arrived: AtomicU64,
    /// Since when the client has not read what is written to it, in milliseconds; 0: it reads.
    full_since: AtomicU64,
    /// Whether this is a WebSocket, whose client may send at any time.
    is_socket: AtomicBool,
    closed: AtomicBool,
    waker: AtomicWaker,
    /// Whether it was accepted beyond the limit.
    is_in_reserve: bool,
}

/// Milliseconds since this function was first called.
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

    /// Notes bytes from the client, and returns whether they are allowed. On an idle connection they begin a request.
    /// While a request is answered, at most [`MOST_AHEAD_BYTES`] may follow it, as they are kept in memory unread.
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

    /// How long the request that is arriving may still take. `None` if none is arriving.
    pub fn left_to_arrive(&self) -> Option<Duration> {
        if self.phase() != Phase::Arriving {
            return None;
        }
        let more = self.arrived.load(Ordering::Relaxed) * 1000 / ARRIVING_BYTES_PER_SECOND;
        let until = self.began.load(Ordering::Relaxed) + millis(ARRIVAL) + more;
        Some(Duration::from_millis(until.saturating_sub(now())))
    }

    /// The head of a request has arrived, and its body may still be arriving. If the head came while the previous
    /// request was answered, its time starts now.
    pub fn is_taking(&self) {
        if self.phase() != Phase::Arriving {
            self.began.store(now(), Ordering::Relaxed);
        }
        self.is(Phase::Taking);
    }

    /// The handler waits for more of the request's body.
    pub fn is_arriving(&self) {
        if self.phase() != Phase::Arriving {
            self.is(Phase::Arriving);
        }
    }

    /// The whole request has arrived.
    pub fn is_answering(&self) {
        self.arrived.store(0, Ordering::Relaxed);
        self.is(Phase::Answering);
    }

    /// From now on this is a WebSocket, whose client may send at any time.
    pub fn becomes_socket(&self) {
        self.is_socket.store(true, Ordering::Relaxed);
    }

    /// Notes whether the client reads what is written to it.
    pub fn has_room(&self, has_room: bool) {
        let since = if has_room { 0 } else { now().max(1) };
        self.full_since.store(since, Ordering::Relaxed);
    }

    /// The request is answered.
    pub fn is_idle(&self) {
        self.is(Phase::Idle);
    }

    /// A standing stream has sent an event, or just begun, and has nothing more to send now.
    pub fn is_standing(&self) {
        self.is(Phase::Standing);
    }

    /// Whether it was accepted beyond the limit: then it only serves health checks and resumed answers.
    pub fn is_in_reserve(&self) -> bool {
        self.is_in_reserve
    }

    /// Whether it must be closed. If not, the task is woken when it must.
    pub fn is_closed(&self, cx: &mut Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.closed.load(Ordering::Acquire)
    }

    /// Closes it at once: a response that is being sent is cut off.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// How soon it is closed when others need its place: the lowest first. `None`: it stays open.
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
