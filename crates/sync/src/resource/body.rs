//! What a resource says, once it has been read.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::Arc;

use meshgate_model::spiffe::is_name;
use meshgate_model::{Part, SpiffeId, TrustDomain};

use super::{Key, Kind};

/// The content of a resource.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// A document.
    Object(Object),
    /// The tokens of an application; secret.
    Tokens(Tokens),
    /// Proxies of a server or gateway.
    Endpoints(Endpoints),
    /// Who may call a server.
    Admission(Admission),
    /// Roots and signing keys.
    TrustBundle(TrustBundle),
    /// The gateways' keys; secret.
    KeyRing(KeyRing),
    /// Who is cut off.
    Denied(Denied),
}

impl Body {
    /// The name that follows from it.
    pub fn key(&self) -> Key {
        match self {
            Self::Object(object) => object.key(),
            Self::Tokens(tokens) => Key::new(Kind::Tokens, &tokens.application),
            Self::Endpoints(endpoints) => endpoints.group.key(),
            Self::Admission(admission) => Key::new(Kind::Admission, &admission.server),
            Self::TrustBundle(bundle) => Key::new(Kind::TrustBundle, bundle.trust_domain.as_str()),
            Self::KeyRing(_) => Key::new(Kind::KeyRing, KeyRing::NAME),
            Self::Denied(_) => Key::new(Kind::Denied, Denied::NAME),
        }
    }
}

/// A document of the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `Mesh`, `Gateway`, `Server`, `View` or `Application`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    /// The document as JSON; its `kind` and `metadata.name` are those above.
    pub json: String,
}

impl Object {
    /// Its name among resources: `Server/documents`.
    pub fn key(&self) -> Key {
        Key::new(Kind::Object, &format!("{}/{}", self.kind, self.name))
    }
}

/// How an application proves itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The application.
    pub application: String,
    /// Its token sources, as a JSON list.
    pub json: String,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, …)", self.application)
    }
}

/// Whose endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// `server/<name>`: the sidecars of all versions of a server.
    Server(Arc<str>),
    /// `gateway/<name>`: the replicas of a gateway.
    Gateway(Arc<str>),
}

impl Group {
    /// Its name among resources.
    pub fn key(&self) -> Key {
        Key::new(Kind::Endpoints, &self.to_string())
    }

    /// The group that a part of the mesh is in; `None` for what is no endpoint.
    pub fn of(part: &Part) -> Option<Self> {
        match part {
            Part::Gateway(name) => Some(Self::Gateway(Arc::clone(name))),
            Part::Server { server, .. } => Some(Self::Server(Arc::clone(server))),
            Part::Control | Part::Operator(_) => None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => write!(f, "server/{name}"),
            Self::Gateway(name) => write!(f, "gateway/{name}"),
        }
    }
}

impl FromStr for Group {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split_once('/') {
            Some(("server", name)) if is_name(name) => Ok(Self::Server(name.into())),
            Some(("gateway", name)) if is_name(name) => Ok(Self::Gateway(name.into())),
            _ => Err(()),
        }
    }
}

/// The proxies of a server or gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Whose they are.
    pub group: Group,
    /// False while the control plane has not heard again of all it knew: what is missing may still be there.
    pub settled: bool,
    /// In the order of their instances.
    pub endpoints: Vec<Endpoint>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The proxy as it was started.
    pub instance: NonZeroU64,
    /// The version of its server; `None` for a gateway.
    pub version: Option<Arc<str>>,
    /// Its mesh port.
    pub address: SocketAddr,
    /// What it has to prove.
    pub identity: SpiffeId,
}

/// Who may call a server at its sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The server.
    pub server: String,
    /// The gateways, in order; none means nobody.
    pub gateways: Vec<SpiffeId>,
}

/// What a proxy trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// The mesh.
    pub trust_domain: TrustDomain,
    /// Root certificates (DER).
    pub roots: Vec<Vec<u8>>,
    /// Public Ed25519 keys that sign manifests.
    pub snapshot_keys: Vec<[u8; 32]>,
}

/// The gateways' keys.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRing {
    /// As a key ring is written in a file.
    pub text: String,
}

impl KeyRing {
    /// There is one.
    pub const NAME: &str = "gateways";
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing(…)")
    }
}

/// Who is cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Each once, in order; none means nobody.
    pub denials: Vec<Denial>,
}

impl Denied {
    /// There is one.
    pub const NAME: &str = "mesh";
}

/// One that is cut off.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// Who.
    pub whom: Whom,
    /// Why, for people.
    pub reason: String,
}

/// What a denial names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// Every certificate of an identity.
    Identity(SpiffeId),
    /// One certificate, by its serial number without leading zeros.
    Serial(Vec<u8>),
}
