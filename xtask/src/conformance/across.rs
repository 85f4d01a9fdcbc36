//! Servers of one era behind the gateway, and the suites of both eras before it.
//!
//! A gateway that passes bytes through passes a suite whenever the server does, so the suites say nothing about a bridge
//! unless the server cannot speak what the suite speaks. Here it cannot: the fixture is legacy only or modern only, which
//! the gateway's own status must confirm. What its suite's era has no word for is in the committed list with the reason.
//! The list only shrinks: a scenario that is left out and passes fails the run, as does a list that grew beyond the floors.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{Options, Run, client::LeftOut, suite, through_gateway};
use crate::{
    Failure,
    gateway::{Fixture, Runs},
    place::Place,
    steps,
};

const LIST: &str = "tests/conformance/across-scenarios.json";

/// Each era of a server with the revision whose suite is of the same era.
const ERAS: &[(&str, &str)] = &[("legacy", "2025-11-25"), ("modern", "2026-07-28")];

/// How many scenarios must pass at least when the server is of the other era; of the same era, all.
const FLOORS: &[(&str, usize)] = &[("2025-11-25", 27), ("2026-07-28", 33)];

/// How long a sidecar may take to tell what it found, and how often that is looked at.
const REPORT_MAX: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(100);

/// What cannot pass: by the server's era and the suite's revision.
type List = BTreeMap<String, BTreeMap<String, Vec<LeftOut>>>;

pub(super) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let path = place.root().join(LIST);
    let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let list: List = serde_json::from_str(&text).map_err(|e| format!("{LIST}: {e}"))?;
    let mut judged = Vec::new();
    for (era, same) in ERAS {
        if options.era.as_deref().is_some_and(|only| only != *era) {
            continue;
        }
        let mut runs = Vec::new();
        if options.alone {
            let fixture = Fixture::start(place, era)?;
            let own = Options {
                revision: Some((*same).to_owned()),
                ..Options::default()
            };
            suite(place, &own, &format!("{era}-alone"), fixture.url(), &mut runs)?;
        } else {
            for upstream in options.upstreams() {
                through_gateway(place, options, upstream, era, &format!("{era}-{upstream}"), &mut runs)?;
            }
        }
        let none = Vec::new();
        for run in runs {
            let left_out = list.get(*era).and_then(|runs| runs.get(run.revision)).unwrap_or(&none);
            let wrong = judge(&run, left_out, least(&run, same));
            judged.push((run, wrong));
        }
    }
    report(&judged)
}

/// How many scenarios of this run must pass.
fn least(run: &Run, same: &str) -> usize {
    let floor = FLOORS.iter().find(|(revision, _)| *revision == run.revision);
    floor
        .filter(|_| run.revision != same)
        .map_or(run.expected, |(_, floor)| *floor)
}

/// What of a run is not as the list says, as sentences.
fn judge(run: &Run, left_out: &[LeftOut], least: usize) -> Vec<String> {
    let reason = |name: &str| {
        let group = left_out
            .iter()
            .find(|group| group.scenarios.iter().any(|scenario| scenario == name));
        group.map(|group| group.reason.as_str())
    };
    let mut wrong: Vec<String> = run
        .scored
        .iter()
        .filter_map(|(name, passed)| match (passed, reason(name)) {
            (true, None) | (false, Some(_)) => None,
            (false, None) => Some(format!("{name} fails")),
            (true, Some(reason)) => Some(format!("{name} passes; take it off the list, which says: {reason}")),
        })
        .collect();
    let listed = left_out.iter().flat_map(|group| &group.scenarios);
    let gone = listed.filter(|name| !run.scored.iter().any(|(ran, _)| ran == *name));
    wrong.extend(gone.map(|name| format!("{name} is listed and did not run")));
    if run.scored.len() != run.expected {
        wrong.push(format!("{} scenarios ran, not {}", run.scored.len(), run.expected));
    }
    if passed(run) < least {
        wrong.push(format!("{} scenarios pass, and at least {least} must", passed(run)));
    }
    wrong
}

fn passed(run: &Run) -> usize {
    run.scored.iter().filter(|(_, passed)| *passed).count()
}

