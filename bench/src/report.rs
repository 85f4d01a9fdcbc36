//! The table, for people and for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::{
    Failure, goals,
    machine::Machine,
    measure::{Plan, Sample},
    sections,
    set::Set,
    stats::Figure,
    target::Target,
};

/// Name of a figure, its column, and its decimals.
const COLUMNS: &[(&str, &str, usize)] = &[
    ("echo_calls", "echo, calls/s", 0),
    ("echo_cpu_us", "CPU per call, µs", 1),
    ("p50_us", "p50 at rate, µs", 0),
    ("p99_us", "p99, µs", 0),
    ("p999_us", "p99.9, µs", 0),
    ("blob_calls", "16 KiB, calls/s", 0),
    ("blob_cpu_us", "CPU per call, µs", 1),
    ("list_calls", "list of 500, calls/s", 0),
    ("list_cpu_us", "CPU per call, µs", 1),
    ("mib_calls", "1 MiB, calls/s", 0),
    ("mib_cpu_us", "CPU per call, µs", 0),
    ("huge_calls", "32 MiB, calls/s", 1),
    ("huge_cpu_us", "CPU per call, µs", 0),
    ("huge_peak_mib", "most memory meanwhile, MiB", 0),
    ("pipe_calls", "bare pipe, one call at a time, calls/s", 0),
    ("pipe_full_calls", "bare pipe, as many calls as connections", 0),
    ("idle_mib", "idle, MiB", 1),
    ("session_kib", "per session, KiB", 1),
    ("stream_kib", "per stream, KiB", 1),
    ("cold_ms", "cold start, ms", 1),
    ("added_p50_us", "added to the server alone at half capacity: p50, µs", 0),
    ("added_p99_us", "p99, µs", 0),
    ("paced_p50_us", "the same at one rate for all: p50, µs", 0),
    ("paced_p99_us", "p99, µs", 0),
];

/// Figures that are also shown as a ratio to the floor's.
const RATIOS: &[(&str, &str)] = &[
    ("echo_calls", "echo, calls/s"),
    ("echo_cpu_us", "echo, CPU"),
    ("p99_us", "p99 at rate"),
    ("blob_calls", "16 KiB, calls/s"),
    ("blob_cpu_us", "16 KiB, CPU"),
    ("list_calls", "list, calls/s"),
    ("list_cpu_us", "list, CPU"),
    ("mib_calls", "1 MiB, calls/s"),
    ("mib_cpu_us", "1 MiB, CPU"),
    ("huge_calls", "32 MiB, calls/s"),
    ("huge_cpu_us", "32 MiB, CPU"),
];

/// Everything one run found.
#[derive(serde::Serialize)]
pub(crate) struct Report {
    #[serde(skip)]
    pub(crate) set: &'static Set,
    machine: Machine,
    rounds: u32,
    seconds: f64,
    connections: usize,
    rate: u32,
    /// The one rate for all, where there is one.
    pace: Option<u32>,
    sessions: usize,
    streams: usize,
    targets: Vec<Row>,
    skipped: BTreeMap<String, String>,
}

#[derive(serde::Serialize)]
struct Row {
    name: String,
    about: String,
    rounds: usize,
    figures: BTreeMap<String, Figure>,
}

impl Report {
    pub(crate) fn new(
        set: &'static Set,
        targets: &[Target],
        samples: &BTreeMap<&str, Vec<Sample>>,
        skipped: BTreeMap<String, String>,
        (machine, plan): (Machine, &Plan),
        (rounds, pace): (u32, Option<u32>),
    ) -> Self {
        let row = |target: &Target| {
            let samples = samples.get(target.name.as_str())?;
            let names: BTreeSet<&String> = samples.iter().flat_map(BTreeMap::keys).collect();
            let figure = |name: &String| {
                let values = samples.iter().filter_map(|sample| sample.get(name).copied());
                Some((name.clone(), Figure::of(values.collect())?))
            };
            Some(Row {
                name: target.name.clone(),
                about: target.about.clone(),
                rounds: samples.len(),
                figures: names.into_iter().filter_map(figure).collect(),
            })
        };
        Self {
            set,
            machine,
            rounds,
            seconds: plan.seconds,
            connections: plan.connections,
            rate: plan.rate,
            pace,
            sessions: plan.sessions,
            streams: plan.streams,
            targets: targets.iter().filter_map(row).collect(),
            skipped,
        }
    }

    /// The median of a figure of a target.
    pub(crate) fn median(&self, target: &str, figure: &str) -> Option<f64> {
        let row = self.targets.iter().find(|row| row.name == target)?;
        row.figures.get(figure).map(|figure| figure.median)
    }

