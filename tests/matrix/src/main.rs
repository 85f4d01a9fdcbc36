//! Every client revision with every server revision, over stdio and over HTTP, feature by feature, through one gateway.
//!
//! That any client works with any server is the first thing people try, so it is shown for all of them: five client
//! revisions, five server revisions, two ways to reach a server, fifteen features. Each of the 750 cells is an exchange
//! looked at from both ends, or a refusal that the bridge's table lists, looked at just so. Both peers are spelled by
//! hand, so that a mistake in our own reading of the protocol cannot cancel itself out.
//!
//! `matrix run` starts the built gateway with ten servers, which are this program again; `matrix serve` is one of them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard output"
)]

mod cells;
mod client;
mod gateway;
mod merged;
mod page;
mod run;
mod server;
mod wire;
mod witness;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, in one sentence for a person.
type Failure = String;

#[derive(Parser)]
#[command(
    name = "matrix",
    about = "Every client revision with every server revision",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run all cells through a gateway and print the page
    Run(run::Options),
    /// Be one server over stdio
    Serve {
        #[arg(long)]
        name: String,
        #[arg(long)]
        revision: String,
        #[arg(long)]
        witness: String,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Run(options) => run::run(&options),
        Verb::Serve {
            name,
            revision,
            witness,
        } => witness::Notes::there(&witness)
            .and_then(|notes| server::stdio::serve(&server::Peer::new(name, revision, notes))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
