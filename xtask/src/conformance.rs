//! `conformance`: the official suite against the gateway, or against the fixture alone.
//!
//! Four runs: two revisions, with a fixture over HTTP and one over stdio behind a view of one server. The suite scores 30
//! scenarios for 2025-11-25 and 37 for 2026-07-28; anything less fails, and there is no list of expected failures. Run it
//! `--alone` when a scenario fails, to see whose fault that is. `--across` puts servers of one era there, `--client` runs
//! the suite's other half.

mod across;
mod client;

use std::{fs, path::Path, process::Command};

use serde_json::Value;

pub(crate) use self::client::drive;
use crate::{
    Failure,
    command::{program, run_logged},
    gateway::{Fixture, Gateway, Runs},
    place::Place,
    steps,
};

/// Each revision with the number of scenarios it scores.
const REVISIONS: &[(&str, usize)] = &[("2025-11-25", 30), ("2026-07-28", 37)];
const VIEW: &str = "/mcp";
/// The address that the committed mesh file names.
const FIXTURE_URL: &str = "http://127.0.0.1:7392/mcp";

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The suite's client half through the gateway, against the committed list of scenarios
    #[arg(long)]
    client: bool,
    /// Servers of one era, and clients of each era before them, against the committed list of what cannot cross
    #[arg(long, conflicts_with = "client")]
    across: bool,
    /// Test the fixture (or the client) itself, with no gateway between
    #[arg(long)]
    alone: bool,
    /// Through a gateway and a sidecar, with mTLS between them
    #[arg(long, conflicts_with = "alone")]
    mesh: bool,
    /// Only this upstream: http or stdio
    #[arg(long)]
    upstream: Option<String>,
    /// Only this revision
    #[arg(long)]
    revision: Option<String>,
    /// The fixture's era: both (what counts, and unless it is said), legacy or modern
    #[arg(long)]
    era: Option<String>,
}

impl Options {
    /// The fixture by itself, without which no other run says anything.
    pub(crate) fn alone() -> Self {
        Self {
            alone: true,
            ..Self::default()
        }
    }

    /// Through a gateway and a sidecar: one way to reach the server.
    pub(crate) fn mesh(upstream: &str) -> Self {
        Self {
            mesh: true,
            upstream: Some(upstream.to_owned()),
            ..Self::default()
        }
    }

    /// Servers of one era through the gateway.
    pub(crate) fn across() -> Self {
        Self {
            across: true,
            ..Self::default()
        }
    }

    /// The client half through the gateway.
    pub(crate) fn client() -> Self {
        Self {
            client: true,
            ..Self::default()
        }
    }

    /// The client half through a gateway and a sidecar.
    pub(crate) fn mesh_client() -> Self {
        Self {
            mesh: true,
            ..Self::client()
        }
    }

    /// The ways to the fixture that are wanted.
    fn upstreams(&self) -> impl Iterator<Item = &'static str> {
        let only = self.upstream.as_deref();
        ["http", "stdio"]
            .into_iter()
            .filter(move |upstream| only.is_none_or(|only| only == *upstream))
    }
}

/// One run of the suite.
struct Run {
    name: String,
    revision: &'static str,
    expected: usize,
    /// Scored scenarios and whether they passed.
    scored: Vec<(String, bool)>,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    if options.client {
        return client::run(place, options);
    }
    if options.across {
        return across::run(place, options);
    }
    let mut runs = Vec::new();
    let era = options.era.as_deref().unwrap_or("both");
    if options.alone {
        let fixture = Fixture::start(place, era)?;
        suite(place, options, "alone", fixture.url(), &mut runs)?;
    } else {
        for upstream in options.upstreams() {
            through_gateway(place, options, upstream, era, upstream, &mut runs)?;
        }
    }
    report(&runs)
}

/// The suite through a gateway whose only server is the fixture of this era, reached this way.
fn through_gateway(
    place: &Place,
    options: &Options,
    upstream: &str,
    era: &str,
    name: &str,
    runs: &mut Vec<Run>,
) -> Result<(), Failure> {
    let fixture = if upstream == "http" {
        Some(Fixture::start(place, era)?)
    } else {
        None
    };
    let url = fixture.as_ref().map_or(FIXTURE_URL, Fixture::url).to_owned();
    let mesh = format!("tests/conformance/mesh-{upstream}.yaml");
    let replacements = [(FIXTURE_URL, url.as_str()), ("--era=both", &format!("--era={era}"))];
    let parts = Runs::meshed(options.mesh);
    let name = format!("{}{name}", parts.prefix());
    // The folders of a mesh are deep, and the path of a socket may have 107 bytes.
    let folder = match parts {
        Runs::Alone => format!("conformance-{name}"),
        Runs::Mesh => name.clone(),
    };
    let mut gateway = Gateway::start_as(parts, place, &folder, &mesh, &replacements)?;
    gateway.wait_for_tools(VIEW, None, &["test_simple_text"])?;
    if era != "both" {
        across::await_era(|| gateway.status(place), era, parts)?;
    }
    suite(place, options, &name, &gateway.url(VIEW), runs)
}

