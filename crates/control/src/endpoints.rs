//! Where proxies are: true only now, kept in memory, and never taken back just because the control plane was away.
//!
//! A control plane that has just started knows nobody, and "nobody is there" would be a lie that takes a mesh down. So for
//! a while, or until all that it knew before its end have come back, what it says is marked as unsettled: gateways add what
//! they hear of and remove nothing. What it knew is in a small file beside the store, written as it changes; it is a hint,
//! and losing it costs half a minute.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use meshgate_model::{Part, SpiffeId};
use meshgate_sync::message::{Report, State};
use meshgate_sync::resource::{Endpoint, Group};

use crate::compile::Places;
use crate::limits::SETTLING;

#[cfg(test)]
mod tests;

/// The most of the file that is read, in bytes: a line of at most 2.1 KB for each of 20,000 proxies would be more, and what
/// is beyond is a hint less.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A proxy: who it has proved to be, and which start of it. The second is its own word, so it never counts alone.
type Who = (SpiffeId, NonZeroU64);

/// One proxy that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Present {
    endpoint: Endpoint,
    up: bool,
    /// Counts those that came; the first of two that say the same start is believed.
    order: u64,
}

/// Which proxies take calls.
#[derive(Debug)]
pub struct Directory {
    present: BTreeMap<Who, Present>,
    /// Known before, and not heard of yet.
    awaited: BTreeSet<Who>,
    joins: u64,
    file: Option<PathBuf>,
    started: Duration,
    settled: bool,
}

impl Directory {
    /// As it was when the control plane ended, as far as that is known.
    pub fn open(file: Option<PathBuf>, now: Duration) -> Self {
        let awaited = file.as_ref().map(read).unwrap_or_default();
        Self {
            present: BTreeMap::new(),
            settled: awaited.is_empty(),
            awaited,
            joins: 0,
            file,
            started: now,
        }
    }

    /// A proxy is connected. Answers whether that changes what gateways are told.
    pub fn joined(&mut self, identity: &SpiffeId, instance: NonZeroU64, address: Option<std::net::SocketAddr>) -> bool {
        let who = (identity.clone(), instance);
        let back = self.awaited.remove(&who);
        let settles = back && self.awaited.is_empty() && !self.settled;
        self.settled |= settles;
        let Some(address) = address.filter(|address| is_reachable(*address)) else {
            return settles;
        };
        let version = match identity.part() {
            Part::Server { version, .. } => Some(version.clone()),
            _ => None,
        };
        let endpoint = Endpoint {
            instance,
            version,
            address,
            identity: identity.clone(),
        };
        // A gateway serves as soon as it is there; a sidecar once its server does, which its report says.
        let up = matches!(identity.part(), Part::Gateway(_));
        // One that was here a moment ago is not taken away because it has not reported yet.
        let up = up || back || self.present.get(&who).is_some_and(|before| before.up);
        self.joins += 1;
        let order = self.present.get(&who).map_or(self.joins, |before| before.order);
        let present = Present {
            endpoint: endpoint.clone(),
            up,
            order,
        };
        let before = self.present.insert(who, present);
        settles || (up && before.is_none_or(|before| before.endpoint != endpoint || !before.up))
    }

    /// A proxy has said how it is.
    pub fn reported(&mut self, identity: &SpiffeId, instance: NonZeroU64, report: &Report) -> bool {
        let up = report.state == State::Up && !report.draining;
        let Some(present) = self.present.get_mut(&(identity.clone(), instance)) else {
            return false;
        };
        let takes = up || (matches!(present.endpoint.identity.part(), Part::Gateway(_)) && !report.draining);
        std::mem::replace(&mut present.up, takes) != takes
    }

    /// A proxy is gone.
    pub fn left(&mut self, identity: &SpiffeId, instance: NonZeroU64) -> bool {
        self.present
            .remove(&(identity.clone(), instance))
            .is_some_and(|present| present.up)
    }

    /// The time has passed in which those that were known come back. Answers whether that was news.
    pub fn settle(&mut self, now: Duration) -> bool {
        if self.settled || now < self.started + SETTLING {
            return false;
        }
        self.settled = true;
        self.awaited.clear();
        true
    }

    /// When [`settle`](Self::settle) will have something to say.
    pub fn settles_at(&self) -> Option<Duration> {
        (!self.settled).then_some(self.started + SETTLING)
    }

    /// For those who are told.
    pub fn places(&self) -> Places {
        let mut places = Places {
            settled: self.settled,
            ..Places::default()
        };
        let mut present: Vec<&Present> = self.present.values().filter(|present| present.up).collect();
        present.sort_by_key(|present| present.order);
        let mut taken: HashSet<(Group, NonZeroU64)> = HashSet::new();
        for present in present {
            let group = Group::of(present.endpoint.identity.part());
            if let Some(group) = group.filter(|group| taken.insert((group.clone(), present.endpoint.instance))) {
                let endpoints: &mut Vec<Endpoint> = places.endpoints.entry(group).or_default();
                if endpoints.len() < meshgate_sync::limits::ENDPOINTS_MAX {
                    endpoints.push(present.endpoint.clone());
                }
            }
        }
        places
    }

    /// Writes down who is there, for the next start. A hint: that it fails is told and stops nothing.
    pub fn note(&self) -> Option<(PathBuf, String)> {
        let file = self.file.clone()?;
        let known = self.present.keys().chain(&self.awaited);
        let known = known.map(|(identity, instance)| format!("{instance:016x} {identity}\n"));
        Some((file, known.collect()))
    }
}

fn read(file: &PathBuf) -> BTreeSet<Who> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return BTreeSet::new();
    }
    let who = |line: &str| {
        let (instance, identity) = line.split_once(' ')?;
        let instance = u64::from_str_radix(instance, 16).ok().and_then(NonZeroU64::new)?;
        Some((identity.parse().ok()?, instance))
    };
    text.lines().filter_map(who).collect()
}

fn is_reachable(address: std::net::SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}
