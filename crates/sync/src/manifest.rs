//! The manifest: what a proxy holds after a change, signed by the control plane.
//!
//! A connection proves who sends, and only while it lasts. The manifest proves what was meant, also on a disk and years
//! later: for which identity, at which revision, in which life of the store, and exactly which resources. It is small
//! whatever it covers, because it holds the digest of the list instead of the list; so a change of one resource costs that
//! resource and a hundred bytes. The key that signs is not the key of the CA, and both ends reach it through a closure.

use std::fmt;

use bytes::Bytes;
use meshgate_model::SpiffeId;
use prost::Message as _;

use crate::proto;
use crate::resource::{Digest, Key};

/// What a signature is made over, before the content: a signature for one purpose is none for another.
const CONTEXT: &[u8] = b"meshgate manifest v1\0";

/// An Ed25519 signature.
pub type Signature = [u8; 64];
/// A public Ed25519 key.
pub type SnapshotKey = [u8; 32];
/// Signs a message: `identity::manifest` has one.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> Signature;
/// Whether a signature over a message is by a key: `(key, message, signature)`.
pub type Verify = fn(&SnapshotKey, &[u8], &[u8]) -> bool;

/// Where a configuration stands: revisions count within an epoch, epochs count how often the store was set back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The epoch.
    pub epoch: u64,
    /// The revision.
    pub revision: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} of epoch {}", self.revision, self.epoch)
    }
}

/// A manifest, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    identity: SpiffeId,
    position: Position,
    count: u32,
    set: Digest,
    content: Bytes,
    signature: Bytes,
}

impl Manifest {
    /// Makes one.
    pub fn new(identity: &SpiffeId, position: Position, set: &SetDigest, sign: Sign<'_>) -> Self {
        let content = proto::ManifestContent {
            identity: identity.to_string(),
            epoch: position.epoch,
            revision: position.revision,
            count: set.count,
            set: Bytes::copy_from_slice(&set.digest.0),
        };
        let content = Bytes::from(content.encode_to_vec());
        let signature = sign(&signed(&content));
        Self {
            identity: identity.clone(),
            position,
            count: set.count,
            set: set.digest,
            content,
            signature: Bytes::copy_from_slice(&signature),
        }
    }

    /// Reads one; `None` unless it is written in the one way it can be. It proves nothing before [`Manifest::is_signed_by`].
    pub fn read(message: &proto::Manifest) -> Option<Self> {
        let content = proto::ManifestContent::decode(message.content.clone()).ok()?;
        (content.encode_to_vec() == message.content).then_some(())?;
        Some(Self {
            identity: content.identity.parse().ok()?,
            position: Position {
                epoch: content.epoch,
                revision: content.revision,
            },
            count: content.count,
            set: Digest::read(&content.set)?,
            content: message.content.clone(),
            signature: message.signature.clone(),
        })
    }

    /// As it travels.
    pub fn write(&self) -> proto::Manifest {
        proto::Manifest {
            content: self.content.clone(),
            signature: self.signature.clone(),
        }
    }

    /// Whether one of these keys has signed it.
    pub fn is_signed_by(&self, keys: &[SnapshotKey], verify: Verify) -> bool {
        let message = signed(&self.content);
        keys.iter().any(|key| verify(key, &message, &self.signature))
    }

    /// Whom it is for.
    pub fn identity(&self) -> &SpiffeId {
        &self.identity
    }

    /// What it is of.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether it lists exactly these resources.
    pub fn lists(&self, set: &SetDigest) -> bool {
        self.count == set.count && self.set == set.digest
    }
}

fn signed(content: &[u8]) -> Vec<u8> {
    [CONTEXT, content].concat()
}

/// The digest of a set of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SetDigest {
    count: u32,
    digest: Digest,
}

impl SetDigest {
    /// Of names and versions, in the order of the names.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a Key, Digest)>) -> Self {
        let (mut count, mut text) = (0_u32, Vec::new());
        for (key, digest) in entries {
            count = count.saturating_add(1);
            text.push(key.kind.number());
            // INVARIANT: a key has at most `NAME_BYTES_MAX` bytes.
            text.extend_from_slice(&u16::try_from(key.name.len()).unwrap_or(u16::MAX).to_be_bytes());
            text.extend_from_slice(key.name.as_bytes());
            text.extend_from_slice(&digest.0);
        }
        Self {
            count,
            digest: Digest::of(&text),
        }
    }
}
