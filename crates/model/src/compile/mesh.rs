//! `Mesh`: limits within their ranges, the admin listener on loopback.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::calls;
use super::report::Report;
use crate::amount::{Period, Size};
use crate::finding::codes;
use crate::kinds::{self, AccessLogSpec, LimitsSpec, ValidationSpec};
use crate::limits;
use crate::parse::tree::{Step, steps};
use crate::parse::{Document, Spec};
use crate::snapshot::{AccessLog, Limits, MeshSpec};
use crate::spiffe::TrustDomain;

const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(6);
const CERTIFICATE_LIFE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// The mesh, and how servers check arguments and results unless they say otherwise.
pub(super) fn compile(documents: &[Document], report: &mut Report) -> (MeshSpec, ValidationSpec) {
    let found = documents.iter().find_map(|d| {
        if let Spec::Mesh(spec) = &d.spec {
            Some((d, spec))
        } else {
            None
        }
    });
    let Some((document, spec)) = found else {
        let empty = LimitsSpec::default();
        let limits = all_limits(&empty, &mut Ranges { document: None, report });
        let mesh = MeshSpec {
            name: "default".into(),
            trust_domain: TrustDomain::of_mesh("default"),
            certificate_life: limits::CERTIFICATE_LIFE,
            traces: None,
            limits,
            admin: None,
            access_log: AccessLog::Stderr,
        };
        return (mesh, ValidationSpec::default());
    };
    let admin = admin(document, spec, report);
    let access_log = match &spec.access_log {
        AccessLogSpec::Stderr => AccessLog::Stderr,
        AccessLogSpec::Off => AccessLog::Off,
        AccessLogSpec::File(file) => {
            AccessLog::File(report.file((document, steps!["spec", "accessLog", "file"]), file))
        }
    };
    let limits = all_limits(
        &spec.limits,
        &mut Ranges {
            document: Some(document),
            report,
        },
    );
    let mesh = MeshSpec {
        trust_domain: trust_domain(document, spec, report),
        certificate_life: calls::period(
            document,
            steps!["spec", "certificates"],
            ("life", spec.certificates.life),
            CERTIFICATE_LIFE_MIN..=CERTIFICATE_LIFE_MAX,
            report,
        )
        .unwrap_or(limits::CERTIFICATE_LIFE),
        traces: traces(document, spec, report),
        name: document.metadata.name.as_str().into(),
        limits,
        admin,
        access_log,
    };
    (mesh, spec.validation.clone())
}

fn trust_domain(document: &Document, spec: &kinds::MeshSpec, report: &mut Report) -> TrustDomain {
    let default = || TrustDomain::of_mesh(&document.metadata.name);
    let Some(written) = &spec.trust_domain else {
        return default();
    };
    written.parse().unwrap_or_else(|_| {
        report.error(
            (document, steps!["spec", "trustDomain"]),
            codes::TRUST_DOMAIN,
            format!("`{written}` is no trust domain"),
            "write 1 to 255 of `a-z`, `0-9`, `.`, `-` and `_`",
        );
        default()
    })
}

fn traces(document: &Document, spec: &kinds::MeshSpec, report: &mut Report) -> Option<Arc<str>> {
    let written = &spec.traces.as_ref()?.otlp;
    let uri = written.parse::<http::Uri>().ok();
    let sound = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !sound {
        report.error(
            (document, steps!["spec", "traces", "otlp"]),
            codes::TRACES,
            format!("`{written}` is no address of an otlp receiver"),
            "write `http://HOST:4317`, or `https://` where the receiver has TLS",
        );
    }
    Some(written.as_str().into())
}

fn admin(document: &Document, spec: &kinds::MeshSpec, report: &mut Report) -> Option<std::net::SocketAddr> {
    let address = spec.admin.as_ref()?.address;
    if !address.ip().to_canonical().is_loopback() {
        let message = format!("`{address}` is not loopback, and the admin listener answers without credentials");
        let remedy = format!("write `127.0.0.1:{}`", address.port());
        report.error(
            (document, steps!["spec", "admin", "address"]),
            codes::ADMIN_ADDRESS,
            message,
            remedy,
        );
    }
    Some(address)
}