fn report(judged: &[(Run, Vec<String>)]) -> Result<(), Failure> {
    let mut table = steps::table(&["server · suite", "passed", "of", "cannot cross", "not as listed"]);
    for (run, wrong) in judged {
        let failing = run.scored.iter().filter(|(_, passed)| !passed).map(|(name, _)| name);
        let listed = failing.filter(|name| !wrong.contains(&format!("{name} fails")));
        let wrong_short = wrong.iter().filter_map(|wrong| wrong.lines().next());
        table.add_row([
            run.name.clone(),
            passed(run).to_string(),
            run.expected.to_string(),
            listed.map(String::as_str).collect::<Vec<_>>().join("\n"),
            wrong_short.collect::<Vec<_>>().join("\n"),
        ]);
        for wrong in wrong {
            println!("{}: {wrong}", run.name);
        }
    }
    println!("{table}");
    match (
        judged.is_empty(),
        judged.iter().filter(|(_, wrong)| !wrong.is_empty()).count(),
    ) {
        (true, _) => Err("no run was chosen; check --era, --upstream and --revision".to_owned()),
        (_, 0) => Ok(()),
        (_, wrong) => Err(format!("{wrong} of {} runs are not as {LIST} says", judged.len())),
    }
}

/// Waits for whoever reached the server to say what it found, and refuses to judge by a server of another era. A sidecar
/// tells the control plane from time to time, a gateway knows when it shows the server's tools.
pub(super) fn await_era(status: impl Fn() -> Result<String, Failure>, era: &str, runs: Runs) -> Result<(), Failure> {
    let start = Instant::now();
    loop {
        match expect_era(&status()?, era, runs) {
            Err(_) if runs == Runs::Mesh && start.elapsed() < REPORT_MAX => std::thread::sleep(LOOK),
            found => return found,
        }
    }
}

/// Refuses to judge by a server of another era than the one that was asked for.
fn expect_era(status: &str, era: &str, runs: Runs) -> Result<(), Failure> {
    let status: Value = serde_json::from_str(status).map_err(|e| format!("`status`: {e}"))?;
    // In a mesh the sidecar is the one who knows; to the gateway every sidecar is modern.
    let found: Vec<&str> = match runs {
        Runs::Alone => listed(&status, "/servers").map(|server| said(server, "era")).collect(),
        Runs::Mesh => listed(&status, "/controlPlane/proxies")
            .filter(|proxy| said(proxy, "identity").contains("/server/"))
            .map(|proxy| said(proxy, "era"))
            .collect(),
    };
    if found == [era] {
        Ok(())
    } else {
        Err(format!("the server is to be {era}, and the gateway found {found:?}"))
    }
}

fn listed<'a>(status: &'a Value, at: &str) -> impl Iterator<Item = &'a Value> {
    status.pointer(at).and_then(Value::as_array).into_iter().flatten()
}

fn said<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(scored: &[(&str, bool)]) -> Run {
        Run {
            name: "legacy-http · 2026-07-28".to_owned(),
            revision: "2026-07-28",
            expected: 3,
            scored: scored
                .iter()
                .map(|(name, passed)| ((*name).to_owned(), *passed))
                .collect(),
        }
    }

    fn listed(scenarios: &[&str]) -> Vec<LeftOut> {
        vec![LeftOut {
            reason: "the word does not exist".to_owned(),
            scenarios: scenarios.iter().map(|name| (*name).to_owned()).collect(),
        }]
    }

    const SCORED: &[(&str, bool)] = &[("ping", true), ("caching", true), ("keys", false)];

    #[test]
    fn a_run_as_listed_is_right() {
        assert_eq!(judge(&run_of(SCORED), &listed(&["keys"]), 2), Vec::<String>::new());
    }

    #[test]
    fn a_failure_that_is_not_listed_is_wrong() {
        assert_eq!(judge(&run_of(SCORED), &[], 2), ["keys fails"]);
    }

    #[test]
    fn a_listed_scenario_that_passes_or_does_not_run_is_wrong() {
        let wrong = judge(&run_of(SCORED), &listed(&["keys", "caching", "gone"]), 2);
        assert!(
            matches!(wrong.as_slice(), [passes, gone] if passes.starts_with("caching passes") && gone.starts_with("gone")),
            "{wrong:?}"
        );
    }

    #[test]
    fn a_list_that_grows_below_the_floor_is_wrong() {
        let wrong = judge(&run_of(SCORED), &listed(&["keys"]), 3);
        assert_eq!(wrong, ["2 scenarios pass, and at least 3 must"]);
    }

    #[test]
    fn a_server_of_another_era_proves_nothing() {
        let status = r#"{"servers": [{"name": "fixture", "era": "modern"}]}"#;
        assert!(expect_era(status, "modern", Runs::Alone).is_ok());
        assert!(expect_era(status, "legacy", Runs::Alone).is_err_and(|e| e.contains("modern")));
    }
}
