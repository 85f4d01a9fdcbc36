//! `fuzz`: every parser against its corpus, against inputs near it, and with the engine for as long as there is time.
//!
//! The bodies of the targets are plain functions, so the corpus and its neighbours run as tests with any compiler, in
//! seconds: that is the part of `test`. The engine watches coverage, learns for minutes or hours, and leaves a report. It is
//! built without a sanitizer, for there is no unsafe code of ours to look at, and so it needs no nightly compiler.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Failure,
    command::{cargo, run_logged, tail},
    place::Place,
    setup,
    steps::Steps,
};

/// The longest input that the engine makes up.
const INPUT_BYTES_MAX: &str = "-max_len=4096";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 10, conflicts_with = "runs")]
    seconds: u64,
    /// Executions for each target, however long they take
    #[arg(long)]
    runs: Option<u64>,
    /// Only these targets
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Write what was run and found into this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What the engine says about one target.
struct Campaign {
    target: String,
    executions: u64,
    per_second: u64,
    edges: u64,
    inputs: u64,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    setup::cargo_tool(place, "fuzz", setup::CARGO_FUZZ)?;
    let mut steps = Steps::default();
    steps.run("corpus and its neighbours", || corpus(place));
    let mut done = Vec::new();
    for target in targets(place)? {
        if options.target.is_empty() || options.target.contains(&target) {
            steps.run(&format!("fuzz {target}"), || {
                done.push(campaign(place, options, &target)?);
                Ok(())
            });
        }
    }
    if done.is_empty() {
        return Err(format!(
            "no target is named {}; see fuzz/README.md",
            options.target.join(", ")
        ));
    }
    let text = report(options, &done);
    println!("{text}");
    if let Some(file) = &options.report {
        fs::write(file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    }
    steps.finish()
}

/// Every input of the corpus, whole, cut short and changed, without the engine.
pub(crate) fn corpus(place: &Place) -> Result<(), Failure> {
    let mut tests = cargo(
        place,
        &["test", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml"],
    );
    run_logged(tests.arg("--no-default-features"), &place.log("fuzz-corpus"))
}

/// One target with the engine; what it learns stays beside the log, what breaks is kept in `fuzz/artifacts`.
fn campaign(place: &Place, options: &Options, target: &str) -> Result<Campaign, Failure> {
    let log = place.log(&format!("fuzz-{target}"));
    let learned = place.scratch(&format!("fuzz-{target}"))?;
    let limit = match options.runs {
        Some(runs) => format!("-runs={runs}"),
        None => format!("-max_total_time={}", options.seconds),
    };
    let mut engine = cargo(place, &["fuzz", "run", "--sanitizer", "none", target]);
    engine.env("CARGO_TARGET_DIR", place.fuzz_target());
    engine.arg(&learned).arg(place.root().join("fuzz/corpus").join(target));
    engine.args(["--", &limit, INPUT_BYTES_MAX, "-print_final_stats=1"]);
    let ran = run_logged(&mut engine, &log);
    let _ = fs::remove_dir_all(&learned);
    ran?;
    let text = fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    read_figures(target, &text).ok_or_else(|| format!("the engine printed no figures\n{}", tail(&log)))
}

/// The engine's last figures.
fn read_figures(target: &str, text: &str) -> Option<Campaign> {
    let stat = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit(' ').next()?.trim().parse().ok()
    };
    let done = text.lines().rev().find(|line| line.contains(" cov: "))?;
    let after = |mark: &str| {
        let rest = done.split(mark).nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some(Campaign {
        target: target.to_owned(),
        executions: stat("stat::number_of_executed_units:")?,
        per_second: stat("stat::average_exec_per_sec:")?,
        edges: after(" cov: ")?,
        inputs: after(" corp: ")?,
    })
}

fn report(options: &Options, done: &[Campaign]) -> String {
    let limit = match options.runs {
        Some(runs) => format!("{runs} executions"),
        None => format!("{} s", options.seconds),
    };
    let mut text = format!(
        "# Fuzzing\n\nWritten by `cargo xtask fuzz --report`. Each target ran for {limit} from its committed corpus, inputs up to \
         4,096 bytes; no assertion failed.\n`scan` compares every input with `serde_json`, and `http1` with `httparse`: \
         differential executions, in all {}.\n\n| target | executions | per second | edges covered | inputs kept |\n|---|---|---|---|---|\n",
        done.iter()
            .filter(|c| ["scan", "http1"].contains(&c.target.as_str()))
            .map(|c| c.executions)
            .sum::<u64>(),
    );
    for c in done {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            c.target, c.executions, c.per_second, c.edges, c.inputs
        );
    }
    text
}

/// The names of the targets, from their files.
fn targets(place: &Place) -> Result<Vec<String>, Failure> {
    let folder: &Path = &place.root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::read_figures;

    #[test]
    fn the_engines_last_figures_are_read() {
        let text = "#2 INITED cov: 10 ft: 11 corp: 1/2b exec/s: 0\n#90\tDONE   cov: 1463 ft: 5 corp: 27/51b lim: 9 exec/s: 45\n\
                    stat::number_of_executed_units: 90\nstat::average_exec_per_sec:     45\nstat::new_units_added: 3\n";
        let read = read_figures("scan", text).map(|c| (c.executions, c.per_second, c.edges, c.inputs));
        assert_eq!(read, Some((90, 45, 1463, 27)));
    }
}