fn all_limits(spec: &LimitsSpec, ranges: &mut Ranges<'_>) -> Limits {
    Limits {
        body_bytes_max: ranges.size("body", spec.body, limits::BODY_BYTES, KIB..=64 * MIB),
        response_bytes_max: ranges.size("response", spec.response, limits::RESPONSE_BYTES, KIB..=256 * MIB),
        line_bytes_max: ranges.size("line", spec.line, limits::LINE_BYTES, KIB..=256 * MIB),
        event_bytes_max: ranges.size("event", spec.event, limits::EVENT_BYTES, KIB..=256 * MIB),
        stream_buffer_bytes_max: ranges.size(
            "streamBuffer",
            spec.stream_buffer,
            limits::STREAM_BUFFER_BYTES,
            4 * KIB..=64 * MIB,
        ),
        json_depth_max: ranges.count("jsonDepth", spec.json_depth, limits::JSON_DEPTH, 8..=512),
        json_nodes_max: ranges.count("jsonNodes", spec.json_nodes, limits::JSON_NODES, 100..=1_000_000),
        connections_max: ranges.count("connections", spec.connections, limits::CONNECTIONS, 1..=1_000_000),
        connections_per_address_max: ranges.count(
            "connectionsPerAddress",
            spec.connections_per_address,
            limits::CONNECTIONS_PER_ADDRESS,
            1..=1_000_000,
        ),
        streams_per_caller_max: ranges.count(
            "streamsPerCaller",
            spec.streams_per_caller,
            limits::STREAMS_PER_CALLER,
            1..=100_000,
        ),
        sessions_per_caller_max: ranges.count(
            "sessionsPerCaller",
            spec.sessions_per_caller,
            limits::SESSIONS_PER_CALLER,
            1..=1_000_000,
        ),
        calls_in_flight_max: ranges.count(
            "callsInFlight",
            spec.calls_in_flight,
            limits::CALLS_IN_FLIGHT,
            1..=1_000_000,
        ),
        calls_per_second: ranges.rate(
            "callsPerSecond",
            spec.calls_per_second,
            limits::CALLS_PER_SECOND,
            1..=1_000_000,
        ),
        call_burst: ranges.rate("callBurst", spec.call_burst, limits::CALL_BURST, 1..=1_000_000),
        writes_per_second: ranges.rate(
            "writesPerSecond",
            spec.writes_per_second,
            limits::WRITES_PER_SECOND,
            1..=1_000_000,
        ),
        write_burst: ranges.rate("writeBurst", spec.write_burst, limits::WRITE_BURST, 1..=1_000_000),
        unauthenticated_per_second: ranges.rate(
            "unauthenticatedPerSecond",
            spec.unauthenticated_per_second,
            limits::UNAUTHENTICATED_PER_SECOND,
            1..=100_000,
        ),
        children_max: ranges.count("children", spec.children, limits::CHILDREN, 1..=10_000),
        drain: ranges.drain(spec.drain),
    }
}

/// Fills in defaults and holds what is written against its range.
struct Ranges<'a> {
    document: Option<&'a Document>,
    report: &'a mut Report,
}

impl Ranges<'_> {
    fn size(&mut self, field: &str, value: Option<Size>, default: u64, range: RangeInclusive<u64>) -> usize {
        let Some(Size(bytes)) = value else {
            return usize::try_from(default).unwrap_or(usize::MAX);
        };
        if !range.contains(&bytes) {
            self.outside(
                field,
                &Size(bytes).to_string(),
                &Size(*range.start()).to_string(),
                &Size(*range.end()).to_string(),
            );
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn count(&mut self, field: &str, value: Option<u32>, default: u32, range: RangeInclusive<u32>) -> usize {
        usize::try_from(self.rate(field, value, default, range)).unwrap_or(usize::MAX)
    }

    fn rate(&mut self, field: &str, value: Option<u32>, default: u32, range: RangeInclusive<u32>) -> u32 {
        let Some(count) = value else { return default };
        if !range.contains(&count) {
            self.outside(
                field,
                &count.to_string(),
                &range.start().to_string(),
                &range.end().to_string(),
            );
        }
        count
    }

    fn drain(&mut self, value: Option<Period>) -> Duration {
        let Some(period) = value else { return limits::DRAIN };
        if period.0 > Duration::from_secs(3600) {
            self.outside("drain", &period.to_string(), "0s", "1h");
        }
        period.0
    }

    fn outside(&mut self, field: &str, value: &str, least: &str, most: &str) {
        let Some(document) = self.document else { return };
        out_of_range(
            self.report,
            (document, steps!["spec", "limits", field]),
            field,
            value,
            (least, most),
        );
    }
}

pub(super) fn out_of_range(
    report: &mut Report,
    at: (&Document, &[Step<'_>]),
    field: &str,
    value: &str,
    (least, most): (&str, &str),
) {
    report.error(
        at,
        codes::RANGE,
        format!("`{field}` is `{value}`, outside {least} to {most}"),
        format!("write a value from `{least}` to `{most}`"),
    );
}
