//! How it stands with a control plane: who follows it, what it gave out, and what ends when.
//!
//! It is on the path of no call, so nothing else shows that it is unwell before certificates end. What is counted is moved
//! where it happens; levels are set by whoever is asked for the text, from the same status that operators read.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProxyLabels {
    role: &'static str,
    configuration: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EnrolmentLabels {
    proof: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

/// How a connected proxy stands with what is for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Follows {
    /// It has all of it.
    Current,
    /// It has not taken all of it yet.
    Behind,
    /// It refuses it, and serves what it had before.
    Refusing,
}

impl Follows {
    const ALL: [Self; 3] = [Self::Current, Self::Behind, Self::Refusing];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Behind => "behind",
            Self::Refusing => "refusing",
        }
    }
}

/// What is true of a control plane at the moment of a scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlLevels {
    /// Gateways that are connected, each with how it follows.
    pub gateways: Vec<Follows>,
    /// Sidecars that are connected, in the same way.
    pub sidecars: Vec<Follows>,
    /// The revision of the configuration.
    pub revision: u64,
    /// How often the store was set back, from 1.
    pub epoch: u64,
    /// Whether every proxy had the time to come back since the start.
    pub settled: bool,
    /// 0 when no change of roots is under way, 1 while the new one is distributed, 2 while the old one goes.
    pub root_rotation: u8,
    /// When our own certificate ends, in seconds since 1970.
    pub own_ends: u64,
    /// When the intermediate that signs ends, in the same way.
    pub intermediate_ends: u64,
    /// Alarms that are shown, by kind.
    pub alarms: Vec<(&'static str, usize)>,
}

/// All metrics of a control plane.
#[derive(Debug)]
pub struct ControlMetrics {
    registry: Registry,
    proxies: Family<ProxyLabels, Gauge>,
    revision: Gauge,
    epoch: Gauge,
    settled: Gauge,
    root_rotation: Gauge,
    certificate_ends: Family<CertificateLabel, Gauge>,
    alarms: Family<KindLabel, Gauge>,
    enrolments: Family<EnrolmentLabels, Counter>,
    changes: Family<OutcomeLabel, Counter>,
    answers: Family<OutcomeLabel, Counter>,
    streams: Counter,
}

