//! The suite's client half: a conforming client through the gateway, judged by what reaches the suite's own servers.
//!
//! For each scenario the suite starts a server and runs a command with its address; our command is this program again
//! (`through-gateway`), which starts a gateway with that address as its only server and runs `tests/conformance/client.mjs`
//! against the gateway. With `--mesh`, a sidecar stands between the gateway and that server. The committed list says what
//! must pass and why the rest cannot. It only shrinks: a scenario that is left out and passes fails the run, as does one
//! that nobody has judged yet.

use std::{
    collections::BTreeMap,
    fs,
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Options, REVISIONS, suite_program};
use crate::{
    Failure,
    command::{Running, program, run_logged},
    gateway::{Gateway, Runs},
    place::Place,
    steps,
};

const LIST: &str = "tests/conformance/client-scenarios.json";
/// The client and what it imports, each with the name under which it lies beside its packages.
const CLIENT: (&str, &str) = ("tests/conformance/client.mjs", "conformance-client.mjs");
const AUTHORIZE: (&str, &str) = ("tests/conformance/authorize.mjs", "conformance-authorize.mjs");
const MESH: &str = "tests/conformance/mesh-client.yaml";
const VIEW: &str = "/mcp";
/// Where a run of the suite tells its many commands to take turns.
const TURNS: &str = "MESHGATE_CONFORMANCE_TURNS";
/// The suite starts all scenarios at once; more gateways than this would only disturb the scenarios that measure time.
const TURNS_MAX: usize = 4;
/// In a mesh, most of a left-out scenario is a gateway that holds on for two seconds for a sidecar whose server is never up.
const MESH_TURNS_MAX: usize = 8;
const CLIENT_MAX: Duration = Duration::from_secs(30);
const TURN_MAX: Duration = Duration::from_secs(240);
/// What the suite gives one command, in milliseconds: its turn may come last of all.
const COMMAND_MAX_MS: &str = "280000";

/// What must pass at one revision, and what cannot.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Judged {
    pass: Vec<String>,
    left_out: Vec<LeftOut>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeftOut {
    pub(super) reason: String,
    pub(super) scenarios: Vec<String>,
}

/// One run of the suite.
struct Run {
    name: String,
    passed: usize,
    left_out: usize,
    /// What does not fit the list, as sentences.
    wrong: Vec<String>,
}

pub(super) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let path = place.root().join(LIST);
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let list: BTreeMap<String, Judged> = serde_json::from_str(&text).map_err(|e| format!("{LIST}: {e}"))?;
    let mut runs = Vec::new();
    for (revision, _) in REVISIONS {
        if options.revision.as_deref().is_some_and(|only| only != *revision) {
            continue;
        }
        let judged = list
            .get(*revision)
            .ok_or_else(|| format!("{LIST} has no `{revision}`"))?;
        runs.push(suite(place, options, revision, judged)?);
    }
    report(&runs)
}

fn suite(place: &Place, options: &Options, revision: &'static str, judged: &Judged) -> Result<Run, Failure> {
    let parts = Runs::meshed(options.mesh);
    let name = format!("conformance-client-{}{revision}", parts.prefix());
    let log = place.log(&name);
    let details = place.scratch(&name)?;
    let own = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let command = if options.alone {
        format!("node \"{}\"", beside_packages(place)?.display())
    } else {
        let mesh = if options.mesh { " --mesh" } else { "" };
        format!("\"{}\" through-gateway{mesh}", own.display())
    };
    let mut node = suite_program(place)?;
    node.args([
        "client",
        "--requirements",
        revision,
        "--timeout",
        COMMAND_MAX_MS,
        "--command",
        &command,
        "-o",
    ]);
    node.arg(&details).env(TURNS, &details);
    // The suite's exit code knows nothing of our list; its summary is what we read.
    let ended = run_logged(&mut node, &log);
    let text = fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    let outcomes = outcomes(&text);
    if outcomes.is_empty() {
        ended?;
        return Err(format!("the suite wrote no summary; see {}", log.display()));
    }
    let mut run = judge(revision, judged, &outcomes, &details, options.alone);
    run.name = format!("{}{revision}", parts.prefix());
    Ok(run)
}

