//! Where proxies are: true only now, kept in memory, and never taken back just because a stream or the control plane was away.
//!
//! A control plane that has just started knows nobody, and "nobody is there" would be a lie that takes a mesh down. So where
//! there ever was a proxy, what a start says is unsettled for a while: gateways add what they hear of and remove nothing. For
//! the same reason a sidecar that took calls and lost its stream without saying good-bye is still named for that long:
//! whether it can be called is between the gateways and it, and they find out by themselves. Who is named is written beside
//! the store as it changes, so that a gateway that starts just after the control plane has somebody to call; it is a hint,
//! and without it, or with an old one, nothing is taken from those that run.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use meshgate_model::{Part, SpiffeId};
use meshgate_sync::message::{Report, State};
use meshgate_sync::resource::{Endpoint, Group};

use crate::compile::Places;
use crate::limits::AWAITED;

#[cfg(test)]
mod tests;

/// The most of the notes that is read, in bytes: ten thousand sidecars with names of usual length, and what is beyond is a
/// hint less.
const NOTES_BYTES_MAX: u64 = 4 << 20;

/// A proxy: who it has proved to be, and which start of it. The second is its own word, so it never counts alone.
type Who = (SpiffeId, NonZeroU64);

/// One proxy that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Present {
    endpoint: Endpoint,
    up: bool,
    /// When it lost its stream, if it did and is awaited.
    lost: Option<Duration>,
    /// Counts those that came; the first of two that say the same start is believed.
    order: u64,
}

/// Which proxies take calls.
#[derive(Debug)]
pub struct Directory {
    present: BTreeMap<Who, Present>,
    joins: u64,
    /// When those that were here before the start are awaited no longer.
    settles: Option<Duration>,
}

impl Directory {
    /// Nobody is here yet; `before` says whether anybody may have been at an earlier start.
    pub fn new(before: bool, now: Duration) -> Self {
        Self {
            present: BTreeMap::new(),
            joins: 0,
            settles: before.then_some(now + AWAITED),
        }
    }

    /// What an earlier start has noted: those are named as long as one that lost its stream now.
    pub fn recall(&mut self, notes: &Path, now: Duration) {
        for (identity, instance, address) in read(notes) {
            self.joins += 1;
            let Part::Server { version, .. } = identity.part() else {
                continue;
            };
            let present = Present {
                endpoint: Endpoint {
                    instance,
                    version: Some(version.clone()),
                    address,
                    identity: identity.clone(),
                },
                up: true,
                lost: Some(now),
                order: self.joins,
            };
            self.present.insert((identity, instance), present);
        }
    }

    /// Which sidecars are named, for the next start: a line for each, with instance, address and identity.
    pub fn notes(&self) -> String {
        let named = self
            .present
            .values()
            .filter(|present| present.up)
            .map(|present| &present.endpoint);
        let named = named.filter(|endpoint| matches!(endpoint.identity.part(), Part::Server { .. }));
        named
            .map(|endpoint| {
                format!(
                    "{:016x} {} {}\n",
                    endpoint.instance, endpoint.address, endpoint.identity
                )
            })
            .collect()
    }

    /// A proxy is connected. Answers whether that changes what gateways are told.
    pub fn joined(&mut self, identity: &SpiffeId, instance: NonZeroU64, address: Option<SocketAddr>) -> bool {
        let who = (identity.clone(), instance);
        let Some(address) = address.filter(|address| is_reachable(*address)) else {
            return false;
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
        let up = up || self.present.get(&who).is_some_and(|before| before.up);
        // Nobody else can have its address: what was there before it has ended.
        let listed = self.present.len();
        self.present.retain(|(other, _), before| {
            other != identity
                || before.lost.is_none()
                || before.endpoint.address != address
                || before.endpoint.instance == instance
        });
        let replaces = self.present.len() < listed;
        self.joins += 1;
        let order = self.present.get(&who).map_or(self.joins, |before| before.order);
        let present = Present {
            endpoint: endpoint.clone(),
            up,
            lost: None,
            order,
        };
        let before = self.present.insert(who, present);
        replaces || (up && before.is_none_or(|before| before.endpoint != endpoint || !before.up))
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

    /// A proxy has lost its stream. A sidecar that took calls is awaited; one that had said that it drains is gone, and so is
    /// a gateway: what it keeps for a call is asked of it or is lost.
    pub fn left(&mut self, identity: &SpiffeId, instance: NonZeroU64, now: Duration) -> bool {
        let who = (identity.clone(), instance);
        let sidecar = matches!(identity.part(), Part::Server { .. });
        match self.present.get_mut(&who) {
            Some(present) if present.up && sidecar => {
                present.lost = Some(now);
                false
            }
            _ => self.present.remove(&who).is_some_and(|present| present.up),
        }
    }

    /// Who may not be part of the mesh any longer is not named, nor awaited.
    pub fn denied(&mut self, is_denied: impl Fn(&SpiffeId) -> bool) -> bool {
        self.forget(|(identity, _), _| is_denied(identity))
    }

    /// The time has passed in which somebody was awaited. Answers whether that was news.
    pub fn settle(&mut self, now: Duration) -> bool {
        let settles = self.settles.is_some_and(|at| now >= at);
        if settles {
            self.settles = None;
        }
        self.forget(|_, present| present.lost.is_some_and(|lost| now >= lost + AWAITED)) || settles
    }

    fn forget(&mut self, gone: impl Fn(&Who, &Present) -> bool) -> bool {
        let before = self.present.len();
        self.present.retain(|who, present| !gone(who, present));
        self.present.len() < before
    }

    /// When [`settle`](Self::settle) will have something to say.
    pub fn settles_at(&self) -> Option<Duration> {
        let lost = self.present.values().filter_map(|present| present.lost);
        lost.map(|lost| lost + AWAITED).chain(self.settles).min()
    }

    /// Whether what is said is all there is.
    pub fn is_settled(&self) -> bool {
        self.settles.is_none()
    }

    /// For those who are told.
    pub fn places(&self) -> Places {
        let mut places = Places {
            settled: self.is_settled(),
            ..Places::default()
        };
        let mut present: Vec<&Present> = self.present.values().filter(|present| present.up).collect();
        // Who is here goes before who is awaited, where there is not room for all.
        present.sort_by_key(|present| (present.lost, present.order));
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
}

fn is_reachable(address: SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()
}

fn read(notes: &Path) -> Vec<(SpiffeId, NonZeroU64, SocketAddr)> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(notes).and_then(|file| file.take(NOTES_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let one = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let instance = u64::from_str_radix(words.next()?, 16).ok().and_then(NonZeroU64::new)?;
        let address: SocketAddr = words.next()?.parse().ok().filter(|address| is_reachable(*address))?;
        Some((words.next()?.parse().ok()?, instance, address))
    };
    text.lines().filter_map(one).collect()
}