/// Runs the suite for each wanted revision against one URL.
fn suite(place: &Place, options: &Options, name: &str, url: &str, runs: &mut Vec<Run>) -> Result<(), Failure> {
    for (revision, expected) in REVISIONS {
        if options.revision.as_deref().is_some_and(|only| only != *revision) {
            continue;
        }
        let log = place.log(&format!("conformance-{name}-{revision}"));
        let details = place.scratch(&format!("conformance-{name}-{revision}"))?;
        let mut node = suite_program(place)?;
        node.args(["server", "--url", url, "--requirements", revision, "-o"])
            .arg(&details);
        // The suite's exit code also counts what is not scored; its summary is what we read.
        let ended = run_logged(&mut node, &log);
        let text = fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
        let scored = scored(&text);
        if scored.is_empty() {
            ended?;
            return Err(format!("the suite wrote no summary; see {}", log.display()));
        }
        let name = format!("{name} · {revision}");
        for (scenario, _) in scored.iter().filter(|(_, passed)| !passed) {
            println!("{name}: {scenario}\n{}", why(&details, scenario, "server-"));
        }
        runs.push(Run {
            name,
            revision,
            expected: *expected,
            scored,
        });
    }
    Ok(())
}

/// The suite, run by a Node that is new enough for it.
fn suite_program(place: &Place) -> Result<Command, Failure> {
    let home = place.npm("conformance").join("node_modules");
    let script = home.join("@modelcontextprotocol/conformance/dist/index.js");
    if !script.is_file() {
        return Err("the conformance suite is not installed; run `cargo xtask setup`".to_owned());
    }
    let mut node = program(place, home.join(".bin/node"));
    node.arg(script);
    Ok(node)
}

/// Reads the summary: `✓ name: 3 passed, 0 failed`, then the names that are not scored.
fn scored(text: &str) -> Vec<(String, bool)> {
    let Some((_, summary)) = text.split_once("=== SUMMARY ===") else {
        return Vec::new();
    };
    let (all, unscored) = summary.split_once("Not scored for").unwrap_or((summary, ""));
    let unscored: Vec<&str> = unscored
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    let rows = all.lines().filter_map(|line| {
        let (mark, rest) = line.trim().split_once(' ')?;
        let (name, counts) = rest.split_once(": ")?;
        let tested = !counts.starts_with("0 passed");
        ["✓", "✗"]
            .contains(&mark)
            .then(|| (name.to_owned(), mark == "✓" && tested))
    });
    rows.filter(|(name, _)| !unscored.contains(&name.as_str())).collect()
}

/// What the suite noted about one scenario's failed checks.
fn why(details: &Path, scenario: &str, prefix: &str) -> String {
    // A scenario's name may have a folder of its own in it.
    let (folder, scenario) = scenario.rsplit_once('/').unwrap_or(("", scenario));
    let prefix = format!("{prefix}{scenario}-");
    let folders = fs::read_dir(details.join(folder)).into_iter().flatten().flatten();
    let folder = folders.map(|entry| entry.path()).find(|path| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(&prefix))
    });
    let checks = folder
        .and_then(|folder| fs::read_to_string(folder.join("checks.json")).ok())
        .unwrap_or_default();
    let checks: Vec<Value> = serde_json::from_str(&checks).unwrap_or_default();
    let field = |check: &Value, name: &str| check.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let failed = checks.iter().filter(|check| field(check, "status") == "FAILURE");
    let lines: Vec<String> = failed
        .map(|check| format!("    {}: {}", field(check, "id"), field(check, "errorMessage")))
        .collect();
    if lines.is_empty() {
        "    no check ran".to_owned()
    } else {
        lines.join("\n")
    }
}

fn report(runs: &[Run]) -> Result<(), Failure> {
    let mut table = steps::table(&["run", "passed", "of", "failing scenarios"]);
    let mut short = 0;
    for run in runs {
        let failing: Vec<&str> = run
            .scored
            .iter()
            .filter(|(_, passed)| !passed)
            .map(|(name, _)| name.as_str())
            .collect();
        let passed = run.scored.len() - failing.len();
        short += usize::from(passed != run.expected || !failing.is_empty());
        table.add_row([
            run.name.clone(),
            passed.to_string(),
            run.expected.to_string(),
            failing.join("\n"),
        ]);
    }
    println!("{table}");
    match (runs.is_empty(), short) {
        (true, _) => Err("no run was chosen; check --upstream and --revision".to_owned()),
        (_, 0) => Ok(()),
        (_, short) => Err(format!("{short} of {} runs fall short", runs.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_without_what_is_not_scored() {
        let text = "=== SUMMARY ===\n✓ ping: 2 passed, 0 failed\n✗ caching: 1 passed, 7 failed\n✓ empty: 0 passed, 0 failed\n\
                    ✗ tasks: 0 passed, 1 failed\n\nTotal: 3 passed, 8 failed\n\nNot scored for 2026-07-28: 1 run.\n  ✗ tasks (extension)\n";
        let expected = [("ping", true), ("caching", false), ("empty", false)];
        assert_eq!(scored(text), expected.map(|(name, passed)| (name.to_owned(), passed)));
    }
}
