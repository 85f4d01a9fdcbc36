//! A gateway's place in a mesh: the port on which its other replicas call it, and the way to them.
//!
//! The port takes nobody but parts with the gateway's own SPIFFE ID. What they pass on has come to one of their listeners,
//! and is admitted here like any request, but under no name.

use std::net::SocketAddr;
use std::sync::Arc;

use meshgate_identity::Admit;
use meshgate_model::Part;
use tokio::sync::watch;

use crate::assembly::StartError;
use crate::hop::{HopOptions, Peers};
use crate::limits::Limits;
use crate::listen::{Admission, Bound, Caps, Cover, Listen, MeshDoor};

/// A gateway's place in a mesh.
#[derive(Clone, Debug)]
pub struct MeshParts {
    /// What it calls sidecars and its other replicas with.
    pub hop: HopOptions,
    /// The address of its mesh port, where its other replicas call it; port 0 lets the system choose.
    pub address: SocketAddr,
}

/// The mesh port, and the way to those who call it.
pub(super) struct MeshPort {
    pub(super) bound: Bound,
    pub(super) peers: Arc<Peers>,
    /// Names the one who may call for as long as the port is open.
    pub(super) named: watch::Sender<Admission>,
}

impl MeshPort {
    pub(super) fn bind(parts: &MeshParts, limits: &Limits) -> Result<Self, StartError> {
        let id = parts.hop.identity.id();
        let Part::Gateway(name) = id.part() else {
            return Err(StartError::Identity {
                id: id.to_string(),
                wanted: "/gateway/<name>",
            });
        };
        let (named, names) = watch::channel(Admission::from_iter([id.clone()]));
        let door = MeshDoor::new(parts.hop.identity.clone(), Admit::Exactly(id.clone()), names);
        let listen = Listen {
            address: parts.address,
            cover: Cover::Mesh(Arc::new(door)),
        };
        let limits = Arc::new(limits.clone().inside());
        let caps = Caps::new(&limits);
        let bound = Bound::bind(listen, limits, caps).map_err(|source| StartError::Bind {
            address: parts.address,
            source,
        })?;
        Ok(Self {
            bound,
            peers: Arc::new(Peers::start(parts.hop.clone(), name)),
            named,
        })
    }
}
