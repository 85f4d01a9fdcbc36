//! What a scraper is told: taken from the same places as the status that operators read, so that the two never differ.

use meshgate_model::Part;
use meshgate_telemetry::metrics::{ControlLevels, Follows};

use super::Plane;
use crate::ca::Phase;
use crate::store::unix_ms;

impl Plane {
    /// All metrics as OpenMetrics text.
    pub fn metrics(&self) -> String {
        self.metrics.encode(&self.levels())
    }

    fn levels(&self) -> ControlLevels {
        let (connected, _) = self.distributor.proxies();
        let mut levels = ControlLevels {
            revision: self.registry.current().number,
            epoch: self.keys.epoch(),
            settled: self.distributor.is_settled(),
            root_rotation: match self.authority.rotation().map(|rotation| rotation.phase) {
                None => 0,
                Some(Phase::Distributing) => 1,
                Some(Phase::Signing) => 2,
            },
            own_ends: unix_ms(self.own.identity().current().not_after()) / 1000,
            intermediate_ends: unix_ms(self.authority.intermediate_ends()) / 1000,
            alarms: self.alarms.counts(),
            ..ControlLevels::default()
        };
        for status in &connected {
            let follows = match (&status.refused, status.current) {
                (Some(_), _) => Follows::Refusing,
                (None, true) => Follows::Current,
                (None, false) => Follows::Behind,
            };
            match status.identity.part() {
                Part::Gateway(_) => levels.gateways.push(follows),
                _ => levels.sidecars.push(follows),
            }
        }
        levels
    }
}
