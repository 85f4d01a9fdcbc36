//! What gateway and sidecar have in common: one set of parts, put together twice.
//!
//! An assembly is made of a snapshot and the parts of the outside. Here is what both need for that and what both are asked
//! afterwards: limits by what the configuration says, a way to change the configuration while calls run, and a sight of what
//! is going on.

use std::io;
use std::net::SocketAddr;

use meshgate_model::Snapshot;
use thiserror::Error;

use crate::limits::Limits;
use crate::upstream::limits::WireLimits;

mod control;
mod sight;

pub use control::{Comparison, Control};
pub use sight::Sight;

/// Why an assembly did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be taken.
    #[error("listener {address} cannot be opened: {source}; free the address or choose another")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The identity is that of another part.
    #[error("`{id}` cannot be the identity of this part of the mesh; it needs one that ends in `{wanted}`")]
    Identity {
        /// The identity.
        id: String,
        /// How it should end.
        wanted: &'static str,
    },
}

/// The proxy's limits with what the configuration says in their place.
pub(crate) fn limits(snapshot: &Snapshot) -> Limits {
    let said = &snapshot.mesh.limits;
    Limits {
        connections: said.connections_max,
        connections_per_address: said.connections_per_address_max,
        body_bytes: said.body_bytes_max,
        json_depth: said.json_depth_max,
        json_nodes: said.json_nodes_max,
        response_bytes: said.response_bytes_max,
        stdio_line_bytes: said.line_bytes_max,
        sse_event_bytes: said.event_bytes_max,
        stream_buffer_bytes: said.stream_buffer_bytes_max,
        streams_per_caller: said.streams_per_caller_max,
        calls_per_second: said.calls_per_second,
        calls_burst: said.call_burst,
        writes_per_second: said.writes_per_second,
        writes_burst: said.write_burst,
        unproven_calls_per_second: said.unauthenticated_per_second,
        ..Limits::default()
    }
}

pub(crate) fn wire_limits(limits: &Limits) -> WireLimits {
    WireLimits {
        response_bytes_max: limits.response_bytes,
        event_bytes_max: limits.sse_event_bytes,
        line_bytes_max: limits.stdio_line_bytes,
        stream_buffer_bytes_max: limits.stream_buffer_bytes,
    }
}
