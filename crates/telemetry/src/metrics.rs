//! Metrics, in the text form that Prometheus scrapes.
//!
//! What a call adds is counted from its record on the other runtime ([`Metrics::observe`]), so the path of a call pays
//! for no label set and no lock of a registry. Levels (sessions, streams, children) are single atomics that their owners
//! move directly. Durations bear the names and buckets of the OpenTelemetry conventions for MCP; what these do not know
//! is `meshgate_*`.
//!
//! Names of tools come from servers nobody here controls. A label is given only to names that resolved to a server, are
//! plain, and are among the first thousand; all others share `other`.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::limits::{METHOD_LABELS_MAX, TARGET_LABELS_MAX};
use crate::record::{AccessRecord, Era, Outcome, Refused, Target};

use cap::Cap;
use meters::{Kind, Known, Meters};

mod cap;
mod configuration;
mod control;
mod member;
mod merge;
mod meters;
mod parked;
mod spans;

pub use self::configuration::ConfigurationMetrics;
pub use self::control::{ControlLevels, ControlMetrics, Follows};
pub use self::member::{MemberLevels, MemberMetrics};
pub use self::merge::merged;
pub use self::parked::{ParkedLevels, ParkedMetrics};
use self::spans::SpanLevels;

#[cfg(test)]
mod tests;

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds in seconds, as the OpenTelemetry conventions for MCP give them, and finer ones below for a proxy.
const DURATION_SECONDS: [f64; 18] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];
const OTHER: &str = "other";

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    view: Arc<str>,
    application: Arc<str>,
    server: Arc<str>,
    method: Arc<str>,
    target: Arc<str>,
    era_client: &'static str,
    era_server: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[allow(
    non_snake_case,
    reason = "the label names are those of the OpenTelemetry conventions, dots as underscores"
)]
struct DurationLabels {
    mcp_method_name: Arc<str>,
    gen_ai_tool_name: Arc<str>,
    error_type: Arc<str>,
    server: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    by: &'static str,
    reason: &'static str,
    executed: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServerLabel {
    server: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabels {
    view: Arc<str>,
    direction: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    calls: Family<CallLabels, Counter>,
    duration_client_side: Family<DurationLabels, Histogram, fn() -> Histogram>,
    duration_server_side: Family<DurationLabels, Histogram, fn() -> Histogram>,
    bytes: Family<DirectionLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    wire_refusals: Family<ReasonLabel, Counter>,
    server_up: Family<ServerLabel, Gauge>,
    server_tools: Family<ServerLabel, Gauge>,
    server_restarts: Family<ServerLabel, Gauge>,
    records_dropped: Gauge<u64, AtomicU64>,
    spans: SpanLevels,
    targets: Cap,
    methods: Cap,
    known: Mutex<Known>,
    /// Child processes of servers that are running.
    pub children: Gauge,
    /// Legacy sessions that hold state here.
    pub sessions: Gauge,
    /// Long streams that are open to clients.
    pub streams: Gauge,
    /// Client connections that are open.
    pub connections: Gauge,
    /// Calls that are running.
    pub calls_in_flight: Gauge,
    /// What becomes of questions in the middle of calls.
    pub parked: ParkedMetrics,
    /// What became of configurations that were read while it ran.
    pub configuration: ConfigurationMetrics,
    /// How it stands with memberships of meshes.
    pub member: MemberMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn durations() -> Histogram {
    Histogram::new(DURATION_SECONDS)
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut all = Self {
            registry: Registry::default(),
            calls: Family::default(),
            duration_client_side: Family::new_with_constructor(durations),
            duration_server_side: Family::new_with_constructor(durations),
            bytes: Family::default(),
            refusals: Family::default(),
            wire_refusals: Family::default(),
            server_up: Family::default(),
            server_tools: Family::default(),
            server_restarts: Family::default(),
            records_dropped: Gauge::default(),
            spans: SpanLevels::default(),
            targets: Cap::new(TARGET_LABELS_MAX),
            methods: Cap::new(METHOD_LABELS_MAX),
            known: Mutex::new(meters::none_known()),
            children: Gauge::default(),
            sessions: Gauge::default(),
            streams: Gauge::default(),
            connections: Gauge::default(),
            calls_in_flight: Gauge::default(),
            parked: ParkedMetrics::default(),
            configuration: ConfigurationMetrics::default(),
            member: MemberMetrics::default(),
        };
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.registry.register("meshgate_build", "The version that runs", build);
        all.register_calls();
        all.register_levels();
        all.spans.register(&mut all.registry);
        all.parked.register(&mut all.registry);
        all.configuration.register(&mut all.registry);
        all.member.register(&mut all.registry);
        all
    }

    fn register_calls(&mut self) {
        let to = &mut self.registry;
        to.register("meshgate_calls", "Calls by how they ended", self.calls.clone());
        to.register(
            "meshgate_refusals",
            "Calls that were refused, by whom and why",
            self.refusals.clone(),
        );
        to.register(
            "meshgate_wire_refusals",
            "Connections and requests refused below JSON, as malformed or abusive HTTP",
            self.wire_refusals.clone(),
        );
        to.register_with_unit("meshgate_message", "Bytes of messages", Unit::Bytes, self.bytes.clone());
        to.register_with_unit(
            "mcp_server_operation_duration",
            "From a call's arrival to the last byte of its answer",
            Unit::Seconds,
            self.duration_server_side.clone(),
        );
        to.register_with_unit(
            "mcp_client_operation_duration",
            "From handing a request to its server to the end of the answer",
            Unit::Seconds,
            self.duration_client_side.clone(),
        );
    }

    fn register_levels(&mut self) {
        let to = &mut self.registry;
        to.register(
            "meshgate_server_up",
            "1 while the server answers",
            self.server_up.clone(),
        );
        to.register(
            "meshgate_server_tools",
            "Tools in the server's catalogue",
            self.server_tools.clone(),
        );
        to.register(
            "meshgate_server_restarts",
            "Times the server was started again",
            self.server_restarts.clone(),
        );
        to.register("meshgate_children", "Child processes of servers", self.children.clone());
        to.register(
            "meshgate_sessions",
            "Legacy sessions that hold state",
            self.sessions.clone(),
        );
        to.register("meshgate_streams", "Long streams open to clients", self.streams.clone());
        to.register(
            "meshgate_connections",
            "Client connections open",
            self.connections.clone(),
        );
        to.register(
            "meshgate_calls_in_flight",
            "Calls running",
            self.calls_in_flight.clone(),
        );
        to.register(
            "meshgate_records_dropped",
            "Access records lost because the ring was full or the sink stalled",
            self.records_dropped.clone(),
        );
    }

    /// Counts one call. Runs on the keep runtime.
    pub fn observe(&self, record: &AccessRecord) {
        let mut known = self.known.lock();
        let Some(slot) = Kind::slot(record).and_then(|at| known.get_mut(at)) else {
            return self.meters(record).add(record);
        };
        match slot {
            Some(slot) if slot.0.holds(record) => slot.1.add(record),
            _ => {
                let meters = self.meters(record);
                meters.add(record);
                *slot = Some(Box::new((Kind::of(record), meters)));
            }
        }
    }

    /// Finds what a call adds to, by its labels.
    fn meters(&self, record: &AccessRecord) -> Meters {
        let resolved = record.server.is_some();
        let target = match &record.target {
            Some(Target::Tool(name) | Target::Prompt(name)) if resolved => self.targets.label(name),
            Some(Target::Tool(_) | Target::Prompt(_)) => OTHER.into(),
            Some(Target::Resource(_)) | None => Arc::default(),
        };
        let method = self.methods.label(&record.method);
        let server = record.server.clone().unwrap_or_default();
        let durations = DurationLabels {
            mcp_method_name: method.clone(),
            gen_ai_tool_name: if matches!(record.target, Some(Target::Tool(_))) {
                target.clone()
            } else {
                Arc::default()
            },
            error_type: error_type(record),
            server: server.clone(),
        };
        let client_side = record
            .duration_upstream
            .map(|_| self.duration_client_side.get_or_create_owned(&durations));
        let view = record.view.clone().unwrap_or_default();
        let bytes = |direction| {
            let view = view.clone();
            self.bytes.get_or_create_owned(&DirectionLabels { view, direction })
        };
        Meters {
            bytes_in: bytes("in"),
            bytes_out: bytes("out"),
            refusals: record.refused.as_ref().map(|refused| self.refusals_of(refused)),
            calls: self.calls_of(record, view.clone(), server, method, target),
            server_side: self.duration_server_side.get_or_create_owned(&durations),
            client_side,
        }
    }

    fn refusals_of(&self, refused: &Refused) -> Counter {
        self.refusals.get_or_create_owned(&RefusalLabels {
            by: refused.by,
            reason: refused.reason,
            executed: refused.executed,
        })
    }

    fn calls_of(
        &self,
        record: &AccessRecord,
        view: Arc<str>,
        server: Arc<str>,
        method: Arc<str>,
        target: Arc<str>,
    ) -> Counter {
        self.calls.get_or_create_owned(&CallLabels {
            view,
            application: record.application.clone().unwrap_or_default(),
            server,
            method,
            target,
            era_client: record.era_client.map_or("", Era::as_str),
            era_server: record.era_server.map_or("", Era::as_str),
            outcome: record.summary(),
        })
    }

    /// Says how many connections and requests were refused below JSON for a reason since the start; there are no records
    /// of them. One caller at a time.
    pub fn wire_refusals(&self, reason: &'static str, total: u64) {
        let counter = self.wire_refusals.get_or_create(&ReasonLabel { reason });
        counter.inc_by(total.saturating_sub(counter.get()));
    }

    /// Says whether a server answers.
    pub fn server_up(&self, server: &Arc<str>, up: bool) {
        self.server_up
            .get_or_create(&ServerLabel { server: server.clone() })
            .set(i64::from(up));
    }

    /// Says how many tools a server's catalogue has.
    pub fn server_tools(&self, server: &Arc<str>, tools: usize) {
        let tools = i64::try_from(tools).unwrap_or(i64::MAX);
        self.server_tools
            .get_or_create(&ServerLabel { server: server.clone() })
            .set(tools);
    }

    /// Says how often a server was started again.
    pub fn server_restarts(&self, server: &Arc<str>, restarts: u64) {
        let restarts = i64::try_from(restarts).unwrap_or(i64::MAX);
        self.server_restarts
            .get_or_create(&ServerLabel { server: server.clone() })
            .set(restarts);
    }

    /// Forgets a server that the configuration has no longer.
    pub fn forget_server(&self, server: &Arc<str>) {
        let label = ServerLabel { server: server.clone() };
        self.server_up.remove(&label);
        self.server_tools.remove(&label);
        self.server_restarts.remove(&label);
        self.parked.forget(&label);
    }

    pub(crate) fn records_dropped(&self, dropped: u64) {
        self.records_dropped.set(dropped);
    }

    pub(crate) fn spans(&self, sent: u64, dropped: u64) {
        self.spans.set(sent, dropped);
    }

    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// `error.type` of the OpenTelemetry conventions; empty when the call succeeded.
fn error_type(record: &AccessRecord) -> Arc<str> {
    match record {
        AccessRecord {
            refused: Some(refused), ..
        } => refused.reason.into(),
        AccessRecord { cancelled: true, .. } => "cancelled".into(),
        // Servers choose their codes freely; only the reserved range gets labels of its own.
        AccessRecord {
            rpc_code: Some(code @ (-32_700 | -32_603..=-32_600 | -32_099..=-32_000)),
            ..
        } => code.to_string().into(),
        AccessRecord { rpc_code: Some(_), .. } => "rpc_error".into(),
        AccessRecord {
            outcome: Some(Outcome::Error),
            ..
        } => "tool_error".into(),
        AccessRecord { http_status: 400.., .. } => record.http_status.to_string().into(),
        _ => Arc::default(),
    }
}
