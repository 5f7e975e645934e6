//! The bytes that this instance holds in memory for its clients: request bodies that are arriving, and responses that
//! are not read yet. Their sum is limited, and so is each address's share: clients that do not read can neither use up
//! the memory nor crowd out others.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use crate::limits::network;

/// Maximum bytes, in all and per address.
const MOST_BYTES: usize = 128 * 1024 * 1024;
const MOST_BYTES_OF_ADDRESS: usize = MOST_BYTES / 4;

/// The bytes held for clients, in all and by address.
#[derive(Debug, Default)]
pub struct UnderWay(Mutex<ByteCounts>);

#[derive(Debug, Default)]
struct ByteCounts {
    all: usize,
    of_address: HashMap<Option<IpAddr>, usize>,
}

impl ByteCounts {
    fn add(&mut self, address: Option<IpAddr>, count: usize) {
        if count > 0 {
            self.all += count;
            *self.of_address.entry(address).or_default() += count;
        }
    }
}

impl UnderWay {
    /// A count for an address, which starts at 0.
    pub fn begin(self: &Arc<Self>, address: Option<IpAddr>) -> Bytes {
        Bytes {
            under_way: Arc::clone(self),
            address: address.map(network),
            count: 0,
        }
    }
}

/// The bytes of one request or response, which are counted until this is dropped.
#[derive(Debug)]
pub struct Bytes {
    under_way: Arc<UnderWay>,
    address: Option<IpAddr>,
    count: usize,
}

impl Bytes {
    /// Adds to the count unless that exceeds a limit, and returns whether it did.
    #[must_use]
    pub fn add(&mut self, count: usize) -> bool {
        let mut held = self.under_way.0.lock();
        let of_address = held.of_address.get(&self.address).copied().unwrap_or(0);
        let has_room = held.all + count <= MOST_BYTES;
        let has_room = has_room && of_address + count <= MOST_BYTES_OF_ADDRESS;
        if has_room {
            self.count += count;
            held.add(self.address, count);
        }
        has_room
    }

    /// Adds to the count, even beyond a limit.
    pub fn take(&mut self, count: usize) {
        self.count += count;
        self.under_way.0.lock().add(self.address, count);
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        let mut held = self.under_way.0.lock();
        held.all -= self.count;
        if let Some(of_address) = held.of_address.get_mut(&self.address) {
            *of_address -= self.count;
            if *of_address == 0 {
                held.of_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_bounded_and_so_is_each_address() {
        let under_way = Arc::new(UnderWay::default());
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let mut first = under_way.begin(address(1));
        assert!(first.add(MOST_BYTES_OF_ADDRESS));
        assert!(!first.add(1) && !under_way.begin(address(1)).add(1));
        let mut others: Vec<Bytes> = (2..=4).map(|n| under_way.begin(address(n))).collect();
        assert!(
            others
                .iter_mut()
                .all(|other| other.add(MOST_BYTES_OF_ADDRESS))
        );
        assert!(!under_way.begin(address(5)).add(1));
        drop(first);
        assert!(under_way.begin(address(5)).add(1));
        let mut more = under_way.begin(address(6));
        more.take(5);
        assert_eq!(
            under_way.0.lock().all,
            4 * MOST_BYTES_OF_ADDRESS + 5 - MOST_BYTES_OF_ADDRESS
        );
        drop((others, more));
        assert_eq!(under_way.0.lock().all, 0);
        assert!(under_way.0.lock().of_address.is_empty());
    }
}
