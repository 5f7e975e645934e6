//! The clients' connections that are open on this instance, and which of them is closed when there are too many.
//!
//! The connection that has been idle the longest is closed first, then the standing stream that has been silent the
//! longest: their clients reconnect and miss nothing. A connection whose request is being answered is never closed
//! to make room, unless its client has stopped reading.

mod connection;
mod under_way;

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use connection::{millis, now};

use crate::{config::Settings, limits::network, metrics::Metrics, store::Owner};

pub use connection::Connection;
pub use under_way::{Bytes, UnderWay};

/// How many connections are taken beyond the limit: for health checks, and for clients that come back to an answer.
const RESERVE: usize = 32;
/// How often the log tells that there are too many.
const TOLD_EACH: Duration = Duration::from_secs(60);

/// Connections by their numbers: the oldest first.
type List = BTreeMap<u64, Arc<Connection>>;

/// All that are open.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<OpenConnections>,
    last: AtomicU64,
    /// When it was told last that there are too many, in milliseconds.
    told: AtomicU64,
    most: AtomicUsize,
    most_of_address: usize,
    most_streams: usize,
    /// The bodies that arrive on them.
    pub arriving: Arc<UnderWay>,
    /// The answers that leave. They are counted by themselves: who does not read keeps nobody from writing.
    pub leaving: Arc<UnderWay>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    all: List,
    of_address: HashMap<IpAddr, List>,
    /// Those on which a device or a user reads a stream.
    streams: HashMap<Owner, List>,
}

impl Connections {
    /// None yet, and as many as the settings let there be.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Arc<Self> {
        let limits = &settings.limits;
        let limit = |most| if limits.enabled { most } else { usize::MAX };
        Arc::new(Self {
            open: Mutex::default(),
            last: AtomicU64::new(0),
            told: AtomicU64::new(0),
            most: AtomicUsize::new(settings.server.max_connections),
            most_of_address: limit(limits.address_connections),
            most_streams: limit(limits.device_streams),
            arriving: Arc::default(),
            leaving: Arc::default(),
            metrics,
        })
    }

    /// Lets there be no more than half as many as files may be open: the other half is for the calls to models, one
    /// for each answer, and for the database.
    pub fn fit(&self, open_files: u64) {
        let half = usize::try_from(open_files / 2).unwrap_or(usize::MAX);
        self.most.fetch_min(half.max(1), Ordering::Relaxed);
    }

    /// How many there may be, with the reserve.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).saturating_add(RESERVE)
    }

    /// One address never has all of them.
    fn most_of_address(&self) -> usize {
        let half = self.most.load(Ordering::Relaxed).div_ceil(2);
        match self.most_of_address {
            usize::MAX => usize::MAX,
            most => most.min(half),
        }
    }

    /// A client has connected; from which address, where the peer is no proxy of ours. Where there are too many, it
    /// gets the place of another; `None` where nobody can go.
    pub fn open(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Opened> {
        let address = address.map(network);
        let mut open = self.open.lock();
        if let Some(own) = address.and_then(|address| open.of_address.get_mut(&address)) {
            let closed = self.make_room(own, self.most_of_address(), TooMany::OfAddress)?;
            // Its place is free for its own.
            closed.and_then(|closed| open.all.remove(&closed));
        }
        let most = self.most.load(Ordering::Relaxed);
        self.make_room(&mut open.all, most, TooMany::InAll);
        let is_in_reserve = open.all.len() >= most;
        if open.all.len() >= self.most() {
            return None;
        }
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(number, is_in_reserve));
        open.all.insert(number, Arc::clone(&connection));
        if let Some(address) = address {
            let own = open.of_address.entry(address).or_default();
            own.insert(number, Arc::clone(&connection));
        }
        Some(Opened {
            connections: Arc::clone(self),
            connection,
            address,
        })
    }

    /// A stream begins on a connection: whose it is, and from which address, where the connection is a proxy's of
    /// ours. Where they have too many, the oldest that stands is closed, or else the oldest.
    pub fn stream(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        whose: Owner,
        address: Option<IpAddr>,
    ) -> Streaming {
        let address = address.map(network);
        let mut open = self.open.lock();
        let own = open.streams.entry(whose.clone()).or_default();
        if self
            .make_room(own, self.most_streams, TooMany::OfDevice)
            .is_none()
            && let Some((_, oldest)) = own.pop_first()
        {
            oldest.close();
        }
        own.insert(connection.number, Arc::clone(connection));
        if let Some(address) = address {
            let own = open.of_address.entry(address).or_default();
            // Where nobody can go, this one is one too many.
            self.make_room(own, self.most_of_address(), TooMany::OfAddress);
            own.insert(connection.number, Arc::clone(connection));
        }
        Streaming {
            connections: Arc::clone(self),
            connection: Arc::clone(connection),
            whose,
            address,
        }
    }

    /// Counts it, and says it now and then.
    fn tell(&self, too_many: TooMany) {
        let of = too_many.as_str();
        self.metrics.too_many_connections(of);
        let told = self.told.load(Ordering::Relaxed);
        let now = now();
        let is_due = told == 0 || told + millis(TOLD_EACH) < now;
        let exchanged = || {
            self.told
                .compare_exchange(told, now.max(1), Ordering::Relaxed, Ordering::Relaxed)
        };
        if is_due && exchanged().is_ok() {
            tracing::warn!(
                of,
                "too many connections: the oldest idle ones are closed (of one address: is it a proxy that \
                 server.trusted_proxies does not have?)"
            );
        }
    }

    /// Makes room for one more, where there is none; which one was closed for it. `None`: nobody can go.
    fn make_room(&self, list: &mut List, most: usize, too_many: TooMany) -> Option<Option<u64>> {
        if list.len() < most {
            return Some(None);
        }
        self.tell(too_many);
        let worth = |(number, connection): (&u64, &Arc<Connection>)| {
            connection.worth().map(|worth| (worth, *number))
        };
        let (_, number) = list.iter().filter_map(worth).min()?;
        list.remove(&number)?.close();
        Some(Some(number))
    }
}

/// Of what there were too many.
#[derive(Debug, Clone, Copy)]
enum TooMany {
    InAll,
    OfAddress,
    OfDevice,
}

impl TooMany {
    fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "all",
            Self::OfAddress => "address",
            Self::OfDevice => "device",
        }
    }
}

/// A connection that is open, for as long as this lives.
#[derive(Debug)]
pub struct Opened {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    address: Option<IpAddr>,
}

impl Opened {
    /// The connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.all.remove(&self.connection.number);
        if let Some(address) = self.address {
            forget(&mut open.of_address, &address, &self.connection);
        }
    }
}

/// A stream that is read, for as long as this lives.
#[derive(Debug)]
pub struct Streaming {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    whose: Owner,
    address: Option<IpAddr>,
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        forget(&mut open.streams, &self.whose, &self.connection);
        if let Some(address) = self.address {
            forget(&mut open.of_address, &address, &self.connection);
        }
    }
}

/// Takes a connection out of the list that is kept under a key, and the list with its last.
fn forget<K: Eq + Hash>(lists: &mut HashMap<K, List>, key: &K, connection: &Connection) {
    if let Some(list) = lists.get_mut(key) {
        list.remove(&connection.number);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}
