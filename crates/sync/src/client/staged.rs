//! A change that is arriving: gathered beside what is held, within limits, and worth nothing before its last part.
//!
//! What is wrong with a change is said once, at its end, so that every change has one answer. From the first wrong thing on
//! nothing more of it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fault, Offer, rollback};
use crate::manifest::Manifest;
use crate::message::{Reason, Refusal};
use crate::resource::{Key, Resource};
use crate::snapshot::{Snapshot, Trust};
use crate::{limits, proto};

#[derive(Debug)]
pub(super) struct Staged {
    nonce: u64,
    whole: bool,
    parts: usize,
    bytes: usize,
    resources: BTreeMap<Key, Arc<Resource>>,
    refusal: Option<Refusal>,
}

impl Staged {
    /// Begins with what is held, unless the change is all there is.
    pub(super) fn new(nonce: u64, whole: bool, held: Option<&Snapshot>) -> Self {
        let resources = held
            .filter(|_| !whole)
            .map(|held| held.resources().clone())
            .unwrap_or_default();
        Self {
            nonce,
            whole,
            parts: 0,
            bytes: resources.values().map(|resource| resource.bytes().len()).sum(),
            resources,
            refusal: None,
        }
    }

    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Takes a part.
    ///
    /// # Errors
    /// When the other end does not keep to the contract: a change of endless parts, or one that changes its mind.
    pub(super) fn take(&mut self, part: proto::Part) -> Result<(), Fault> {
        self.parts += 1;
        if self.parts > limits::PARTS_MAX || part.whole != self.whole {
            return Err(Fault::Contract);
        }
        if self.refusal.is_some() {
            return Ok(());
        }
        if let Err(refusal) = self.apply(part) {
            self.refusal = Some(refusal);
            self.resources = BTreeMap::new();
        }
        Ok(())
    }

    fn apply(&mut self, part: proto::Part) -> Result<(), Refusal> {
        if part.put.len() > limits::RESOURCES_MAX || part.gone.len() > limits::RESOURCES_MAX {
            return Err(too_large());
        }
        for name in &part.gone {
            let gone = Key::read(Some(name)).and_then(|key| self.resources.remove(&key));
            match gone {
                Some(gone) => self.bytes -= gone.bytes().len(),
                // Nobody can take away what is not there: this proxy holds something else than was thought.
                None => {
                    return Err(Refusal::of(
                        Reason::Set,
                        "a resource is to go that this proxy does not hold",
                    ));
                }
            }
        }
        for bytes in part.put {
            // A copy of its own: a slice would keep the whole message in memory for as long as one resource of it lives.
            let bytes = bytes::Bytes::copy_from_slice(&bytes);
            let sent = bytes.clone();
            let resource = Resource::read(bytes).map_err(|why| Refusal {
                resource: Resource::name(&sent),
                ..Refusal::of(Reason::Resource, &why.to_string())
            })?;
            self.bytes += resource.bytes().len();
            if let Some(before) = self.resources.insert(resource.key().clone(), Arc::new(resource)) {
                self.bytes -= before.bytes().len();
            }
            if self.bytes > limits::SNAPSHOT_BYTES_MAX || self.resources.len() > limits::RESOURCES_MAX {
                return Err(too_large());
            }
        }
        Ok(())
    }

    /// The last part has come.
    ///
    /// # Errors
    /// When the proxy must not take the change.
    pub(super) fn finish(
        self,
        manifest: &proto::Manifest,
        held: Option<&Snapshot>,
        trust: &Trust,
    ) -> Result<Offer, Refusal> {
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let manifest = Manifest::read(manifest)
            .ok_or_else(|| Refusal::of(Reason::Manifest, "the manifest is not written as it must be"))?;
        let snapshot = Snapshot::new(manifest, self.resources, trust)?;
        match held {
            Some(held) if snapshot.position() < held.position() => Err(rollback(held.position(), snapshot.position())),
            _ => Ok(Offer {
                changed: changed(held, &snapshot),
                snapshot: Arc::new(snapshot),
            }),
        }
    }
}

fn too_large() -> Refusal {
    let message = format!(
        "the configuration of this proxy is larger than {} resources or {} MiB",
        limits::RESOURCES_MAX,
        limits::SNAPSHOT_BYTES_MAX >> 20
    );
    Refusal::of(Reason::TooLarge, &message)
}

/// What differs between two snapshots.
fn changed(held: Option<&Snapshot>, next: &Snapshot) -> Vec<Key> {
    let empty = BTreeMap::new();
    let held = held.map_or(&empty, Snapshot::resources);
    let differs = |(key, resource): &(&Key, &Arc<Resource>)| {
        held.get(*key).is_none_or(|before| before.digest() != resource.digest())
    };
    let mut changed: Vec<Key> = next
        .resources()
        .iter()
        .filter(differs)
        .map(|(key, _)| key.clone())
        .collect();
    changed.extend(held.keys().filter(|key| !next.resources().contains_key(*key)).cloned());
    changed.sort();
    changed
}