/// Every scenario of the summary, and whether it passed: `✓ auth/metadata-default: 3 passed, 0 failed`.
fn outcomes(text: &str) -> Vec<(String, bool)> {
    let summary = text.split_once("SUITE SUMMARY ===").map_or("", |(_, summary)| summary);
    let summary = summary.split_once("\nTotal:").map_or(summary, |(rows, _)| rows);
    let rows = summary.lines().filter_map(|line| {
        let (mark, rest) = line.trim().split_once(' ')?;
        let (name, counts) = rest.rsplit_once(": ")?;
        let passed = mark == "✓" && !counts.starts_with("0 passed");
        ["✓", "✗"].contains(&mark).then(|| (name.to_owned(), passed))
    });
    rows.collect()
}

fn judge(revision: &str, judged: &Judged, outcomes: &[(String, bool)], details: &Path, alone: bool) -> Run {
    let reason = |name: &str| {
        let found = judged
            .left_out
            .iter()
            .find(|group| group.scenarios.iter().any(|s| s == name));
        found.map(|group| group.reason.as_str())
    };
    let mut run = Run {
        name: revision.to_owned(),
        passed: 0,
        left_out: 0,
        wrong: Vec::new(),
    };
    for (name, passed) in outcomes {
        match (judged.pass.contains(name), reason(name), passed) {
            (true, None, true) => run.passed += 1,
            // The list is about the gateway; what the client can do by itself is good to know.
            (false, Some(_), true) if alone => run.passed += 1,
            (true, None, false) => run
                .wrong
                .push(format!("{name} fails\n{}", super::why(details, name, ""))),
            (false, Some(_), false) => run.left_out += 1,
            (false, Some(reason), true) => {
                run.wrong.push(format!(
                    "{name} passes; move it to `pass`. It was left out because: {reason}"
                ));
            }
            (true, Some(_), _) => run.wrong.push(format!("{name} is in both lists")),
            (false, None, _) => run.wrong.push(format!("{name} is in no list (passes: {passed})")),
        }
    }
    let listed = judged
        .pass
        .iter()
        .chain(judged.left_out.iter().flat_map(|group| &group.scenarios));
    let gone = listed.filter(|name| !outcomes.iter().any(|(ran, _)| ran == *name));
    run.wrong.extend(gone.map(|name| format!("{name} did not run")));
    run
}

fn report(runs: &[Run]) -> Result<(), Failure> {
    let mut table = steps::table(&["client half", "passed", "left out", "not as listed"]);
    for run in runs {
        let names = run.wrong.iter().filter_map(|wrong| wrong.lines().next());
        table.add_row([
            run.name.clone(),
            run.passed.to_string(),
            run.left_out.to_string(),
            names.collect::<Vec<_>>().join("\n"),
        ]);
        for wrong in &run.wrong {
            println!("{}: {wrong}", run.name);
        }
    }
    println!("{table}");
    match (runs.is_empty(), runs.iter().map(|run| run.wrong.len()).sum()) {
        (true, _) => Err("no run was chosen; check --revision".to_owned()),
        (_, 0) => Ok(()),
        (_, wrong) => Err(format!("{wrong} scenarios are not as {LIST} says")),
    }
}

/// The command of the suite: one scenario's server behind a gateway of its own, and the client in front of it.
pub(crate) fn drive(place: &Place, runs: Runs, server: &str) -> Result<(), Failure> {
    let turn = Turn::take(match runs {
        Runs::Alone => TURNS_MAX,
        Runs::Mesh => MESH_TURNS_MAX,
    })?;
    // The number keeps the path of the gateway's socket short, and two gateways apart.
    let name = format!("half-{}", turn.number);
    let mut gateway = Gateway::start_as(runs, place, &name, MESH, &[(super::FIXTURE_URL, server)])?;
    gateway.wait_for_servers(place)?;
    let mut node = program(place, "node");
    node.arg(beside_packages(place)?).arg(gateway.url(VIEW));
    let client = place.log(&format!("{name}-client"));
    let status = Running::start(&mut node, client.clone())?.wait(CLIENT_MAX)?;
    // The suite keeps what its command writes beside the scenario's checks.
    for log in [client, place.log(&format!("{name}-gateway"))] {
        eprintln!("{}", fs::read_to_string(&log).unwrap_or_default());
    }
    if status.success() {
        gateway.forget()
    } else {
        Err(format!("the client ended with {status}"))
    }
}

