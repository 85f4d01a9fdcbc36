//! How it stands with the memberships of this process: whether the control plane is there, and when certificates end.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IdentityLabel {
    identity: Arc<str>,
}

/// How it stands with one membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberLevels {
    /// Whether the control plane is reached.
    pub connected: bool,
    /// The revision of the configuration in force.
    pub revision: u64,
    /// Whether what was offered last was refused.
    pub refused: bool,
    /// When the certificate ends, in seconds since 1970.
    pub certificate_ends: u64,
    /// 0 for none, 1 when renewal has failed for a third of a life, 2 when the certificate has ended.
    pub alarm: u8,
}

/// The metrics of memberships, by identity.
#[derive(Debug, Default)]
pub struct MemberMetrics {
    connected: Family<IdentityLabel, Gauge>,
    revision: Family<IdentityLabel, Gauge>,
    refused: Family<IdentityLabel, Gauge>,
    certificate_ends: Family<IdentityLabel, Gauge>,
    alarm: Family<IdentityLabel, Gauge>,
}

impl MemberMetrics {
    /// Says how it stands with the membership of a part.
    pub fn set(&self, identity: &Arc<str>, levels: MemberLevels) {
        let label = IdentityLabel {
            identity: identity.clone(),
        };
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.connected.get_or_create(&label).set(i64::from(levels.connected));
        self.revision.get_or_create(&label).set(number(levels.revision));
        self.refused.get_or_create(&label).set(i64::from(levels.refused));
        self.certificate_ends
            .get_or_create(&label)
            .set(number(levels.certificate_ends));
        self.alarm.get_or_create(&label).set(i64::from(levels.alarm));
    }

    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "meshgate_control_connected",
            "1 while the control plane is reached",
            self.connected.clone(),
        );
        to.register(
            "meshgate_mesh_revision",
            "The revision of the mesh that is in force",
            self.revision.clone(),
        );
        to.register(
            "meshgate_mesh_refused",
            "1 while the newest revision is refused and an earlier one is served",
            self.refused.clone(),
        );
        to.register(
            "meshgate_certificate_ends_seconds",
            "When the certificate ends, in seconds since 1970",
            self.certificate_ends.clone(),
        );
        to.register(
            "meshgate_certificate_alarm",
            "1 when renewal has failed for a third of a life, 2 when the certificate has ended",
            self.alarm.clone(),
        );
    }
}
