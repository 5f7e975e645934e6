//! Rate limits of this instance: messages per address, and requests per device or user.
//!
//! The limit of messages per device or user applies to all instances together: the statement that begins a turn counts
//! them ([`crate::store::sessions`]). The limits here are checked before it and cost no statement.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use ipnet::IpNet;

use crate::{
    config::Settings,
    error::{Code, Error, Result},
    store::Owner,
};

/// After this many counts, keys that are below their limit again are forgotten, to free memory.
const FORGET_AFTER: u32 = 4096;

/// The rate limits of one instance.
pub struct Limits {
    addresses: Option<Counted<IpAddr>>,
    devices: Option<Counted<Owner>>,
    trusted: Vec<IpNet>,
}

/// A limit per key and minute.
struct Counted<K: Hash + Eq + Clone> {
    each: DefaultKeyedRateLimiter<K>,
    since_forgetting: AtomicU32,
}

impl<K: Hash + Eq + Clone> Counted<K> {
    fn new(most: NonZeroU32) -> Self {
        Self {
            each: RateLimiter::keyed(Quota::per_minute(most)),
            since_forgetting: AtomicU32::new(0),
        }
    }

    fn count(&self, key: &K) -> Result<()> {
        if self.since_forgetting.fetch_add(1, Ordering::Relaxed) >= FORGET_AFTER {
            self.since_forgetting.store(0, Ordering::Relaxed);
            self.each.retain_recent();
        }
        self.each.check_key(key).map_err(|until| {
            let wait: Duration = until.wait_time_from(self.each.clock().now());
            Error::new(Code::RateLimited).retry_after(wait)
        })
    }
}

impl Limits {
    /// The limits that the settings give.
    pub fn new(settings: &Settings) -> Self {
        let limits = &settings.limits;
        let most = |most| NonZeroU32::new(most).filter(|_| limits.enabled);
        Self {
            addresses: most(limits.address_messages_per_minute).map(Counted::new),
            devices: most(limits.device_requests_per_minute).map(Counted::new),
            trusted: settings.server.trusted_proxies.clone(),
        }
    }

    /// Counts a message from an address.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, if it exceeds the limit.
    pub fn count(&self, address: IpAddr) -> Result<()> {
        let addresses = self.addresses.as_ref();
        addresses.map_or(Ok(()), |addresses| addresses.count(&network(address)))
    }

    /// Counts a request or a WebSocket message of a device or user.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait, if it exceeds the limit.
    pub fn count_request(&self, whose: &Owner) -> Result<()> {
        let devices = self.devices.as_ref();
        devices.map_or(Ok(()), |devices| devices.count(whose))
    }

    /// Whether the peer is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// The client's address: the peer's own, or the one that trusted proxies report. Hops are read from the last to the
    /// first, up to the first that is not a trusted proxy; hops before that one may be forged. An unreadable hop ends
    /// the search at the last trusted one.
    pub fn caller(
        &self,
        peer: IpAddr,
        hops: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    ) -> IpAddr {
        let mut caller = peer.to_canonical();
        let mut hops = hops.rev();
        while self.trusts(caller) {
            match hops.next() {
                Some(Some(hop)) => caller = hop.to_canonical(),
                Some(None) | None => break,
            }
        }
        caller
    }
}

/// What counts as one address: for IPv6 the /64 network that one customer gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        address @ IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_one_address() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        // An IPv4 client, as a dual-stack listener sees it.
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3::4"), "2001:db8:1:2::");
    }
}
