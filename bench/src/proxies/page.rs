//! The section of the page about whole processes.

use std::time::Duration;

use super::{
    change::{Found, Kind, PAUSE, Seen},
    scene::{Role, Size},
};
use crate::{machine::Machine, process::Weight, stats::quantile};

pub(super) const TITLE: &str = "Processes of a mesh";
pub(super) const SIDECAR: &str = "sidecar";
pub(super) const GATEWAY: &str = "gateway of the mesh";
const MIB: f64 = 1024.0 * 1024.0;
/// From a change to its enforcement, at the p99, and it is meant for a hundred proxies.
const ENFORCED_MS: f64 = 1000.0;
/// An idle sidecar.
const SIDECAR_MIB: f64 = 12.0;
/// An idle gateway.
const GATEWAY_MIB: f64 = 20.0;

/// What processes of one kind weigh: the one in the middle, in bytes, and the least and the most that is resident.
#[derive(serde::Serialize)]
pub(super) struct Weighed {
    name: String,
    processes: usize,
    rss: u64,
    rss_least: u64,
    rss_most: u64,
    file: u64,
    pss: u64,
}

impl Weighed {
    pub(super) fn of(name: &str, weights: &[Weight]) -> Self {
        let mut weights = weights.to_vec();
        weights.sort_by_key(|weight| weight.rss);
        let at = |index: usize| weights.get(index).copied().unwrap_or_default();
        let middle = at(weights.len() / 2);
        Self {
            name: name.to_owned(),
            processes: weights.len(),
            rss: middle.rss,
            rss_least: at(0).rss,
            rss_most: at(weights.len().saturating_sub(1)).rss,
            file: middle.file,
            pss: middle.pss,
        }
    }
}

/// Some durations in milliseconds.
#[derive(serde::Serialize)]
struct Row {
    what: String,
    count: usize,
    p50_ms: f64,
    p99_ms: f64,
    most_ms: f64,
}

impl Row {
    fn of(what: &str, durations: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<u64> = durations
            .map(|took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
            .collect();
        sorted.sort_unstable();
        let at = |share: f64| quantile(&sorted, share) / 1000.0;
        Self {
            what: what.to_owned(),
            count: sorted.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            most_ms: at(1.0),
        }
    }

    fn line(&self) -> String {
        let Self {
            what,
            count,
            p50_ms,
            p99_ms,
            most_ms,
        } = self;
        format!("| {what} | {count} | {p50_ms:.0} | {p99_ms:.0} | {most_ms:.0} |")
    }
}

/// Everything the section says.
#[derive(serde::Serialize)]
pub(super) struct Page<'a> {
    machine: &'a Machine,
    servers: usize,
    sidecars: usize,
    gateways: usize,
    changes: usize,
    enforced: Vec<Row>,
    idle: Vec<Weighed>,
    after: Vec<Weighed>,
    others: Vec<Weighed>,
}

impl<'a> Page<'a> {
    pub(super) fn new(
        machine: &'a Machine,
        size: Size,
        found: &Found,
        [idle, after]: [Vec<Weighed>; 2],
        others: Vec<Weighed>,
    ) -> Self {
        Self {
            machine,
            servers: size.servers,
            sidecars: size.servers * size.sidecars,
            gateways: size.gateways,
            changes: found.answered.len(),
            enforced: rows(found),
            idle,
            after,
            others,
        }
    }

    /// As Markdown, without the title.
    pub(super) fn text(&self) -> String {
        let Self {
            servers,
            sidecars,
            gateways,
            changes,
            ..
        } = self;
        let mut lines = vec![
            self.machine.line(),
            String::new(),
            format!(
                "A control plane, {gateways} gateways and {sidecars} sidecars of {servers} servers, each a process of its own that joined with a token, all on one core; {changes} changes through the admin API, one after the other. The time of a change at a proxy begins when the request is sent to the API and ends with the first answer of that proxy that shows it; each proxy is called {} ms after its last answer, on a connection of its own. Sidecars are called with the certificate of a gateway whose process has ended, so that only their own decision counts.",
                PAUSE.as_millis()
            ),
            String::new(),
            "| from change to enforcement | figures | p50, ms | p99, ms | most, ms |".to_owned(),
            "|---|---|---|---|---|".to_owned(),
        ];
        lines.extend(self.enforced.iter().map(Row::line));
        lines.push(String::new());
        lines.push("| idle, MiB | processes | resident (least to most) | of it files | shared out | resident after the changes |".to_owned());
        lines.push("|---|---|---|---|---|---|".to_owned());
        for weighed in self.idle.iter().chain(&self.others) {
            let after = self.after.iter().find(|after| after.name == weighed.name);
            lines.push(weight_line(weighed, after));
        }
        lines.push(String::new());
        lines.push("| goal | wanted | reached | |".to_owned());
        lines.push("|---|---|---|---|".to_owned());
        lines.extend(self.goals());
        lines.push(String::new());
        lines.join("\n")
    }

    fn goals(&self) -> Vec<String> {
        let enforced = self.enforced.first().map(|row| row.p99_ms);
        let idle = |name: &str| {
            let weighed = self.idle.iter().find(|weighed| weighed.name == name);
            weighed.map(|weighed| mib(weighed.rss))
        };
        let goals = [
            ("change to enforcement, p99, ms (on 100 proxies)", ENFORCED_MS, enforced),
            ("memory of an idle sidecar, MiB", SIDECAR_MIB, idle(SIDECAR)),
            ("memory of an idle gateway, MiB", GATEWAY_MIB, idle(GATEWAY)),
        ];
        let line = |(what, most, reached): (&str, f64, Option<f64>)| {
            let reached = reached.unwrap_or(f64::INFINITY);
            let mark = if reached <= most { "✓" } else { "✗" };
            format!("| {what} | ≤ {most} | {reached:.1} | {mark} |")
        };
        goals.into_iter().map(line).collect()
    }
}

fn rows(found: &Found) -> Vec<Row> {
    let of = |what: &str, wanted: &dyn Fn(&Seen) -> bool| {
        Row::of(
            what,
            found.seen.iter().filter(|seen| wanted(seen)).map(|seen| seen.took),
        )
    };
    let mut rows = vec![
        of("every change at every proxy", &|_| true),
        of("at gateways", &|seen| seen.role == Role::Gateway),
        of("at sidecars", &|seen| seen.role != Role::Gateway),
    ];
    rows.extend(Kind::ALL.map(|kind| of(kind.words(), &|seen: &Seen| seen.kind == kind)));
    let last = (1..=found.answered.len()).filter_map(|number| {
        let own = found.seen.iter().filter(|seen| seen.number as usize == number);
        own.map(|seen| seen.took).max()
    });
    rows.push(Row::of("the last proxy of each change", last));
    rows.push(Row::of("the API's own answer", found.answered.iter().copied()));
    rows
}

fn weight_line(weighed: &Weighed, after: Option<&Weighed>) -> String {
    let Weighed {
        name,
        processes,
        rss,
        rss_least,
        rss_most,
        file,
        pss,
    } = weighed;
    let after = after.map_or_else(|| "–".to_owned(), |after| format!("{:.1}", mib(after.rss)));
    format!(
        "| {name} | {processes} | **{:.1}** ({:.1} to {:.1}) | {:.1} | {:.1} | {after} |",
        mib(*rss),
        mib(*rss_least),
        mib(*rss_most),
        mib(*file),
        mib(*pss)
    )
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}
