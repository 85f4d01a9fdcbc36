//! `cargo xtask`: the only entry point to everything that is not the product itself.
//!
//! What CI runs and what a person runs must be the same words, or the two drift apart. Every verb prints a table or a
//! figure last and exits non-zero when it falls short, so that a script needs no other knowledge of it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its standard output"
)]

mod bench;
mod check;
mod codegen;
mod command;
mod conformance;
mod drills;
mod e2e;
mod fuzz;
mod gateway;
mod http;
mod instructions;
mod interop;
mod layout;
mod matrix;
mod place;
mod setup;
mod sim;
mod soak;
mod steps;
mod tidy;
mod traces;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, in one sentence for a person.
type Failure = String;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Set up, check and measure Meshgate",
    disable_version_flag = true
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the other verbs need into the cache; quick when it is there
    Setup,
    /// Everything CI checks, in its order
    Test(check::Options),
    /// Layers, module order, file and function length, words, and the pages that name files and tests
    Tidy,
    /// The official conformance suite through a one-server view: both revisions, HTTP and stdio; or its client half
    Conformance(conformance::Options),
    /// One scenario of the suite's client half: a gateway before this server, and the client before the gateway
    #[command(hide = true)]
    ThroughGateway {
        /// A sidecar between the gateway and the server
        #[arg(long)]
        mesh: bool,
        server: String,
    },
    /// What a caller is told against what really ran, with processes that die at the worst moment
    E2e,
    /// A mesh of whole processes, and what operators fear done to it: `mesh drills`
    #[command(subcommand)]
    Mesh(drills::What),
    /// Thousands of seeded worlds around the real gateway: `sim bridge [--seed N | --seeds N --from N]`
    Sim(sim::Options),
    /// What only shows after a thousand times: `soak reload`
    #[command(subcommand)]
    Soak(soak::What),
    /// Unmodified public servers and clients through a merged view
    Interop(interop::Options),
    /// Every client revision with every server revision, stdio and HTTP, feature by feature, looked at from both ends
    Matrix(matrix::Options),
    /// One call is one trace over every hop, told to a real receiver of OTLP
    Traces,
    /// Measure: `bench gateway`, `bench instructions [--update]`, and whatever else the bench package offers
    Bench(bench::Options),
    /// Watch which functions run and write down the order in which programs are linked, or with --check see that it fits
    Layout(layout::Options),
    /// Write the generated files again, or with --check compare them
    Codegen(codegen::Options),
    /// Run each fuzz target: over its corpus, then with the engine for some time
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let outcome = place::Place::find().and_then(|place| match Arguments::parse().verb {
        Verb::Setup => setup::run(&place),
        Verb::Test(options) => check::run(&place, &options),
        Verb::Tidy => tidy::run(&place),
        Verb::Conformance(options) => conformance::run(&place, &options),
        Verb::ThroughGateway { mesh, server } => conformance::drive(&place, gateway::Runs::meshed(mesh), &server),
        Verb::E2e => e2e::run(&place),
        Verb::Mesh(what) => drills::run(&place, &what),
        Verb::Sim(options) => sim::run(&place, &options),
        Verb::Soak(what) => soak::run(&place, &what),
        Verb::Interop(options) => interop::run(&place, &options),
        Verb::Matrix(options) => matrix::run(&place, &options),
        Verb::Traces => traces::run(&place),
        Verb::Bench(options) => bench::run(&place, &options),
        Verb::Layout(options) => layout::run(&place, &options),
        Verb::Codegen(options) => codegen::run(&place, &options),
        Verb::Fuzz(options) => fuzz::run(&place, &options),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
