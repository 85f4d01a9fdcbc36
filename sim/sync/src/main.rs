//! `meshgate-sim-sync`: ten thousand proxies, their control plane, and what may happen to them.
#![allow(clippy::print_stdout, reason = "a command line tool speaks on its standard output")]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use meshgate_sim_sync::{Plan, page, run};

#[derive(Parser)]
#[command(about = "A control plane and its proxies, on a clock of their own")]
struct Arguments {
    /// Proxies, gateways among them
    #[arg(long, default_value_t = 10_000)]
    proxies: usize,
    /// Servers over which the sidecars are spread
    #[arg(long, default_value_t = 500)]
    servers: usize,
    /// Replicas of the gateway
    #[arg(long, default_value_t = 20)]
    gateways: usize,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Play each seed twice; it must tell the same story
    #[arg(long)]
    again: bool,
    /// Write the page of the first seed into this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut right = true;
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let plan = Plan {
            proxies: arguments.proxies,
            servers: arguments.servers,
            gateways: arguments.gateways.min(arguments.proxies),
            seed,
            plant: None,
        };
        let Some(book) = run(&plan) else {
            println!("the plan cannot be begun");
            return ExitCode::FAILURE;
        };
        let text = page(&plan, &book);
        println!("{text}");
        right &= book.findings.is_empty();
        if arguments.again && run(&plan).is_none_or(|again| again.story != book.story) {
            println!("seed {seed} told another story the second time");
            right = false;
        }
        if let Some(file) = arguments.report.as_ref().filter(|_| seed == arguments.seed)
            && let Err(error) = std::fs::write(file, text)
        {
            println!("cannot write {}: {error}", file.display());
            right = false;
        }
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
