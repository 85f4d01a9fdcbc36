//! `fuzz-smoke`: every parser against its corpus and, where the engine is installed, some seconds of fuzzing each.
//!
//! The bodies of the targets are plain functions, so the corpus runs as tests with the stable compiler, everywhere and in
//! seconds. The engine wants cargo-fuzz and a nightly compiler, which not every machine has.

use std::fs;

use crate::{
    Failure,
    command::{cargo, output, run_logged},
    place::Place,
    steps::Steps,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let mut steps = Steps::default();
    steps.run("corpus", || corpus(place));
    if output(&mut cargo(place, &["+nightly", "fuzz", "--version"])).is_err() {
        println!("no engine here: install cargo-fuzz and a nightly compiler to fuzz further");
        return steps.finish();
    }
    for target in targets(place)? {
        let limit = format!("-max_total_time={}", options.seconds);
        let mut engine = cargo(
            place,
            &["+nightly", "fuzz", "run", &target, "--", &limit, "-max_len=4096"],
        );
        steps.run(&format!("fuzz {target}"), || {
            run_logged(&mut engine, &place.log(&format!("fuzz-{target}")))
        });
    }
    steps.finish()
}

/// Every input of the corpus, whole and cut short, without the engine.
pub(crate) fn corpus(place: &Place) -> Result<(), Failure> {
    let mut tests = cargo(
        place,
        &[
            "test",
            "--locked",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--no-default-features",
        ],
    );
    run_logged(&mut tests, &place.log("fuzz-corpus"))
}

/// The names of the targets, from their files.
fn targets(place: &Place) -> Result<Vec<String>, Failure> {
    let folder = place.root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
