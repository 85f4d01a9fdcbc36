//! What may be done to a sidecar while it serves: another configuration, other gateways that may call.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshgate_model::Snapshot;
use tokio::sync::watch;

use super::report::Report;
use crate::assembly;
use crate::catalogue::Applied;
use crate::listen::Admission;
use crate::serve::Core;

/// The way to change a sidecar while it serves.
pub struct Control {
    inner: assembly::Control,
    core: Arc<Core>,
    server: Arc<str>,
    named: watch::Sender<Admission>,
}

impl Control {
    pub(super) fn new(
        inner: assembly::Control,
        core: Arc<Core>,
        server: Arc<str>,
        named: watch::Sender<Admission>,
    ) -> Self {
        Self {
            inner,
            core,
            server,
            named,
        }
    }

    /// The server that it stands beside.
    pub fn server(&self) -> &Arc<str> {
        &self.server
    }

    /// What it decides by: views reduced to its server.
    pub fn running(&self) -> Arc<Snapshot> {
        self.inner.running()
    }

    /// Takes over a configuration; from now on every call sees it. `touched` are servers that depend on something outside
    /// the configuration that has changed.
    pub fn apply(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Applied {
        self.inner.apply(wanted.beside(&self.server), touched)
    }

    /// Names the gateways that may call from now on. One that is named no longer is refused at once, and its connections are
    /// cut when what it had under way has had its time.
    pub fn admit(&self, admission: Admission) {
        self.named.send_if_modified(|named| {
            let changed = *named != admission;
            *named = admission;
            changed
        });
    }

    /// How it stands now.
    pub fn report(&self) -> Report {
        Report::of(&self.core, &self.server)
    }

    /// Changes whenever a report may have another content than before, but for its counts.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.core.catalogues.changes()
    }
}
