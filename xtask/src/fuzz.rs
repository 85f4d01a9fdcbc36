//! `fuzz-smoke`: every fuzz target for some seconds, so that a parser that panics on easy input is found before a push.
//!
//! cargo-fuzz wants a nightly compiler. Where there is none the targets are at least compiled, so that they cannot rot.

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
    let can_fuzz = output(&mut cargo(place, &["+nightly", "fuzz", "--version"])).is_ok();
    for target in targets(place)? {
        let limit = format!("-max_total_time={}", options.seconds);
        let mut command = if can_fuzz {
            cargo(place, &["+nightly", "fuzz", "run", &target, "--", &limit])
        } else {
            cargo(
                place,
                &["check", "--manifest-path", "fuzz/Cargo.toml", "--bin", &target],
            )
        };
        let name = if can_fuzz {
            format!("fuzz {target}")
        } else {
            format!("compile {target} (no nightly cargo-fuzz)")
        };
        steps.run(&name, || {
            run_logged(&mut command, &place.log(&format!("fuzz-{target}")))
        });
    }
    steps.finish()
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
