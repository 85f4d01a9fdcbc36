//! How it stands with a membership, for people, metrics and reports.

use std::time::SystemTime;

use meshgate_identity::Identity;
pub use meshgate_identity::rotation::Alarm;
use meshgate_model::SpiffeId;
use meshgate_sync::manifest::Position;
use meshgate_telemetry::Metrics;

use super::unix;

/// How it stands with a membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The control plane: host and port.
    pub control: String,
    /// Whether a stream to it is open.
    pub connected: bool,
    /// Since when it is, or is not.
    pub since: SystemTime,
    /// Why it is not.
    pub why: Option<String>,
    /// What is in force.
    pub position: Option<Position>,
    /// What was offered last and refused: which resource, and why. Cleared by the next that is taken.
    pub refused: Option<String>,
    /// The serial number of the certificate.
    pub serial: String,
    /// When it ends.
    pub ends: SystemTime,
    /// How worried somebody should be about it.
    pub alarm: Alarm,
    /// Why the last renewal failed; cleared by the next that succeeds.
    pub renewal: Option<String>,
}

impl Standing {
    pub(super) fn of(identity: &Identity, control: &str) -> Self {
        let svid = identity.current();
        Self {
            control: control.to_owned(),
            connected: false,
            since: SystemTime::now(),
            why: None,
            position: None,
            refused: None,
            serial: svid.serial().to_owned(),
            ends: svid.not_after(),
            alarm: Alarm::None,
            renewal: None,
        }
    }

    /// As metrics have it.
    pub(super) fn count(&self, metrics: &Metrics, id: &SpiffeId) {
        let levels = meshgate_telemetry::MemberLevels {
            connected: self.connected,
            revision: self.position.map_or(0, |position| position.revision),
            refused: self.refused.is_some(),
            certificate_ends: unix(self.ends),
            alarm: match self.alarm {
                Alarm::None => 0,
                Alarm::Late => 1,
                Alarm::Ended => 2,
            },
        };
        metrics.member.set(&id.as_str().into(), levels);
    }
}
