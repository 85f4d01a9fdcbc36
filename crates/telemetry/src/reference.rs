//! The reference page of metrics and records, made from the metrics and records themselves.
//!
//! A page that is written by hand is wrong after the next change. The names, types, units, helps and labels here are read
//! back from what a scrape would get after one call, and the fields of a record from a record with everything in it; so
//! the page cannot promise what does not exist, and a test fails when something exists that the page leaves out.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::metrics::{ControlLevels, ControlMetrics, Metrics, ParkedLevels};
use crate::record::{AccessRecord, Era, Outcome, Refused, Target};
use crate::trace::TraceContext;

const HEAD: &str = "# Metrics and records

<!-- Generated from the program. Regenerate: `cargo xtask codegen`. -->

## Metrics

In the text format of OpenMetrics, on the admin socket of the state directory and, where the `Mesh` names one, on the admin
listener (`/metrics`). A counter's sample ends in `_total`; a histogram has `_bucket`, `_sum` and `_count`. Names of tools
and methods get a label of their own while they are among the first seen; later ones share `other`.

| metric | type | unit | labels | |
|---|---|---|---|---|
";

const CONTROL: &str = "
### Of the control plane

At `/metrics` of the listener that `meshgate control --metrics ADDRESS:PORT` opens on loopback, with `/healthz` and `/readyz`; in
`meshgate up --mesh` they are where those of the gateway are.

| metric | type | unit | labels | |
|---|---|---|---|---|
";

const RECORDS: &str = "
## Access records

One JSON line for each call, when its last byte is sent. A field that does not apply is left out. There is no field for
arguments, results, headers or tokens.

| field | |
|---|---|
";

/// What each field of a record says.
const FIELDS: [(&str, &str); 37] = [
    ("time", "When the call arrived: UTC, RFC 3339 with milliseconds."),
    ("kind", "`call`."),
    (
        "summary",
        "How it ended, in one word: `ok`, `tool_error`, `input_required`, `rpc_error`, `refused`, `cancelled`, `http_error`.",
    ),
    ("traceId", "The W3C trace that the call belongs to."),
    ("spanId", "The span of this hop."),
    ("parentId", "The caller's span, or that of the hop before."),
    (
        "hop",
        "Which part of the mesh wrote it: `gateway` or `sidecar`. A call through both has two records with one `traceId`.",
    ),
    ("identity", "The SPIFFE ID of that part, in a mesh."),
    (
        "peerIdentity",
        "The SPIFFE ID at the other end of the hop between gateway and sidecar.",
    ),
    ("view", "The view that was called."),
    ("application", "The application that called."),
    (
        "user",
        "The person that the application acted for, as its issuer names it.",
    ),
    ("server", "The server that answered, or was to answer."),
    ("team", "The team that owns the server."),
    ("method", "The JSON-RPC method."),
    ("tool", "The tool, in the server's own words."),
    ("prompt", "The prompt, in the server's own words."),
    ("resource", "The resource's URI without user name, query and fragment."),
    (
        "eraClient",
        "`legacy` (2024-11-05 to 2025-11-25) or `modern` (2026-07-28).",
    ),
    ("eraServer", "The same of the server."),
    ("httpStatus", "Transport: the status the client got."),
    ("rpcCode", "Protocol: the JSON-RPC error code the client got."),
    ("outcome", "Tool: `ok`, `error` (`isError: true`) or `input_required`."),
    (
        "round",
        "Which of a call's requests it is, where its server asked for input in an earlier one: 2 and up.",
    ),
    ("refusedBy", "Who refused: `gateway`, `sidecar` or `server`."),
    ("reason", "Why; the reasons are in [errors](errors.md)."),
    ("rule", "The rule that refused, such as `view/corpassist`."),
    ("executed", "Whether the refused call may have run: `no` or `unknown`."),
    ("cancelled", "`true` where the client went away first."),
    ("bytesIn", "Bytes of the request's body."),
    ("bytesOut", "Bytes of the answer."),
    ("durationMicros", "From arrival to the last byte."),
    (
        "upstreamMicros",
        "From handing the request to the server to the end of its answer.",
    ),
    ("firstByteMicros", "From arrival to the first byte of the answer."),
    (
        "snapshot",
        "Counts what this part decides by: each change of its configuration, and of what servers offer.",
    ),
    (
        "revision",
        "The revision of the mesh's configuration that this part decided by, in a mesh.",
    ),
    ("peer", "The client's address."),
];

