//! All resources there are, and which of them an identity gets.
//!
//! A resource says for whom it is; an identity gets every resource that is for it, whole and as it is, so one encoding
//! serves all streams. What is the same for all replicas of an identity, the sorted list and its digest, is made once and
//! kept until something in it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use meshgate_model::{Part, SpiffeId};

use crate::limits;
use crate::manifest::{Manifest, Position, SetDigest, Sign};
use crate::resource::{Digest, Key, Resource};

/// For whom a resource is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every proxy of the mesh.
    Everyone,
    /// Every gateway.
    Gateways,
    /// These; none means nobody.
    Members(BTreeSet<Member>),
}

/// Proxies that get the same: the replicas of a gateway, the sidecars of all versions of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Member {
    /// The replicas of a gateway.
    Gateway(Arc<str>),
    /// The sidecars of a server.
    Server(Arc<str>),
}

impl Member {
    /// What an identity is; `None` for what gets no configuration.
    pub fn of(identity: &SpiffeId) -> Option<Self> {
        match identity.part() {
            Part::Gateway(name) => Some(Self::Gateway(Arc::clone(name))),
            Part::Server { server, .. } => Some(Self::Server(Arc::clone(server))),
            Part::Control | Part::Operator(_) => None,
        }
    }
}

impl Audience {
    fn has(&self, member: &Member) -> bool {
        match self {
            Self::Everyone => true,
            Self::Gateways => matches!(member, Member::Gateway(_)),
            Self::Members(members) => members.contains(member),
        }
    }
}

/// Whose sets have changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    everyone: bool,
    gateways: bool,
    members: BTreeSet<Member>,
}

impl Touched {
    fn add(&mut self, audience: &Audience) {
        match audience {
            Audience::Everyone => self.everyone = true,
            Audience::Gateways => self.gateways = true,
            Audience::Members(members) => self.members.extend(members.iter().cloned()),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.everyone |= other.everyone;
        self.gateways |= other.gateways;
        self.members.extend(other.members.iter().cloned());
    }

    pub(super) fn has(&self, member: &Member) -> bool {
        self.everyone || (self.gateways && matches!(member, Member::Gateway(_))) || self.members.contains(member)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.everyone && !self.gateways && self.members.is_empty()
    }
}

#[derive(Debug)]
struct Entry {
    resource: Arc<Resource>,
    audience: Audience,
}

/// One resource of a set: its name, its version, and itself where it may have to be sent.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) key: Key,
    pub(super) digest: Digest,
    pub(super) resource: Option<Arc<Resource>>,
}

/// What an identity should hold, and its signed manifest.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) listed: Vec<Listed>,
    pub(super) digest: SetDigest,
    /// Of what is compiled, without what stands alone: what a proxy refuses, it refuses again until this changes.
    pub(super) config: SetDigest,
    pub(super) manifest: Manifest,
    /// More, or larger, than a proxy takes.
    pub(super) too_large: bool,
}

impl Set {
    pub(super) fn new(identity: &SpiffeId, position: Position, listed: Vec<Listed>, sign: Sign<'_>) -> Self {
        let digest = digest(listed.iter());
        let config = digest_of_config(&listed);
        let bytes: usize = listed
            .iter()
            .filter_map(|one| one.resource.as_ref())
            .map(|one| one.bytes().len())
            .sum();
        Self {
            manifest: Manifest::new(identity, position, &digest, sign),
            digest,
            config,
            too_large: bytes > limits::SNAPSHOT_BYTES_MAX || listed.len() > limits::RESOURCES_MAX,
            listed,
        }
    }

    pub(super) fn position(&self) -> Position {
        self.manifest.position()
    }
}

fn digest<'a>(listed: impl Iterator<Item = &'a Listed>) -> SetDigest {
    SetDigest::of(listed.map(|one| (&one.key, one.digest)))
}

fn digest_of_config(listed: &[Listed]) -> SetDigest {
    digest(listed.iter().filter(|one| !one.key.kind.stands_alone()))
}

#[derive(Debug, Default)]
pub(super) struct Catalog {
    entries: BTreeMap<Key, Entry>,
    everyone: BTreeSet<Key>,
    gateways: BTreeSet<Key>,
    members: HashMap<Member, BTreeSet<Key>>,
    sets: HashMap<SpiffeId, (Member, Arc<Set>)>,
}

impl Catalog {
    /// Puts one in; nothing is touched when it is there already.
    /// Whether that changes anything.
    pub(super) fn put(&mut self, resource: Arc<Resource>, audience: Audience, touched: &mut Touched) -> bool {
        let key = resource.key().clone();
        if let Some(before) = self.entries.get(&key) {
            if before.resource.digest() == resource.digest() && before.audience == audience {
                return false;
            }
            touched.add(&before.audience);
            let before = before.audience.clone();
            self.index(&before, |keys| {
                keys.remove(&key);
            });
        }
        touched.add(&audience);
        self.index(&audience, |keys| {
            keys.insert(key.clone());
        });
        self.entries.insert(key, Entry { resource, audience });
        true
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, key: &Key, touched: &mut Touched) -> bool {
        let Some(entry) = self.entries.remove(key) else {
            return false;
        };
        touched.add(&entry.audience);
        self.index(&entry.audience, |keys| {
            keys.remove(key);
        });
        true
    }

    fn index(&mut self, audience: &Audience, mut change: impl FnMut(&mut BTreeSet<Key>)) {
        match audience {
            Audience::Everyone => change(&mut self.everyone),
            Audience::Gateways => change(&mut self.gateways),
            Audience::Members(members) => {
                for member in members {
                    let keys = self.members.entry(member.clone()).or_default();
                    change(keys);
                    if keys.is_empty() {
                        self.members.remove(member);
                    }
                }
            }
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.entries.keys()
    }

    /// Sets that may be other ones now are made again when they are asked for.
    pub(super) fn forget(&mut self, touched: &Touched) {
        self.sets.retain(|_, (member, _)| !touched.has(member));
    }

    /// What an identity should hold now. It keeps its position until something in it changes.
    pub(super) fn set(&mut self, identity: &SpiffeId, member: &Member, position: Position, sign: Sign<'_>) -> Arc<Set> {
        if let Some((_, set)) = self.sets.get(identity) {
            return Arc::clone(set);
        }
        let set = Arc::new(Set::new(identity, position, self.select(member), sign));
        self.sets.insert(identity.clone(), (member.clone(), Arc::clone(&set)));
        set
    }

    /// Nobody of an identity is connected any more.
    pub(super) fn left(&mut self, identity: &SpiffeId) {
        self.sets.remove(identity);
    }

    fn select(&self, member: &Member) -> Vec<Listed> {
        let none = BTreeSet::new();
        let own = self.members.get(member).unwrap_or(&none);
        let gateways = if matches!(member, Member::Gateway(_)) {
            &self.gateways
        } else {
            &none
        };
        let mut keys: Vec<&Key> = self.everyone.iter().chain(gateways).chain(own).collect();
        keys.sort_unstable();
        let entry = |key: &&Key| self.entries.get(*key);
        let mine = keys.iter().filter_map(entry).filter(|entry| entry.audience.has(member));
        mine.map(|entry| Listed {
            key: entry.resource.key().clone(),
            digest: entry.resource.digest(),
            resource: Some(Arc::clone(&entry.resource)),
        })
        .collect()
    }
}
