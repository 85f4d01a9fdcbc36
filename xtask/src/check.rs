//! `test`: everything CI checks, cheapest first, each profile built once.
//!
//! A step that fails does not stop the next ones, because a person who waits for a run wants to know all of it; only
//! what needs a build that failed is left out, and then counts as failed.

use std::collections::BTreeSet;

use crate::{
    Failure, bench, codegen, command, conformance, drills, e2e, fuzz, instructions, interop, layout, matrix,
    place::Place, setup, sim, steps::Steps, tidy, traces,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out what needs npm and PyPI packages (conformance and interop)
    #[arg(long)]
    offline: bool,
}

/// Who leads the project that the worked example asks about, and another project with its lead.
const FIRST_LEAD: &str = "Amara Okonjo-Bell";
const OTHER_PROJECT: &str = "Aurora";
const OTHER_LEAD: &str = "Lucía Ferrándiz";
const NEEDS_BUILD: &str = "the release build failed";

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let mut steps = Steps::default();
    if !options.offline {
        steps.run("setup", || setup::run(place));
    }
    let cargo = |steps: &mut Steps, name: &str, arguments: &[&str]| {
        let log = place.log(&format!("test-{}", name.replace(' ', "-")));
        steps.run(name, || {
            command::run_logged(&mut command::cargo(place, arguments), &log)
        })
    };
    cargo(&mut steps, "format", &["fmt", "--all", "--check"]);
    cargo(
        &mut steps,
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    );
    cargo(
        &mut steps,
        "dependencies",
        &["deny", "--log-level", "error", "check", "licenses", "bans", "sources"],
    );
    steps.run("tidy", || tidy::run(place));
    steps.run("tests", || tests(place));
    steps.run("fuzz corpus", || fuzz::corpus(place));
    let built = cargo(
        &mut steps,
        "release build",
        &["build", "--release", "--workspace", "--locked"],
    );
    after_build(place, options, built, &mut steps);
    steps.finish()
}

/// All tests of the workspace; a failure begins with the names of those that failed.
fn tests(place: &Place) -> Result<(), Failure> {
    let log = place.log("test-tests");
    let mut run = command::cargo(place, &["nextest", "run", "--workspace", "--locked"]);
    command::run_logged(&mut run, &log).map_err(|failure| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let failed: BTreeSet<&str> = text.lines().filter_map(failed_test).collect();
        if failed.is_empty() {
            return failure;
        }
        let names: Vec<&str> = failed.into_iter().collect();
        format!("{}\n{failure}", names.join(", "))
    })
}

/// `package::binary test` of a line like `FAIL [   5.121s] ( 971/1161) package::binary test`.
fn failed_test(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let ended_badly = ["FAIL", "TIMEOUT", "SIG", "ABORT", "LEAK-FAIL"];
    ended_badly.iter().any(|word| line.starts_with(word)).then_some(())?;
    let (_, rest) = line.split_once(']')?;
    let rest = rest.trim_start();
    match rest.strip_prefix('(') {
        Some(counted) => Some(counted.split_once(')')?.1.trim()),
        None => Some(rest),
    }
}

/// The steps that run the built programs.
fn after_build(place: &Place, options: &Options, built: bool, steps: &mut Steps) {
    let mut step = |name: &str, work: &dyn Fn() -> Result<(), Failure>| {
        if built {
            steps.run(name, work);
        } else {
            steps.skip(name, NEEDS_BUILD);
        }
    };
    step("generated files", &|| codegen::run(place, &codegen::Options::compare()));
    step("functions in order", &|| layout::check(place));
    step("demo", &|| demo(place));
    step("e2e", &|| e2e::run(place));
    step("mesh drills", &|| drills::short(place));
    step("matrix", &|| matrix::run(place, &matrix::Options::default()));
    step("matrix through gateway and sidecar: legacy servers over stdio", &|| {
        matrix::run(place, &matrix::Options::mesh("2025-11-25-stdio"))
    });
    step("sim, bridge", &|| sim::short(place));
    step("sim, sync", &|| sim::short_sync(place));
    step("bench, short", &|| bench::short(place));
    step("bench mesh, short", &|| bench::short_mesh(place));
    step("bench, instructions", &|| instructions::run(place, false));
    step("listens, short", &|| bench::short_listens(place));
    step("parked, short", &|| bench::short_parked(place));
    if !options.offline {
        step("conformance of the fixture alone", &|| {
            conformance::run(place, &conformance::Options::alone())
        });
        step("conformance", &|| {
            conformance::run(place, &conformance::Options::default())
        });
        step("conformance through gateway and sidecar: a server over stdio", &|| {
            conformance::run(place, &conformance::Options::mesh("stdio"))
        });
        step("conformance across eras", &|| {
            conformance::run(place, &conformance::Options::across())
        });
        step("conformance, client half", &|| {
            conformance::run(place, &conformance::Options::client())
        });
        step("conformance, client half through gateway and sidecar", &|| {
            conformance::run(place, &conformance::Options::mesh_client())
        });
        step("traces", &|| traces::run(place));
        step("interop", &|| interop::run(place, &interop::Options::default()));
        step("interop, every revision in one view", &|| {
            interop::run(place, &interop::Options::more())
        });
    }
}

/// The worked example answers its own question, and another one from other documents.
fn demo(place: &Place) -> Result<(), Failure> {
    let meshgate = place.program("meshgate")?;
    let answer = |name: &str, arguments: &[&str], words: &[&str]| {
        let log = place.log(name);
        command::run_logged(command::program(place, &meshgate).args(arguments), &log)?;
        let text = std::fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
        match words.iter().find(|word| !text.contains(**word)) {
            None => Ok(()),
            Some(missing) => Err(format!("the answer lacks `{missing}`\n{}", command::tail(&log))),
        }
    };
    let hops = [
        "spiffe://corpassist.mesh/gateway/demo ",
        "spiffe://corpassist.mesh/server/documents/v1 ",
        "spiffe://corpassist.mesh/server/projects/v1 ",
    ];
    answer("demo", &["demo"], &[&["Titan", FIRST_LEAD], &hops[..]].concat())?;
    let question = format!("What is the plan of Project {OTHER_PROJECT}, and who leads it?");
    answer("demo-ask", &["demo", "--ask", &question], &[OTHER_PROJECT, OTHER_LEAD])
}

#[cfg(test)]
mod tests {
    use super::failed_test;

    #[test]
    fn the_names_of_failed_tests_are_found_in_the_log() {
        let lines = [
            "        FAIL [   5.121s] ( 971/1161) meshgate-proxy::upstream_stdio a_test",
            "     TIMEOUT [ 120.001s] meshgate-mcp::scan another",
            "        PASS [   0.1s] (1/2) meshgate-mcp::scan one_that_passes",
            "     Summary [  95.102s] 1161 tests run: 1160 passed, 1 failed, 0 skipped",
        ];
        let found: Vec<_> = lines.into_iter().filter_map(failed_test).collect();
        assert_eq!(
            found,
            ["meshgate-proxy::upstream_stdio a_test", "meshgate-mcp::scan another"]
        );
    }
}
