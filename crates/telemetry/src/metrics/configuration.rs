//! What became of configurations that were read while the process ran.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The metrics of reloads.
#[derive(Debug, Default)]
pub struct ConfigurationMetrics {
    reloads: Family<OutcomeLabel, Counter>,
    /// 1 while the file is not what is served, because it was refused.
    pub refused: Gauge,
    /// Counts the configurations of this process.
    pub revision: Gauge,
}

impl ConfigurationMetrics {
    /// Counts a configuration that was read anew: `applied`, `unchanged` or `refused`.
    pub fn reloaded(&self, outcome: &'static str) {
        self.reloads.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "meshgate_reloads",
            "Configurations that were read anew, by what became of them",
            self.reloads.clone(),
        );
        to.register(
            "meshgate_configuration_refused",
            "1 while the file is refused and an earlier configuration is served",
            self.refused.clone(),
        );
        to.register(
            "meshgate_configuration_revision",
            "Counts the configurations of this process",
            self.revision.clone(),
        );
    }
}