impl Default for ControlMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ControlMetrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            proxies: Family::default(),
            revision: Gauge::default(),
            epoch: Gauge::default(),
            settled: Gauge::default(),
            root_rotation: Gauge::default(),
            certificate_ends: Family::default(),
            alarms: Family::default(),
            enrolments: Family::default(),
            changes: Family::default(),
            answers: Family::default(),
            streams: Counter::default(),
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.registry.register("meshgate_build", "The version that runs", build);
        all.register_levels();
        all.register_counts();
        all
    }

    fn register_levels(&mut self) {
        let to = &mut self.registry;
        to.register(
            "meshgate_control_proxies",
            "Connected gateways and sidecars, by whether they have the configuration, do not have it yet, or refuse it",
            self.proxies.clone(),
        );
        to.register(
            "meshgate_control_revision",
            "The revision of the configuration",
            self.revision.clone(),
        );
        to.register(
            "meshgate_control_epoch",
            "How often the store was set back, from 1",
            self.epoch.clone(),
        );
        to.register(
            "meshgate_control_settled",
            "1 when every proxy had the time to come back since the start",
            self.settled.clone(),
        );
        to.register(
            "meshgate_control_root_rotation",
            "0 when no change of roots is under way, 1 while the new root is distributed, 2 while the old one goes",
            self.root_rotation.clone(),
        );
        to.register(
            "meshgate_control_certificate_ends_seconds",
            "When the control plane's own certificate and the intermediate that signs end, in seconds since 1970",
            self.certificate_ends.clone(),
        );
        to.register(
            "meshgate_control_alarms",
            "Alarms that `status` shows, by kind",
            self.alarms.clone(),
        );
    }

    fn register_counts(&mut self) {
        let to = &mut self.registry;
        to.register(
            "meshgate_control_enrolments",
            "Requests for a certificate, by their proof and whether one was signed",
            self.enrolments.clone(),
        );
        to.register(
            "meshgate_control_changes",
            "Changes of the configuration that were asked for, dry runs apart, by what came of them",
            self.changes.clone(),
        );
        to.register(
            "meshgate_control_answers",
            "Answers of proxies to a configuration: taken or refused",
            self.answers.clone(),
        );
        to.register(
            "meshgate_control_streams",
            "Streams that proxies have opened; many in a short time mean that they are losing them",
            self.streams.clone(),
        );
    }

    /// Somebody asked for a certificate with this kind of proof (`join_token`, `held`, `none`).
    pub fn enrolment(&self, proof: &'static str, signed: bool) {
        let outcome = if signed { "signed" } else { "refused" };
        self.enrolments.get_or_create(&EnrolmentLabels { proof, outcome }).inc();
    }

    /// A change was asked for and this came of it (`applied`, `unchanged`, `refused`, `failed`).
    pub fn change(&self, outcome: &'static str) {
        self.changes.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A proxy answered a configuration.
    pub fn answer(&self, taken: bool) {
        let outcome = if taken { "taken" } else { "refused" };
        self.answers.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A proxy has opened a stream.
    pub fn stream(&self) {
        self.streams.inc();
    }

    /// All metrics as OpenMetrics text, with these levels.
    pub fn encode(&self, levels: &ControlLevels) -> String {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        for (role, all) in [("gateway", &levels.gateways), ("sidecar", &levels.sidecars)] {
            for follows in Follows::ALL {
                let configuration = follows.as_str();
                let here = all.iter().filter(|one| **one == follows).count();
                let labels = ProxyLabels { role, configuration };
                self.proxies.get_or_create(&labels).set(count(here));
            }
        }
        self.revision.set(number(levels.revision));
        self.epoch.set(number(levels.epoch));
        self.settled.set(i64::from(levels.settled));
        self.root_rotation.set(i64::from(levels.root_rotation));
        for (certificate, ends) in [("own", levels.own_ends), ("intermediate", levels.intermediate_ends)] {
            self.certificate_ends
                .get_or_create(&CertificateLabel { certificate })
                .set(number(ends));
        }
        for (kind, shown) in &levels.alarms {
            self.alarms.get_or_create(&KindLabel { kind }).set(count(*shown));
        }
        let mut text = String::with_capacity(4 * 1024);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_scrape_and_counts_stay() {
        let metrics = ControlMetrics::new();
        metrics.enrolment("join_token", true);
        metrics.enrolment("held", false);
        metrics.change("applied");
        metrics.answer(true);
        metrics.answer(false);
        metrics.stream();
        let mut levels = ControlLevels {
            gateways: vec![Follows::Current, Follows::Refusing],
            sidecars: vec![Follows::Behind],
            revision: 7,
            epoch: 1,
            settled: true,
            root_rotation: 1,
            own_ends: 1_800_000_000,
            intermediate_ends: u64::MAX,
            alarms: vec![("guessing", 2), ("set_back", 0)],
        };
        let first = metrics.encode(&levels);
        for line in [
            "meshgate_control_proxies{role=\"gateway\",configuration=\"current\"} 1",
            "meshgate_control_proxies{role=\"gateway\",configuration=\"refusing\"} 1",
            "meshgate_control_proxies{role=\"gateway\",configuration=\"behind\"} 0",
            "meshgate_control_proxies{role=\"sidecar\",configuration=\"behind\"} 1",
            "meshgate_control_revision 7",
            "meshgate_control_settled 1",
            "meshgate_control_root_rotation 1",
            "meshgate_control_certificate_ends_seconds{certificate=\"own\"} 1800000000",
            "meshgate_control_certificate_ends_seconds{certificate=\"intermediate\"} 9223372036854775807",
            "meshgate_control_alarms{kind=\"guessing\"} 2",
            "meshgate_control_alarms{kind=\"set_back\"} 0",
            "meshgate_control_enrolments_total{proof=\"join_token\",outcome=\"signed\"} 1",
            "meshgate_control_enrolments_total{proof=\"held\",outcome=\"refused\"} 1",
            "meshgate_control_changes_total{outcome=\"applied\"} 1",
            "meshgate_control_answers_total{outcome=\"taken\"} 1",
            "meshgate_control_answers_total{outcome=\"refused\"} 1",
            "meshgate_control_streams_total 1",
        ] {
            assert!(first.lines().any(|found| found == line), "{line} is not in\n{first}");
        }
        levels.gateways.clear();
        levels.alarms = vec![("guessing", 0)];
        metrics.stream();
        let second = metrics.encode(&levels);
        for line in [
            "meshgate_control_proxies{role=\"gateway\",configuration=\"current\"} 0",
            "meshgate_control_alarms{kind=\"guessing\"} 0",
            "meshgate_control_streams_total 2",
        ] {
            assert!(second.lines().any(|found| found == line), "{line} is not in\n{second}");
        }
    }
}
