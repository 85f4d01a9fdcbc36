//! The certificates of the listeners, for a gateway that is started from a file.

use meshgate_model::Snapshot;
pub(super) use meshgate_proxy::process::Certificates;

use crate::exit::{CONFIGURATION, Failure};

/// Reads the files of every listener that has them.
pub(super) fn load(snapshot: &Snapshot) -> Result<Certificates, Failure> {
    Certificates::load(snapshot)
        .map_err(|(address, error)| Failure::new(CONFIGURATION, format!("listener {address}: {error}")))
}
