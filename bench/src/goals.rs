//! What one hop is meant to reach. Goals that are ratios are ratios within one run.

use crate::report::Report;

const FLOOR: &str = "floor";
const OURS: &str = "meshgate";
const LEGACY: &str = "meshgate-legacy";
const LIFT: &str = "meshgate-lift";
const LOWER: &str = "meshgate-lower";
const STDIO: &str = "meshgate-stdio";
const PAIR: &str = "floor-pair";
const TWO: &str = "meshgate-mesh";
const ENVOY: &str = "envoy-mcp";

/// What a figure is compared with.
pub(crate) enum Against {
    /// The same figure of another target.
    Target(&'static str),
    /// Another figure of the same target.
    Figure(&'static str),
    /// Nothing: the figure itself counts.
    Itself,
}

/// What is wanted: the words for it, whose figure, against what, and the least or most that is good enough.
pub(crate) type Goal = (&'static str, (&'static str, &'static str), Against, Bound);

pub(crate) enum Bound {
    Least(f64),
    Most(f64),
}

/// Of one hop.
pub(crate) const HOP: &[Goal] = &[
    (
        "echo, everything on: calls/s over the floor's",
        (OURS, "echo_calls"),
        Against::Target(FLOOR),
        Bound::Least(0.70),
    ),
    (
        "echo: calls/s over those of Envoy's MCP router",
        (OURS, "echo_calls"),
        Against::Target(ENVOY),
        Bound::Least(3.5),
    ),
    (
        "echo at a constant rate: p99 over the floor's",
        (OURS, "p99_us"),
        Against::Target(FLOOR),
        Bound::Most(1.2),
    ),
    (
        "list of 500 tools, warm: calls/s over the floor's with the same bytes",
        (OURS, "list_calls"),
        Against::Target(FLOOR),
        Bound::Least(0.70),
    ),
    (
        "result of 16 KiB: calls/s over the floor's",
        (OURS, "blob_calls"),
        Against::Target(FLOOR),
        Bound::Least(0.85),
    ),
    (
        "result of 1 MiB: calls/s over the floor's",
        (OURS, "mib_calls"),
        Against::Target(FLOOR),
        Bound::Least(0.85),
    ),
    (
        "result of 32 MiB: calls/s over the floor's",
        (OURS, "huge_calls"),
        Against::Target(FLOOR),
        Bound::Least(0.85),
    ),
    (
        "memory flat: most memory with two results of 32 MiB on the way, over that idle",
        (OURS, "huge_peak_mib"),
        Against::Figure("idle_mib"),
        Bound::Most(1.5),
    ),
    (
        "clients and servers with sessions, echo: calls/s over our own without",
        (LEGACY, "echo_calls"),
        Against::Target(OURS),
        Bound::Least(0.85),
    ),
    (
        "modern clients and servers with sessions, echo: calls/s over our own without",
        (LIFT, "echo_calls"),
        Against::Target(OURS),
        Bound::Least(0.6),
    ),
    (
        "clients with sessions and modern servers, echo: the same",
        (LOWER, "echo_calls"),
        Against::Target(OURS),
        Bound::Least(0.6),
    ),
    (
        "child process, echo: calls/s",
        (STDIO, "echo_calls"),
        Against::Itself,
        Bound::Least(20_000.0),
    ),
    (
        "child process, echo: calls/s over a bare pipe that calls it one by one",
        (STDIO, "echo_calls"),
        Against::Figure("pipe_calls"),
        Bound::Least(0.80),
    ),
    (
        "memory idle, MiB",
        (OURS, "idle_mib"),
        Against::Itself,
        Bound::Most(20.0),
    ),
    (
        "memory of an idle session with its connection, KiB",
        (OURS, "session_kib"),
        Against::Itself,
        Bound::Most(20.0),
    ),
    (
        "memory of an open stream with its connection, KiB",
        (OURS, "stream_kib"),
        Against::Itself,
        Bound::Most(40.0),
    ),
    (
        "from start to the first answered call, ms",
        (OURS, "cold_ms"),
        Against::Itself,
        Bound::Most(20.0),
    ),
];

/// Of two.
pub(crate) const MESH: &[Goal] = &[
    (
        "echo over two hops, everything on: calls/s over those of the floor's pair",
        (TWO, "echo_calls"),
        Against::Target(PAIR),
        Bound::Least(0.70),
    ),
    (
        "the floor's pair, echo: calls/s over those of a pair of Envoys",
        (PAIR, "echo_calls"),
        Against::Target("envoy-pair"),
        Bound::Least(2.0),
    ),
    (
        "16 KiB over two hops: calls/s over those of the floor's pair",
        (TWO, "blob_calls"),
        Against::Target(PAIR),
        Bound::Least(0.70),
    ),
    (
        "a handshake of this mesh for each call: calls/s over those of a pair of nginx that does the same",
        ("identity-fresh", "echo_calls"),
        Against::Target("nginx-fresh"),
        Bound::Least(1.0),
    ),
    (
        "what the whole mesh adds at the middle, µs",
        (TWO, "added_p50_us"),
        Against::Itself,
        Bound::Most(500.0),
    ),
    (
        "and at the p99, µs",
        (TWO, "added_p99_us"),
        Against::Itself,
        Bound::Most(2000.0),
    ),
    (
        "the whole mesh from start to the first answered call, ms",
        (TWO, "cold_ms"),
        Against::Itself,
        Bound::Most(1000.0),
    ),
];

/// The goals, what was reached, and an honest mark.
pub(crate) fn table(report: &Report) -> String {
    let mut lines = vec![
        "| goal | wanted | reached | |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for (what, whose, against, bound) in report.set.goals {
        let (wanted, mark): (String, fn(f64, f64) -> bool) = match bound {
            Bound::Least(bound) => (format!("≥ {bound}"), |value, bound| value >= bound),
            Bound::Most(bound) => (format!("≤ {bound}"), |value, bound| value <= bound),
        };
        let (Bound::Least(bound) | Bound::Most(bound)) = *bound;
        let (reached, mark) = match reached(report, *whose, against) {
            Some(value) => (format!("{value:.2}"), if mark(value, bound) { "✓" } else { "✗" }),
            None => ("not measured".to_owned(), "–"),
        };
        lines.push(format!("| {what} | {wanted} | {reached} | {mark} |"));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn reached(report: &Report, (target, figure): (&str, &str), against: &Against) -> Option<f64> {
    let ours = report.median(target, figure)?;
    let theirs = match against {
        Against::Itself => return Some(ours),
        Against::Target(name) => report.median(name, figure)?,
        Against::Figure(other) => report.median(target, other)?,
    };
    (theirs > 0.0).then(|| ours / theirs)
}
