//! What all listeners of one assembly share: the parts that a call passes, put together for a gateway or for a sidecar.
//!
//! Both have the same parts, so that a call is treated alike at both ends of a hop. What differs is said here and nowhere
//! else: who refuses, and whether what a client holds between two requests is sealed on its way out.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use meshgate_identity::KeyRing;
use meshgate_telemetry::Hop;

use crate::catalogue::Catalogues;
use crate::drain::Drain;
use crate::limit::{Rate, Room, Seats};
use crate::limits::Limits;
use crate::listen_hub::Hub;
use crate::observe::Observer;
use crate::refusal::By;

/// What all listeners of one assembly share.
pub struct Core {
    /// Which part of the mesh it is; what it refuses bears its name.
    pub hop: Hop,
    /// The servers' catalogues, and the routing made of them.
    pub catalogues: Arc<Catalogues>,
    /// Seals what clients hold: cursors, states and task ids. `None` where calls come from another part of the mesh, which
    /// does that.
    pub keys: Option<Arc<KeyRing>>,
    /// Limits of the data plane.
    pub limits: Arc<Limits>,
    /// Opens access records.
    pub observer: Observer,
    /// Ids of calls on the hops to servers.
    pub ids: Arc<AtomicU64>,
    /// Calls per caller.
    pub rate: Rate,
    /// Calls per caller and tool that may change something.
    pub write_rate: Rate,
    /// Requests per address that prove nobody.
    pub unproven_rate: Rate,
    /// Calls of everybody that are in flight.
    pub calls: Room,
    /// Subscriptions of each caller that are open. A legacy session has one at most, so sessions are their limit.
    pub streams: Arc<Seats>,
    /// What they hear, and what is open at servers for it.
    pub hub: Arc<Hub>,
    /// Says when to finish.
    pub drain: Drain,
}

/// What an assembly is made of, beside its limits.
pub struct CoreParts {
    /// Which part of the mesh it is.
    pub hop: Hop,
    /// The servers' catalogues.
    pub catalogues: Arc<Catalogues>,
    /// Seals what clients hold.
    pub keys: Option<Arc<KeyRing>>,
    /// Opens access records.
    pub observer: Observer,
    /// Ids of calls on the hops to servers.
    pub ids: Arc<AtomicU64>,
    /// Calls that may be in flight.
    pub calls_in_flight_max: usize,
    /// Says when to finish.
    pub drain: Drain,
}

impl Core {
    /// The parts put together; none of them runs yet.
    pub fn new(parts: CoreParts, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self {
            hop: parts.hop,
            catalogues: parts.catalogues,
            keys: parts.keys,
            hub: Hub::new(parts.ids.clone(), limits.stream_buffer_bytes),
            observer: parts.observer,
            ids: parts.ids,
            rate: Rate::new(limits.calls_per_second, limits.calls_burst),
            write_rate: Rate::new(limits.writes_per_second, limits.writes_burst),
            unproven_rate: Rate::new(limits.unproven_calls_per_second, limits.unproven_calls_per_second),
            calls: Room::new(parts.calls_in_flight_max),
            streams: Seats::new(limits.streams_per_caller),
            limits,
            drain: parts.drain,
        })
    }

    /// Who refuses what is refused here.
    pub(crate) fn by(&self) -> By {
        match self.hop {
            Hop::Gateway => By::Gateway,
            Hop::Sidecar => By::Sidecar,
        }
    }
}
