//! `meshgate-sim bridge`: many seeds, or the story of one.
#![allow(clippy::print_stdout, reason = "a command line tool speaks on its standard output")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::{Args, Parser, Subcommand};
use meshgate_sim::{Outcome, Plant, run};
use parking_lot::Mutex;

#[derive(Parser)]
#[command(about = "Seeded worlds around the real gateway")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The era bridge: clients, legacy servers that ask, timers and losses
    Bridge(Options),
}

#[derive(Args)]
struct Options {
    /// Tell the story of this seed
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One in so many seeds runs twice and must tell the same story
    #[arg(long, default_value_t = 10)]
    again: u64,
    /// A fault to be found
    #[arg(long)]
    plant: Option<Plant>,
}

fn main() -> ExitCode {
    let What::Bridge(options) = Arguments::parse().what;
    let right = match options.seed {
        Some(seed) => tell(seed, options.plant),
        None => campaign(&options),
    };
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(seed: u64, plant: Option<Plant>) -> bool {
    match run(seed, plant) {
        Err(why) => {
            println!("seed {seed} cannot be begun: {why}");
            false
        }
        Ok(outcome) => {
            for line in &outcome.story {
                println!("{line}");
            }
            println!(
                "seed {seed}: story {:016x}, {} findings",
                outcome.hash(),
                outcome.findings.len()
            );
            for finding in &outcome.findings {
                println!("  {finding}");
            }
            outcome.findings.is_empty()
        }
    }
}

/// What a seed has shown to be wrong.
fn wrongs(seed: u64, options: &Options, counts: &Mutex<BTreeMap<&'static str, u64>>) -> Vec<String> {
    let outcome = match run(seed, options.plant) {
        Ok(outcome) => outcome,
        Err(why) => return vec![why],
    };
    for (what, times) in &outcome.counts {
        *counts.lock().entry(what).or_default() += times;
    }
    let mut findings = outcome.findings.clone();
    if options.again > 0 && seed.is_multiple_of(options.again) {
        let again = run(seed, options.plant).map_or(0, |outcome: Outcome| outcome.hash());
        if again != outcome.hash() {
            findings.push("told another story the second time".to_owned());
        }
    }
    findings
}

fn campaign(options: &Options) -> bool {
    let began = Instant::now();
    let (next, right) = (AtomicU64::new(options.from), AtomicBool::new(true));
    let counts = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= options.from + options.seeds {
                return;
            }
            let findings = wrongs(seed, options, &counts);
            if !findings.is_empty() {
                right.store(false, Ordering::Relaxed);
                println!("seed {seed}: {}", findings.join("; "));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    for (what, times) in counts.lock().iter() {
        println!("{times:>9} {what}");
    }
    let right = right.load(Ordering::Relaxed);
    println!(
        "{} seeds from {} in {:.1} s: {}",
        options.seeds,
        options.from,
        began.elapsed().as_secs_f64(),
        if right { "nothing wrong" } else { "WRONG" }
    );
    right
}
