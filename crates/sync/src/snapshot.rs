//! All that a proxy holds: resources, and the manifest that lists exactly them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use meshgate_model::SpiffeId;
use prost::Message;

use crate::manifest::{Manifest, Position, SetDigest, SnapshotKey, Verify};
use crate::message::{Reason, Refusal};
use crate::resource::{Body, Digest, Key, Kind, Resource, TrustBundle};
use crate::{limits, proto};

/// Whom a snapshot must be for, and what it must not be older than.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The proxy.
    pub identity: SpiffeId,
    /// The lowest epoch that it takes.
    pub floor: u64,
    /// Who may sign.
    pub keys: Vec<SnapshotKey>,
    /// How a signature is verified.
    pub verify: Verify,
}

/// A set of resources that was signed as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    manifest: Manifest,
    resources: BTreeMap<Key, Arc<Resource>>,
}

impl Snapshot {
    /// Takes resources for what a manifest lists.
    ///
    /// # Errors
    /// When the manifest is not signed by whom `trust` says, for it, of this epoch or a later one, of this set, or when the
    /// proxy would hold no trust bundle of its mesh that lists the key that has signed.
    pub fn new(manifest: Manifest, resources: BTreeMap<Key, Arc<Resource>>, trust: &Trust) -> Result<Self, Refusal> {
        if !manifest.is_signed_by(&trust.keys, trust.verify) {
            return Err(Refusal::of(
                Reason::Signature,
                "no key that this proxy trusts has signed the manifest",
            ));
        }
        if *manifest.identity() != trust.identity {
            let message = format!(
                "the manifest is for `{}`, this is `{}`",
                manifest.identity(),
                trust.identity
            );
            return Err(Refusal::of(Reason::Identity, &message));
        }
        let epoch = manifest.position().epoch;
        if epoch < trust.floor {
            let message = format!(
                "epoch {epoch} is older than epoch {}, which this proxy has seen",
                trust.floor
            );
            return Err(Refusal::of(Reason::Rollback, &message));
        }
        if epoch - trust.floor > limits::EPOCH_STEP_MAX {
            let message = format!("epoch {epoch} is too far ahead of epoch {}", trust.floor);
            return Err(Refusal::of(Reason::Rollback, &message));
        }
        let snapshot = Self { manifest, resources };
        if !snapshot.manifest.lists(&SetDigest::of(snapshot.versions())) {
            return Err(Refusal::of(
                Reason::Set,
                "the resources are not those that the manifest lists",
            ));
        }
        snapshot.trusted(trust)?;
        Ok(snapshot)
    }

    /// A proxy that has taken a bundle must be able to start again from it.
    fn trusted(&self, trust: &Trust) -> Result<(), Refusal> {
        let mut bundles = self.resources.keys().filter(|key| key.kind == Kind::TrustBundle);
        let (Some(key), None) = (bundles.next(), bundles.next()) else {
            return Err(Refusal::of(Reason::Trust, "there is not exactly one trust bundle"));
        };
        let refuse = |message: &str| {
            Err(Refusal {
                resource: Some(key.clone()),
                ..Refusal::of(Reason::Trust, message)
            })
        };
        match self.trust_bundle() {
            Some(bundle) if bundle.trust_domain != *trust.identity.trust_domain() => {
                refuse("the trust bundle is of another mesh")
            }
            // What the same keys have verified already need not be verified by them again.
            Some(bundle)
                if bundle.snapshot_keys != trust.keys
                    && !self.manifest.is_signed_by(&bundle.snapshot_keys, trust.verify) =>
            {
                refuse("the trust bundle is without the key that signed the manifest")
            }
            Some(_) => Ok(()),
            None => refuse("the trust bundle has another content than its name says"),
        }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What it is of.
    pub fn position(&self) -> Position {
        self.manifest.position()
    }

    /// All resources by name, in order.
    pub fn resources(&self) -> &BTreeMap<Key, Arc<Resource>> {
        &self.resources
    }

    /// What they say, in the order of their names: documents first.
    pub fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.resources.values().map(|resource| resource.body())
    }

    /// What the proxy trusts once this is in force.
    pub fn trust_bundle(&self) -> Option<&TrustBundle> {
        self.bodies().find_map(|body| match body {
            Body::TrustBundle(bundle) => Some(bundle),
            _ => None,
        })
    }

    /// Names and versions.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&Key, Digest)> {
        self.resources.iter().map(|(key, resource)| (key, resource.digest()))
    }

    /// For the disk of the proxy. Some resources are secret: the file is for nobody else.
    pub fn save(&self) -> Vec<u8> {
        Saved {
            resources: self
                .resources
                .values()
                .map(|resource| resource.bytes().clone())
                .collect(),
            manifest: Some(self.manifest.write()),
        }
        .encode_to_vec()
    }

    /// From the disk, checked as if it came from the control plane.
    ///
    /// # Errors
    /// As [`Snapshot::new`], and when the bytes are not what [`Snapshot::save`] wrote.
    pub fn restore(bytes: impl Into<Bytes>, trust: &Trust) -> Result<Self, Refusal> {
        let bytes = bytes.into();
        if bytes.len() > SAVED_BYTES_MAX {
            return Err(Refusal::of(
                Reason::TooLarge,
                "the saved snapshot is larger than one can be",
            ));
        }
        let damaged = || Refusal::of(Reason::Resource, "the saved snapshot is damaged");
        let saved = Saved::decode(bytes).map_err(|_| damaged())?;
        if saved.resources.len() > limits::RESOURCES_MAX {
            return Err(Refusal::of(
                Reason::TooLarge,
                "the saved snapshot has more resources than one can have",
            ));
        }
        let mut resources = BTreeMap::new();
        for bytes in saved.resources {
            let resource = Resource::read(bytes).map_err(|why| Refusal::of(Reason::Resource, &why.to_string()))?;
            if resources.insert(resource.key().clone(), Arc::new(resource)).is_some() {
                return Err(damaged());
            }
        }
        let manifest = saved.manifest.as_ref().and_then(Manifest::read).ok_or_else(damaged)?;
        Self::new(manifest, resources, trust)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot({}, {} resources)", self.position(), self.resources.len())
    }
}

/// A saved snapshot in bytes: its resources, and what stands around each.
const SAVED_BYTES_MAX: usize = limits::SNAPSHOT_BYTES_MAX + limits::RESOURCES_MAX * 8 + (4 << 10);

/// A snapshot on disk. It is no part of the contract: a proxy that cannot read it asks for everything again.
#[derive(Clone, PartialEq, Message)]
struct Saved {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    resources: Vec<Bytes>,
    #[prost(message, optional, tag = "2")]
    manifest: Option<proto::Manifest>,
}