/// The client, copied with what it imports to where a module finds its packages.
fn beside_packages(place: &Place) -> Result<PathBuf, Failure> {
    copy_beside(place, AUTHORIZE)?;
    copy_beside(place, CLIENT)
}

fn copy_beside(place: &Place, (from, to): (&str, &str)) -> Result<PathBuf, Failure> {
    let copy = place.npm("interop").join(to);
    let text = fs::read(place.root().join(from)).map_err(|e| format!("cannot read {from}: {e}"))?;
    // Several commands run at once; none may see half a file.
    if fs::read(&copy).is_ok_and(|there| there == text) {
        return Ok(copy);
    }
    let draft = copy.with_extension(format!("{}.mjs", std::process::id()));
    fs::write(&draft, &text)
        .and_then(|()| fs::rename(&draft, &copy))
        .map_err(|e| format!("cannot write {}: {e}", copy.display()))?;
    Ok(copy)
}

/// One of the few places of a run of the suite. It is free again when this value goes.
struct Turn {
    number: usize,
    _held: Option<File>,
}

impl Turn {
    /// Waits for a place; a command that nobody put in a queue has one.
    fn take(turns: usize) -> Result<Self, Failure> {
        let Some(folder) = std::env::var_os(TURNS).map(PathBuf::from) else {
            return Ok(Self { number: 0, _held: None });
        };
        let start = Instant::now();
        while start.elapsed() < TURN_MAX {
            for number in 0..turns {
                let path = folder.join(format!("turn-{number}"));
                let file = File::create(&path).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
                if file.try_lock().is_ok() {
                    return Ok(Self {
                        number,
                        _held: Some(file),
                    });
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("no turn came within {} s", TURN_MAX.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "noise: 1\n=== SUITE SUMMARY ===\n\n✓ initialize: 1 passed, 0 failed\n✗ auth/iss: 0 passed, 2 failed\n\
                           ✓ empty: 0 passed, 0 failed\n\nTotal: 1 passed, 2 failed, 0 warnings\n\n  ✗ auth/iss (extension)\n";

    fn judged(pass: &[&str], left_out: &[&str]) -> Judged {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let group = LeftOut {
            reason: "the moon is full".to_owned(),
            scenarios: owned(left_out),
        };
        Judged {
            pass: owned(pass),
            left_out: vec![group],
        }
    }

    fn wrong(judged: &Judged) -> Vec<String> {
        judge("2025-11-25", judged, &outcomes(SUMMARY), Path::new("/nowhere"), false).wrong
    }

    #[test]
    fn a_summary_is_read_to_its_total() {
        let expected = [("initialize", true), ("auth/iss", false), ("empty", false)];
        assert_eq!(
            outcomes(SUMMARY),
            expected.map(|(name, passed)| (name.to_owned(), passed))
        );
    }

    #[test]
    fn a_run_as_listed_is_right() {
        assert_eq!(
            wrong(&judged(&["initialize"], &["auth/iss", "empty"])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_left_out_scenario_that_passes_is_wrong() {
        let wrong = wrong(&judged(&[], &["initialize", "auth/iss", "empty"]));
        assert!(
            matches!(wrong.as_slice(), [only] if only.contains("initialize passes") && only.contains("moon")),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_listed_scenario_that_fails_is_wrong() {
        let wrong = wrong(&judged(&["initialize", "auth/iss"], &["empty"]));
        assert!(
            matches!(wrong.as_slice(), [only] if only.contains("auth/iss fails")),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_scenario_that_is_not_listed_and_one_that_did_not_run_are_wrong() {
        let wrong = wrong(&judged(&["initialize", "gone"], &["empty"]));
        assert!(wrong.iter().any(|w| w.contains("auth/iss is in no list")), "{wrong:?}");
        assert!(wrong.iter().any(|w| w.contains("gone did not run")), "{wrong:?}");
    }
}
