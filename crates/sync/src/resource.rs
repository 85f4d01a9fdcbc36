//! Resources: what travels, in the one way it can be written.
//!
//! A configuration that two readers understand differently is a hole, and one that is half understood is worse. So a
//! resource is read strictly: it is decoded, checked field by field, encoded again and refused unless that gives the same
//! bytes. Unknown fields, fields twice, lists in another order and blanks where a value must be therefore have no way in.
//! Writing runs the same checks, so the control plane cannot send what proxies refuse.

mod body;
mod check;
mod wire;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use prost::Message as _;

pub use body::{
    Admission, Body, Denial, Denied, Endpoint, Endpoints, Group, KeyRing, Object, Tokens, TrustBundle, Whom,
};
pub use check::ResourceError;

use crate::{limits, proto};

/// The SHA-256 of a resource's bytes: its version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut own = [0; 32];
        own.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(own)
    }

    /// Read from a message; `None` unless there are 32 bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first eight bytes in hex: enough to tell two apart in a log.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The kinds of resources, in the order of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A document of the mesh.
    Object,
    /// How an application proves itself.
    Tokens,
    /// Where the proxies of a server or gateway are.
    Endpoints,
    /// Who may call a server.
    Admission,
    /// What a proxy trusts.
    TrustBundle,
    /// What gateways seal state with.
    KeyRing,
    /// Who is cut off.
    Denied,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Object,
        Self::Tokens,
        Self::Endpoints,
        Self::Admission,
        Self::TrustBundle,
        Self::KeyRing,
        Self::Denied,
    ];

    /// Whether it is sent without waiting for more changes: health of endpoints, and denials.
    pub fn is_urgent(self) -> bool {
        matches!(self, Self::Endpoints | Self::Denied)
    }

    /// Whether it stands for itself, and so reaches a proxy that has refused the configuration beside it. A denial must not
    /// wait until somebody has mended a view.
    pub fn stands_alone(self) -> bool {
        matches!(self, Self::Endpoints | Self::TrustBundle | Self::KeyRing | Self::Denied)
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Object => 1,
            Self::Tokens => 2,
            Self::Endpoints => 3,
            Self::Admission => 4,
            Self::TrustBundle => 5,
            Self::KeyRing => 6,
            Self::Denied => 7,
        }
    }

    fn read(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| i32::from(kind.number()) == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Tokens => "tokens",
            Self::Endpoints => "endpoints",
            Self::Admission => "admission",
            Self::TrustBundle => "trust bundle",
            Self::KeyRing => "key ring",
            Self::Denied => "denied",
        })
    }
}

/// The name of a resource: `object Server/documents`, `endpoints gateway/main`, `denied mesh`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its name within the kind.
    pub name: Arc<str>,
}

impl Key {
    /// Of a kind and a name, such as `Server/documents` for an object.
    pub fn new(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            name: name.into(),
        }
    }

    pub(crate) fn read(name: Option<&proto::ResourceName>) -> Option<Self> {
        let name = name?;
        let sound = !name.name.is_empty() && name.name.len() <= limits::NAME_BYTES_MAX;
        sound.then_some(())?;
        Some(Self::new(Kind::read(name.kind)?, &name.name))
    }

    pub(crate) fn write(&self) -> proto::ResourceName {
        proto::ResourceName {
            kind: i32::from(self.kind.number()),
            name: (*self.name).into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// One resource: its bytes, and what they say.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    key: Key,
    digest: Digest,
    bytes: Bytes,
    body: Body,
}

impl Resource {
    /// Writes what is to be sent. Lists are put in order first.
    ///
    /// # Errors
    /// When a proxy would refuse it.
    pub fn new(body: Body) -> Result<Self, ResourceError> {
        let body = check::sorted(body);
        check::body(&body)?;
        let bytes = Bytes::from(wire::write(&body).encode_to_vec());
        Self::of(body, bytes)
    }

    /// Reads what was sent.
    ///
    /// # Errors
    /// When it is not written in the one way it can be.
    pub fn read(bytes: Bytes) -> Result<Self, ResourceError> {
        if bytes.len() > limits::RESOURCE_BYTES_MAX {
            return Err(ResourceError::TooLarge { bytes: bytes.len() });
        }
        let message = proto::Resource::decode(bytes.clone()).map_err(|_| ResourceError::Malformed)?;
        let body = wire::read(message)?;
        check::body(&body)?;
        if wire::write(&body).encode_to_vec() != bytes {
            return Err(ResourceError::Canonical);
        }
        Self::of(body, bytes)
    }

    /// What bytes that are no resource seem to be called, for the message that refuses them.
    pub fn name(bytes: &Bytes) -> Option<Key> {
        if bytes.len() > limits::RESOURCE_BYTES_MAX {
            return None;
        }
        wire::name(&proto::Resource::decode(bytes.clone()).ok()?)
    }

    fn of(body: Body, bytes: Bytes) -> Result<Self, ResourceError> {
        if bytes.len() > limits::RESOURCE_BYTES_MAX {
            return Err(ResourceError::TooLarge { bytes: bytes.len() });
        }
        Ok(Self {
            key: body.key(),
            digest: Digest::of(&bytes),
            bytes,
            body,
        })
    }

    /// Its name.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its version.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// As it travels.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What it says.
    pub fn body(&self) -> &Body {
        &self.body
    }
}

/// Some resources are secret, so none shows its content.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}", self.key, self.digest)
    }
}
