//! Measures gateways side by side, because only a ratio taken in one run on one machine means anything.
//!
//! One program plays every part that is not the gateway under test: the upstream server, the *floor* (the least that any
//! MCP proxy in this language must do), the load generator, and the one who starts them all and writes the table. Each
//! part runs as a process of its own, so that each can be pinned to a core and its processor time read from the outside.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard output"
)]

mod answer;
mod awake;
mod body;
mod child;
mod connection;
mod envelope;
mod fill;
mod floor;
mod gateway;
mod goals;
mod hold;
mod listens;
mod load;
mod machine;
mod measure;
mod mesh;
mod neighbour;
mod pair;
mod pairs;
mod parked;
mod pki;
mod place;
mod process;
mod proxies;
mod report;
mod requests;
mod running;
mod sections;
mod serve;
mod set;
mod stats;
mod target;
mod together;
mod upstream;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, in one sentence for a person.
type Failure = String;

#[derive(Parser)]
#[command(
    name = "meshgate-bench",
    about = "Measure gateways side by side",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Measure every target in turn and write the table
    Gateway(gateway::Options),
    /// Measure two hops in the same way, and the processes of a mesh: gateway, mutual TLS, sidecar
    Mesh(mesh::Options),
    /// Hold very many listens open, some of them unread, and see who notices
    Listens(listens::Options),
    /// Park very many calls at servers that ask something, and see what one weighs
    Parked(parked::Options),
    /// Be the MCP servers behind the targets
    Upstream(upstream::Options),
    /// Be the least proxy: pooled, reads the JSON-RPC envelope, forwards
    Floor(floor::Options),
    /// Be the least two proxies in a row, with mutual TLS between them
    Pair(pair::Options),
    /// Be one of the two
    #[command(hide = true)]
    PairEnd(pair::EndOptions),
    /// Run several programs as one target
    #[command(hide = true)]
    Together(together::Options),
    /// Put load on one address and print what came of it as JSON
    Load(load::Options),
    /// Open sessions and streams and hold them
    Hold(hold::Options),
    /// Be an MCP server over standard input and output
    Child(child::ChildOptions),
    /// Keep a core from falling asleep
    Awake,
    /// Call such a server over its pipes, and print the calls per second
    Pipes(child::LoopOptions),
    /// Run a mesh of processes from start to end and measure nothing, for whoever watches them
    Rehearse(proxies::rehearse::Options),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().part {
        Part::Gateway(options) => gateway::run(&options, &set::HOP),
        Part::Mesh(options) => mesh::run(&options),
        Part::Listens(options) => listens::run(&options),
        Part::Parked(options) => parked::run(&options),
        Part::Upstream(options) => upstream::run(&options),
        Part::Floor(options) => floor::run(&options),
        Part::Pair(options) => pair::run(&options),
        Part::PairEnd(options) => pair::run_end(&options),
        Part::Together(options) => together::run(&options),
        Part::Load(options) => load::run(&options),
        Part::Hold(options) => hold::run(&options),
        Part::Child(options) => child::run(&options),
        Part::Awake => awake::run(),
        Part::Pipes(options) => child::run_loop(&options),
        Part::Rehearse(options) => proxies::rehearse::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
