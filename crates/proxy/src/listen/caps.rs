//! How many connections there may be: in all, and from one address.
//!
//! The total bounds our memory. The share of one address only bounds what strangers can take from each other, so it
//! ends when the caller has proven who it is: a company's proxy brings many applications from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::refused::Refused;
use crate::limits::Limits;

/// The connection counts of one process.
#[derive(Debug)]
pub struct Caps {
    total_max: AtomicUsize,
    per_address_max: AtomicUsize,
    counts: Mutex<Counts>,
    refused: Arc<Refused>,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's place in the counts; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    caps: Arc<Caps>,
    address: Mutex<Option<IpAddr>>,
}

impl Caps {
    /// Empty counts with the limits of the process.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            total_max: AtomicUsize::new(limits.connections),
            per_address_max: AtomicUsize::new(limits.connections_per_address),
            counts: Mutex::default(),
            refused: Arc::default(),
        })
    }

    /// Other limits from now on; open connections stay.
    pub fn set_max(&self, total: usize, per_address: usize) {
        self.total_max.store(total, Ordering::Relaxed);
        self.per_address_max.store(per_address, Ordering::Relaxed);
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.counts.lock().total
    }

    /// What was refused below HTTP.
    pub fn refused(&self) -> &Arc<Refused> {
        &self.refused
    }

    /// A place for one more connection, if there is one.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Option<Slot> {
        let address = network(peer);
        let total_max = self.total_max.load(Ordering::Relaxed);
        let per_address_max = self.per_address_max.load(Ordering::Relaxed);
        if !self.counts.lock().add(address, total_max, per_address_max) {
            Refused::one(&self.refused.connections);
            return None;
        }
        Some(Slot {
            caps: Arc::clone(self),
            address: Mutex::new(Some(address)),
        })
    }
}

impl Counts {
    fn add(&mut self, address: IpAddr, total_max: usize, per_address_max: usize) -> bool {
        if self.total >= total_max {
            return false;
        }
        let of_address = self.by_address.entry(address).or_insert(0);
        if *of_address >= per_address_max {
            return false;
        }
        *of_address += 1;
        self.total += 1;
        true
    }

    fn leave(&mut self, address: IpAddr) {
        if let Some(of_address) = self.by_address.get_mut(&address) {
            *of_address = of_address.saturating_sub(1);
            if *of_address == 0 {
                self.by_address.remove(&address);
            }
        }
    }
}

impl Slot {
    /// Stops counting for the address; the connection still counts in the total.
    pub(super) fn prove(&self) {
        if let Some(address) = self.address.lock().take() {
            self.caps.counts.lock().leave(address);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.caps.counts.lock();
        counts.total = counts.total.saturating_sub(1);
        if let Some(address) = self.address.get_mut().take() {
            counts.leave(address);
        }
    }
}

/// What counts as one address: a subscriber holds a whole /64 in IPv6, and an IPv4 address is the same in either form.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
