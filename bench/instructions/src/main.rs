//! One measurement of the many: it sets the scene, then does what is counted inside one function that callgrind knows by
//! name. `cargo xtask bench instructions` runs each under callgrind and compares.
//!
//! Time on a busy machine says little about a change of a few per cent. The number of instructions a processor executes
//! for one call says it to the digit, on any machine, so it is what is kept from growing. It is no time: a wait, a cache
//! that misses and a copy of the kernel cost instructions of nobody.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard output"
)]

mod measurements;
mod messages;
mod scene;
mod server;

use std::process::ExitCode;

use clap::Parser;

/// What went wrong, in one sentence for a person.
type Failure = String;

#[derive(Parser)]
#[command(
    name = "meshgate-instructions",
    about = "Do one thing of those whose instructions are counted",
    disable_version_flag = true
)]
struct Arguments {
    /// Which one; without it, all names
    measurement: Option<String>,
}

fn main() -> ExitCode {
    let Some(name) = Arguments::parse().measurement else {
        measurements::ALL.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let found = measurements::ALL.iter().find(|(known, _)| *known == name);
    let outcome = found.map_or_else(|| Err(format!("`{name}` is not measured")), |(_, run)| run());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
