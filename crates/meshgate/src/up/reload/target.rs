//! What takes a configuration over: the gateway of this process, or a mesh.
//!
//! Reading and judging a file is the same for both. A gateway alone takes a snapshot; a mesh takes documents, and what
//! comes back is who has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshgate_model::diff::Change;
use meshgate_model::{Config, Finding, Snapshot};
use meshgate_proxy::admin::shape::PartReloaded;
use meshgate_proxy::catalogue::Applied;
use meshgate_proxy::gateway::{Comparison, Control};

use super::super::inputs::Inputs;
use super::super::mesh::Mesh;

/// What takes a configuration over.
#[derive(Clone)]
pub(crate) enum Target {
    /// The gateway of this process, which is all there is.
    Gateway(Arc<Control>),
    /// A control plane with its proxies.
    Mesh(Arc<Mesh>),
}

/// A configuration that was read, found good and compared.
pub(crate) struct Wanted {
    /// The documents.
    pub(crate) config: Config,
    /// What they mean together.
    pub(crate) snapshot: Snapshot,
    /// Servers that depend on a file which holds something else now.
    pub(crate) touched: BTreeSet<Arc<str>>,
    /// What is different from what is served.
    pub(crate) changes: Vec<Change>,
    /// Every file it refers to.
    pub(in crate::up) inputs: Inputs,
}

/// What became of it.
#[derive(Default)]
pub(crate) struct Taken {
    /// What happened to servers.
    pub(crate) servers: Applied,
    /// Who serves it; nothing where the gateway is alone.
    pub(crate) parts: Vec<PartReloaded>,
}

impl Target {
    /// What the process was started with.
    pub(crate) fn started(&self) -> &Arc<Snapshot> {
        match self {
            Self::Gateway(control) => control.started(),
            Self::Mesh(mesh) => mesh.started(),
        }
    }

    /// What is served now.
    pub(crate) fn running(&self) -> Arc<Snapshot> {
        match self {
            Self::Gateway(control) => control.running(),
            Self::Mesh(mesh) => mesh.running(),
        }
    }

    /// What taking over `wanted` would change, object by object.
    pub(crate) fn changes(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Vec<Change> {
        match self {
            Self::Gateway(control) => control.changes(wanted, touched),
            Self::Mesh(mesh) => mesh.changes(wanted, touched),
        }
    }

    /// The same, with who would gain and lose which tools.
    pub(crate) fn compare(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Comparison {
        match self {
            Self::Gateway(control) => control.compare(wanted, touched),
            Self::Mesh(mesh) => mesh.compare(wanted, touched),
        }
    }

    /// Takes it over.
    ///
    /// # Errors
    /// Why it is not taken; what is served is served on.
    pub(crate) async fn take(&self, wanted: Wanted) -> Result<Taken, Vec<Finding>> {
        match self {
            Self::Gateway(control) => Ok(Taken {
                servers: control.apply(wanted.snapshot, &wanted.touched),
                parts: Vec::new(),
            }),
            Self::Mesh(mesh) => mesh.take(wanted).await,
        }
    }
}