    /// Medians, with the least and the most of all rounds where they differ.
    pub(crate) fn table(&self) -> String {
        let mut lines = vec![self.head("")];
        let measured = |name: &str| self.targets.iter().any(|row| row.figures.contains_key(name));
        for (name, title, decimals) in COLUMNS.iter().filter(|(name, ..)| measured(name)) {
            let cells = self.targets.iter().map(|row| match row.figures.get(*name) {
                Some(figure) => shown(figure, *decimals),
                None => "–".to_owned(),
            });
            lines.push(format!("| {title} | {} |", cells.collect::<Vec<_>>().join(" | ")));
        }
        let busy = self.targets.iter().map(|row| {
            let share = |name| {
                row.figures
                    .get(name)
                    .map_or(0.0, |figure: &Figure| figure.median * 100.0)
            };
            format!(
                "{:.0} % / {:.0} %",
                share("echo_target_busy"),
                share("echo_others_busy")
            )
        });
        lines.push(format!(
            "| cores busy at echo: target / generator and upstream | {} |",
            busy.collect::<Vec<_>>().join(" | ")
        ));
        lines.push(String::new());
        lines.push(self.head("over the floor"));
        for (name, title) in RATIOS.iter().filter(|(name, _)| measured(name)) {
            let cells = self.targets.iter().map(|row| self.ratio(&row.name, name));
            lines.push(format!("| {title} | {} |", cells.collect::<Vec<_>>().join(" | ")));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn head(&self, title: &str) -> String {
        let names: Vec<&str> = self.targets.iter().map(|row| row.name.as_str()).collect();
        let rule = "---|".repeat(names.len() + 1);
        format!("| {title} | {} |\n|{rule}", names.join(" | "))
    }

    fn ratio(&self, target: &str, figure: &str) -> String {
        match (self.median(target, figure), self.median(self.set.floor, figure)) {
            (Some(value), Some(floor)) if floor > 0.0 => format!("{:.2}", value / floor),
            _ => "–".to_owned(),
        }
    }

    fn one_rate(&self) -> String {
        match (self.pace, self.set.pace) {
            (Some(rate), Some(name)) => {
                format!(
                    "the one rate for all is {rate} a second, half of what {name} could do before the first round; "
                )
            }
            _ => String::new(),
        }
    }

    fn page(&self) -> String {
        let machine = &self.machine;
        let mut lines = vec![
            format!("# {}, {}", self.set.title, machine.date),
            String::new(),
            machine.line(),
            String::new(),
            format!(
                "{} interleaved rounds of {} s a load; {} connections; latency at {} calls due per second; {}memory with {} sessions and {} streams. Median (least to most). Each answer was checked by its body; a round with one wrong answer does not count. What the columns mean: [README](../README.md).",
                self.rounds,
                self.seconds,
                self.connections,
                self.rate,
                self.one_rate(),
                self.sessions,
                self.streams
            ),
            String::new(),
            self.table(),
            goals::table(self),
        ];
        for row in &self.targets {
            let rounds = if row.rounds == self.rounds as usize {
                String::new()
            } else {
                format!(" Only {} of {} rounds without an error.", row.rounds, self.rounds)
            };
            lines.push(format!("- **{}**: {}{rounds}", row.name, row.about));
        }
        for (name, reason) in &self.skipped {
            let reason = reason.lines().next().unwrap_or_default();
            lines.push(format!("- **{name}** is left out: {reason}"));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

fn shown(figure: &Figure, decimals: usize) -> String {
    let Figure { median, min, max } = figure;
    format!("**{median:.decimals$}** ({min:.decimals$} to {max:.decimals$})")
}

/// Writes the page, the figures, and the index of all pages.
pub(crate) fn write(report: &Report, directory: &Path) -> Result<(), Failure> {
    let failure = |e: std::io::Error| format!("cannot write into {}: {e}", directory.display());
    fs::create_dir_all(directory).map_err(failure)?;
    let name = format!("{}-{}", report.set.page, report.machine.date);
    let json = serde_json::to_string_pretty(report).map_err(|e| format!("cannot write the figures: {e}"))?;
    fs::write(directory.join(format!("{name}.json")), json + "\n").map_err(failure)?;
    let page = directory.join(format!("{name}.md"));
    fs::write(&page, sections::put(&read(&page), None, &report.page())).map_err(failure)?;
    fs::write(directory.join("README.md"), index(directory)).map_err(failure)?;
    println!("written to {}", page.display());
    Ok(())
}

/// Writes one section of a page, which has this head if it is new, with the figures beside it.
pub(crate) fn write_section(
    directory: &Path,
    (name, head): (&str, &str),
    (title, section): (&str, &str),
    figures: (&str, &impl serde::Serialize),
) -> Result<(), Failure> {
    let failure = |e: std::io::Error| format!("cannot write into {}: {e}", directory.display());
    fs::create_dir_all(directory).map_err(failure)?;
    let json = serde_json::to_string_pretty(figures.1).map_err(|e| format!("cannot write the figures: {e}"))?;
    fs::write(directory.join(figures.0), json + "\n").map_err(failure)?;
    let page = directory.join(format!("{name}.md"));
    let before = match read(&page) {
        before if before.is_empty() => head.to_owned(),
        before => before,
    };
    fs::write(&page, sections::put(&before, Some(title), section)).map_err(failure)?;
    fs::write(directory.join("README.md"), index(directory)).map_err(failure)?;
    println!("written to {}", page.display());
    Ok(())
}

/// What a page says so far.
fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_default()
}

/// Writes the page of another measurement, and the index.
pub(crate) fn write_page(directory: &Path, name: &str, page: &str) -> Result<(), Failure> {
    let failure = |e: std::io::Error| format!("cannot write into {}: {e}", directory.display());
    fs::create_dir_all(directory).map_err(failure)?;
    fs::write(directory.join(format!("{name}.md")), page).map_err(failure)?;
    fs::write(directory.join("README.md"), index(directory)).map_err(failure)
}

fn index(directory: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect();
    names.sort();
    names.reverse();
    let mut lines = vec![
        "# Results".to_owned(),
        String::new(),
        "Newest first. Only ratios within one run mean anything: machines differ, and so does what else they do. How they are taken: [bench](../README.md).".to_owned(),
        String::new(),
    ];
    lines.extend(names.iter().map(|name| {
        let figures = if directory.join(format!("{name}.json")).exists() {
            format!(", figures in [JSON]({name}.json)")
        } else {
            String::new()
        };
        format!("- [{name}]({name}.md){figures}")
    }));
    lines.push(String::new());
    lines.join("\n")
}