/// A metric as a scrape shows it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    name: String,
    kind: String,
    unit: String,
    help: String,
    labels: BTreeSet<String>,
    /// Lines with a value.
    samples: usize,
}

/// The page, as the text of its file.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    push_table(&mut page, &shown());
    page.push_str(CONTROL);
    push_table(&mut page, &shown_by_control());
    page.push_str(RECORDS);
    for (name, meaning) in FIELDS {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page
}

fn push_table(page: &mut String, metrics: &[Shown]) {
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind,
            metric.unit,
            labels.join(", "),
            metric.help
        );
    }
}

/// Every metric of a control plane, in the order of a scrape.
fn shown_by_control() -> Vec<Shown> {
    let metrics = ControlMetrics::new();
    metrics.enrolment("join_token", true);
    metrics.change("applied");
    metrics.answer(true);
    metrics.stream();
    let levels = ControlLevels {
        alarms: vec![("guessing", 1)],
        ..ControlLevels::default()
    };
    read(&metrics.encode(&levels))
}

/// Every metric of a proxy, in the order of a scrape.
fn shown() -> Vec<Shown> {
    let metrics = Metrics::new();
    let server: Arc<str> = "server".into();
    for record in examples() {
        metrics.observe(&record);
    }
    metrics.wire_refusals("reason", 1);
    metrics.server_up(&server, true);
    metrics.server_tools(&server, 1);
    metrics.server_restarts(&server, 1);
    metrics.parked.set(&server, ParkedLevels::default());
    metrics.configuration.reloaded("applied");
    metrics.configuration.reloaded("applied");
    let member = crate::MemberLevels {
        connected: true,
        revision: 1,
        refused: false,
        certificate_ends: 1,
        alarm: 0,
    };
    metrics.member.set(&"identity".into(), member);
    read(&metrics.encode())
}

/// Calls that touch every metric, and between them have every field.
fn examples() -> Vec<AccessRecord> {
    let mut full = AccessRecord::new(SystemTime::UNIX_EPOCH, TraceContext::root([1; 24]).child([2; 8]), 1);
    let some = |text: &str| -> Option<Arc<str>> { Some(text.into()) };
    full.identity = some("spiffe://mesh/gateway/main");
    full.peer_identity = some("spiffe://mesh/server/server/v1");
    full.view = some("view");
    full.application = some("application");
    full.user = some("user");
    full.server = some("server");
    full.team = some("team");
    full.method = "tools/call".into();
    full.era_client = Some(Era::Legacy);
    full.era_server = Some(Era::Modern);
    full.http_status = 200;
    full.rpc_code = Some(-32603);
    full.outcome = Some(Outcome::Ok);
    full.round = Some(2);
    full.refused = Some(Refused {
        by: "gateway",
        reason: "reason",
        rule: Some("rule".into()),
        executed: "no",
    });
    full.cancelled = true;
    full.bytes_in = 1;
    full.bytes_out = 1;
    full.duration_upstream = Some(Duration::ZERO);
    full.duration_first_byte = Some(Duration::ZERO);
    full.revision = Some(1);
    full.peer = Some(IpAddr::from([127, 0, 0, 1]));
    let name: Arc<str> = "name".into();
    [
        Target::Tool(name.clone()),
        Target::Prompt(name),
        Target::Resource("file:///a".into()),
    ]
    .into_iter()
    .map(|target| AccessRecord {
        target: Some(target),
        ..full.clone()
    })
    .collect()
}

/// Reads the text of a scrape.
fn read(text: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (Some(what), Some(name), Some(says)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if all.last().is_none_or(|last| last.name != name) {
                all.push(Shown {
                    name: name.to_owned(),
                    ..Shown::default()
                });
            }
            let Some(metric) = all.last_mut() else { continue };
            match what {
                "HELP" => metric.help = says.to_owned(),
                "TYPE" => metric.kind = says.to_owned(),
                "UNIT" => metric.unit = says.to_owned(),
                _ => {}
            }
        } else if let Some(metric) = all.last_mut() {
            metric.samples += 1;
            let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
            let names = inside.map_or("", |(inside, _)| inside).split("\",");
            let names = names.filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
            metric
                .labels
                .extend(names.filter(|name| *name != "le").map(str::to_owned));
        }
    }
    all
}
