//! `bench instructions`: what a call costs in instructions, compared with figures that are committed.
//!
//! Instruction counts are the one measurement that a busy machine does not disturb, so they are the one that a test can
//! hold on to. `meshgate-instructions` does one thing at a time under callgrind, which counts inside one function of it.
//! The figures are in `bench/instructions/baseline.json`. More than the tolerance above one fails; much less asks for a
//! new figure, so that what was won is kept. A bench library would add a runner that every clone has to build first, and
//! keeps its figures where they cannot be committed; all that is needed of it is one switch of callgrind.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::{
    Failure,
    command::{output, program, run_logged},
    place::Place,
    steps::table,
};

/// How much more than the figure is still the same: a few branches of the allocator, another order of wake-ups.
const TOLERANCE_PERCENT: f64 = 5.0;
/// Measurements that write what the clock says: how many digits a duration has, and which of a histogram's buckets it
/// falls into, is another from run to run.
const OF_THE_CLOCK: [(&str, f64); 1] = [("records-50", 12.0)];
/// The function whose instructions count, with all that it calls.
const COUNTED: &str = "--toggle-collect=meshgate_instructions::measurements::measured*";
/// Measurements that run at a time.
const AT_ONCE: usize = 2;

/// What is built before, and does one thing at a time.
const PROGRAM: &str = "meshgate-instructions";

type Counts = BTreeMap<String, u64>;

/// Compares the built program with the figures, or with `update` writes new ones.
pub(crate) fn run(place: &Place, update: bool) -> Result<(), Failure> {
    let found = counted(place)?;
    let file = place.root().join("bench/instructions/baseline.json");
    let known = read(&file).or_else(|failure| if update { Ok(Counts::new()) } else { Err(failure) })?;
    println!("{}", shown(&known, &found));
    if update {
        return write(&file, &found);
    }
    judge(&known, &found)
}

/// Counts of the program as it was built.
fn counted(place: &Place) -> Result<Counts, Failure> {
    if output(program(place, "valgrind").arg("--version")).is_err() {
        return Err("valgrind is missing; install the package `valgrind` of your system".to_owned());
    }
    let names = output(&mut program(place, place.program(PROGRAM)?))?;
    let (names, next): (Vec<&str>, _) = (names.lines().collect(), AtomicUsize::new(0));
    let scratch = place.scratch("instructions")?;
    let counting = || -> Result<Counts, Failure> {
        let mut counts = Counts::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            counts.insert((*name).to_owned(), count(place, &scratch, name)?);
        }
        Ok(counts)
    };
    let mut all = Counts::new();
    thread::scope(|scope| {
        let counters: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(counting)).collect();
        for counter in counters {
            let counted = counter.join().map_err(|_| "a measurement panicked".to_owned())?;
            all.extend(counted?);
        }
        Ok::<_, Failure>(())
    })?;
    Ok(all)
}

/// One measurement under callgrind.
fn count(place: &Place, scratch: &Path, name: &str) -> Result<u64, Failure> {
    let out = scratch.join(name);
    let mut valgrind = program(place, "valgrind");
    valgrind
        .args(["--tool=callgrind", "--collect-atstart=no", COUNTED])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(place.program(PROGRAM)?)
        .arg(name);
    run_logged(&mut valgrind, &place.log(&format!("instructions-{name}")))?;
    let text = fs::read_to_string(&out).map_err(|e| format!("cannot read {}: {e}", out.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    match total.and_then(|total| total.trim().parse().ok()) {
        Some(0) | None => Err(format!("callgrind counted nothing of `{name}`")),
        Some(count) => Ok(count),
    }
}

fn read(file: &PathBuf) -> Result<Counts, Failure> {
    let text =
        fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}; write it with --update", file.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
}

fn write(file: &PathBuf, counts: &Counts) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(counts).map_err(|e| format!("cannot write the figures: {e}"))?;
    fs::write(file, text + "\n").map_err(|e| format!("cannot write {}: {e}", file.display()))
}

/// How much more than its figure a measurement may cost.
fn tolerance(name: &str) -> f64 {
    let found = OF_THE_CLOCK.iter().find(|(of_the_clock, _)| *of_the_clock == name);
    found.map_or(TOLERANCE_PERCENT, |(_, percent)| *percent)
}

fn percent(known: u64, found: u64) -> f64 {
    (found as f64 / known.max(1) as f64 - 1.0) * 100.0
}

fn shown(known: &Counts, found: &Counts) -> comfy_table::Table {
    let mut table = table(&["measurement", "figure", "now", "change"]);
    for (name, count) in found {
        let (figure, change) = match known.get(name) {
            Some(figure) => (figure.to_string(), format!("{:+.1} %", percent(*figure, *count))),
            None => ("–".to_owned(), "new".to_owned()),
        };
        table.add_row([name.clone(), figure, count.to_string(), change]);
    }
    table
}

/// Fails for what costs more than it may, and for what has no figure or is not measured any more.
fn judge(known: &Counts, found: &Counts) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for (name, count) in found {
        match known.get(name).map(|figure| percent(*figure, *count)) {
            Some(more) if more > tolerance(name) => wrong.push(format!("`{name}` costs {more:.1} % more instructions")),
            Some(more) if more < -2.0 * tolerance(name) => {
                println!(
                    "`{name}` costs {:.1} % less; keep that with `cargo xtask bench instructions --update`",
                    -more
                );
            }
            Some(_) => {}
            None => wrong.push(format!("`{name}` has no figure")),
        }
    }
    wrong.extend(
        known
            .keys()
            .filter(|name| !found.contains_key(*name))
            .map(|name| format!("`{name}` is not measured")),
    );
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{}; find out why, or accept it with `cargo xtask bench instructions --update`",
            wrong.join("; ")
        ))
    }
}
