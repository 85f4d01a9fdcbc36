//! What one hop is meant to reach. Goals that are ratios are ratios within one run.

use crate::{report::Report, target::FLOOR};

const OURS: &str = "meshgate";
const ENVOY: &str = "envoy-mcp";

/// What a figure is compared with.
enum Against {
    /// The same figure of another target.
    Target(&'static str),
    /// Nothing: the figure itself counts.
    Itself,
}

struct Goal {
    what: &'static str,
    figure: &'static str,
    against: Against,
    /// The least, or the most, that is good enough.
    bound: Bound,
}

enum Bound {
    Least(f64),
    Most(f64),
}

const GOALS: &[Goal] = &[
    Goal {
        what: "echo, everything on: calls/s over the floor's",
        figure: "echo_calls",
        against: Against::Target(FLOOR),
        bound: Bound::Least(0.70),
    },
    Goal {
        what: "echo: calls/s over those of Envoy's MCP router",
        figure: "echo_calls",
        against: Against::Target(ENVOY),
        bound: Bound::Least(3.5),
    },
    Goal {
        what: "echo at a constant rate: p99 over the floor's",
        figure: "p99_us",
        against: Against::Target(FLOOR),
        bound: Bound::Most(1.2),
    },
    Goal {
        what: "list of 500 tools, warm: calls/s over the floor's with the same bytes",
        figure: "list_calls",
        against: Against::Target(FLOOR),
        bound: Bound::Least(0.70),
    },
    Goal {
        what: "result of 16 KiB: calls/s over the floor's",
        figure: "blob_calls",
        against: Against::Target(FLOOR),
        bound: Bound::Least(0.85),
    },
    Goal {
        what: "memory idle, MiB",
        figure: "idle_mib",
        against: Against::Itself,
        bound: Bound::Most(20.0),
    },
    Goal {
        what: "memory of an idle session with its connection, KiB",
        figure: "session_kib",
        against: Against::Itself,
        bound: Bound::Most(20.0),
    },
    Goal {
        what: "memory of an open stream with its connection, KiB",
        figure: "stream_kib",
        against: Against::Itself,
        bound: Bound::Most(40.0),
    },
    Goal {
        what: "from start to the first answered call, ms",
        figure: "cold_ms",
        against: Against::Itself,
        bound: Bound::Most(20.0),
    },
];

/// The goals, what was reached, and an honest mark.
pub(crate) fn table(report: &Report) -> String {
    let mut lines = vec![
        "| goal of one hop | wanted | reached | |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    for goal in GOALS {
        let (wanted, mark): (String, fn(f64, f64) -> bool) = match goal.bound {
            Bound::Least(bound) => (format!("≥ {bound}"), |value, bound| value >= bound),
            Bound::Most(bound) => (format!("≤ {bound}"), |value, bound| value <= bound),
        };
        let (Bound::Least(bound) | Bound::Most(bound)) = goal.bound;
        let (reached, mark) = match reached(report, goal) {
            Some(value) => (format!("{value:.2}"), if mark(value, bound) { "✓" } else { "✗" }),
            None => ("not measured".to_owned(), "–"),
        };
        lines.push(format!("| {} | {wanted} | {reached} | {mark} |", goal.what));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn reached(report: &Report, goal: &Goal) -> Option<f64> {
    let ours = report.median(OURS, goal.figure)?;
    match goal.against {
        Against::Itself => Some(ours),
        Against::Target(name) => {
            let theirs = report.median(name, goal.figure)?;
            (theirs > 0.0).then(|| ours / theirs)
        }
    }
}
