//! How a sidecar stands, for the control plane and for whoever looks.

use aws_lc_rs::digest::{Context, SHA256};
use meshgate_mcp::Era;

use crate::catalogue::{ListKind, ServerCatalogue};
use crate::serve::Core;
use crate::upstream::State;

/// Whether the server of a sidecar can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its first answer has not come yet.
    Starting,
    /// It can.
    Up,
    /// It cannot, for this reason.
    Away(String),
}

/// How a sidecar stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether its server can be called.
    pub standing: Standing,
    /// The server's era, once it is known.
    pub era: Option<Era>,
    /// The protocol revision spoken with it.
    pub revision: Option<&'static str>,
    /// SHA-256 of what the server has, equal for equal catalogues; `None` while none has been read.
    pub catalogue: Option<[u8; 32]>,
    /// How many tools it has.
    pub tools: usize,
    /// Calls that it is working on.
    pub in_flight: usize,
    /// Calls that wait for their client to answer what the server asked.
    pub parked: usize,
    /// Whether it finishes what it has and takes nothing new.
    pub draining: bool,
}

/// Every item of every list, each with its length, so that no two catalogues are written alike.
fn digest(catalogue: &ServerCatalogue) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for list in &catalogue.lists {
        hash.update(&(list.items.len() as u64).to_be_bytes());
        for item in &list.items {
            hash.update(&(item.raw.len() as u64).to_be_bytes());
            hash.update(&item.raw);
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    digest
}

impl Report {
    pub(super) fn of(core: &Core, server: &str) -> Self {
        let (catalogue, away) = core.catalogues.server_state(server);
        let upstream = core
            .catalogues
            .upstreams()
            .into_iter()
            .find(|(name, _)| **name == *server);
        let status = upstream.map(|(_, upstream)| upstream.status());
        let standing = match (away, &catalogue) {
            (None, Some(_)) => Standing::Up,
            (None, None) => Standing::Starting,
            (Some((told, _)), _) => Standing::Away(match status.as_ref().map(|status| &status.state) {
                // What the connection met is nearer to the cause than what the reader of the catalogue was told.
                Some(State::Away { why, .. }) => why.clone(),
                _ => told,
            }),
        };
        Self {
            standing,
            era: status.as_ref().and_then(|status| status.era),
            revision: status.as_ref().and_then(|status| status.revision),
            tools: catalogue
                .as_ref()
                .and_then(|catalogue| catalogue.lists.get(ListKind::Tools as usize))
                .map_or(0, |tools| tools.items.len()),
            catalogue: catalogue.as_deref().map(digest),
            in_flight: core.calls.inside(),
            parked: status.as_ref().map_or(0, |status| status.parked.parked),
            draining: core.drain.is_asked(),
        }
    }
}
