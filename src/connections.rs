//! The open client connections of this instance. When there are too many, this module chooses which one is closed.
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

/// Connections accepted beyond the limit: for health checks, and for clients that resume an answer.
const RESERVE: usize = 32;
/// Minimum time between two warnings about too many connections.
const TOLD_EACH: Duration = Duration::from_secs(60);

/// Connections by number, the oldest first.
type List = BTreeMap<u64, Arc<Connection>>;

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<OpenConnections>,
    last: AtomicU64,
    /// When the last warning about too many connections was logged, in milliseconds (see [`now`]); 0: never.
    told: AtomicU64,
    most: AtomicUsize,
    most_of_address: usize,
    most_streams: usize,
    /// Bytes of request bodies that are arriving.
    pub arriving: Arc<UnderWay>,
    /// Bytes of responses that clients have not read yet. Counted apart from `arriving`, so that clients that do not
    /// read cannot keep others from sending.
    pub leaving: Arc<UnderWay>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct OpenConnections {
    all: List,
    of_address: HashMap<IpAddr, List>,
    /// Connections on which an owner reads a stream.
    streams: HashMap<Owner, List>,
}

impl Connections {
    /// No connections yet; the limits come from the settings.
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

    /// Limits connections to half of the open files that the process may have: the other half is for calls to models,
    /// one per answer, and for the database.
    pub fn fit(&self, open_files: u64) {
        let half = usize::try_from(open_files / 2).unwrap_or(usize::MAX);
        self.most.fetch_min(half.max(1), Ordering::Relaxed);
    }

    /// Maximum open connections, with the reserve.
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed).saturating_add(RESERVE)
    }

    /// Maximum open connections per address: at most half of all.
    fn most_of_address(&self) -> usize {
        let half = self.most.load(Ordering::Relaxed).div_ceil(2);
        match self.most_of_address {
            usize::MAX => usize::MAX,
            most => most.min(half),
        }
    }

    /// Registers a new connection. `address` is the client's; `None` if the peer is a trusted proxy. If there are too
    /// many, another connection is closed for it. Returns `None` if none can be closed: the new one must be refused.
    pub fn open(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Opened> {
        let address = address.map(network);
        let mut open = self.open.lock();
        if let Some(own) = address.and_then(|address| open.of_address.get_mut(&address)) {
            let closed = self.make_room(own, self.most_of_address(), TooMany::OfAddress)?;
            // Frees the place at once, so that this address does not displace others.
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

    /// Registers a stream on a connection: its owner, and the client's address if the connection is a trusted proxy's.
    /// If the owner has too many, the standing stream that has been silent longest is closed, or else the oldest.
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
            // If no connection can be closed, the address exceeds its limit by this one.
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

    /// Counts the excess, and logs a warning at most once per [`TOLD_EACH`].
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

    /// Makes room for one more, and returns the number of the connection that had to be closed, if any. `None`: none
    /// can be closed.
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

/// Which limit was exceeded.
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

/// An open connection, which stays registered until this is dropped.
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

/// An open stream, which stays registered until this is dropped.
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

/// Removes a connection from the list of a key, and the list itself once it is empty.
fn forget<K: Eq + Hash>(lists: &mut HashMap<K, List>, key: &K, connection: &Connection) {
    if let Some(list) = lists.get_mut(key) {
        list.remove(&connection.number);
        if list.is_empty() {
            lists.remove(key);
        }
    }
}
