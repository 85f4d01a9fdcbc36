//! The hop between the parts of the mesh: from a gateway to sidecars, and from a gateway to its other replicas.
//!
//! One protocol runs inside the mesh, and so one pool is enough: HTTP/2 over mutual TLS, with the connections kept here and
//! not by a client of somebody else's, because three things must be known exactly. Whether the other end may have taken a
//! call, so that it never runs twice ([`exchange`]). With which certificate a connection was made, because the caller
//! context on it is signed with that key ([`context`]). And what a reader that has stalled holds up, which is its own
//! stream and nothing else: the window of a connection is as large as those of all its streams together, so each stream
//! has a bounded buffer and the connection is always read.
//!
//! The table of endpoints ([`Endpoints`]) is written by whoever listens to the control plane and read here.

mod budget;
mod conn;
mod context;
mod end;
mod exchange;
mod health;
mod lane;
mod limits;
mod peers;
mod pool;
mod refused;
mod sidecars;
mod table;
mod wire;
pub mod words;

use std::sync::Arc;

use meshgate_identity::Identity;

pub use self::end::Carries;
pub use self::exchange::Inbound;
pub use self::limits::HopLimits;
pub use self::peers::{Forwarded, Peers};
pub use self::refused::taken_over;
pub use self::sidecars::{Answer, Ask, EndpointStatus, Events, Sidecars, once, sidecar_id};
pub use self::table::{Endpoint, Endpoints, Known, gateway_group, server_group};

/// What one assembly calls other parts of the mesh with.
#[derive(Clone, Debug)]
pub struct HopOptions {
    /// Its identity.
    pub identity: Arc<Identity>,
    /// The endpoints that it knows.
    pub endpoints: Arc<Endpoints>,
    /// Its own number: random, not zero, made when it started.
    pub instance: u64,
    /// Sizes and times.
    pub limits: HopLimits,
}
