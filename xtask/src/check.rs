//! `test`: everything CI checks, cheapest first, each profile built once.
//!
//! A step that fails does not stop the next ones, because a person who waits for a run wants to know all of it; only
//! what needs a build that failed is left out, and then counts as failed.

use crate::{
    Failure, bench, codegen, command, conformance, e2e, fuzz, instructions, interop, place::Place, setup, steps::Steps,
    tidy,
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
    cargo(&mut steps, "tests", &["nextest", "run", "--workspace", "--locked"]);
    steps.run("fuzz corpus", || fuzz::corpus(place));
    let built = cargo(
        &mut steps,
        "release build",
        &["build", "--release", "--workspace", "--locked"],
    );
    after_build(place, options, built, &mut steps);
    steps.finish()
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
    step("demo", &|| demo(place));
    step("e2e", &|| e2e::run(place));
    step("bench, short", &|| bench::short(place));
    step("bench, instructions", &|| instructions::run(place, false));
    step("listens, short", &|| bench::short_listens(place));
    if !options.offline {
        step("conformance of the fixture alone", &|| {
            conformance::run(place, &conformance::Options::alone())
        });
        step("conformance", &|| {
            conformance::run(place, &conformance::Options::default())
        });
        step("conformance, client half", &|| {
            conformance::run(place, &conformance::Options::client())
        });
        step("interop", &|| interop::run(place, &interop::Options::default()));
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
    answer("demo", &["demo"], &["Titan", FIRST_LEAD])?;
    let question = format!("What is the plan of Project {OTHER_PROJECT}, and who leads it?");
    answer("demo-ask", &["demo", "--ask", &question], &[OTHER_PROJECT, OTHER_LEAD])
}
