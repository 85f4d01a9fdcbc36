//! `meshgate`: what people type.
//!
//! The program parses, asks and prints; what it asks is decided in the libraries. One thing comes before everything
//! else: executed as the supervisor of a server's process it must be a small single-threaded program, so that path leaves
//! before a runtime, a logger or the argument parser exists.

mod api;
mod apply;
mod call;
mod cert;
mod check;
mod cli;
mod client;
mod delete;
mod demo;
mod describe;
mod diff;
mod exit;
mod fetch;
mod findings;
mod get;
mod health;
mod import;
mod join;
mod mesh;
mod out;
mod reference;
mod reload;
mod source;
mod state;
mod status;
mod tools;
mod up;

use std::process::ExitCode;

use clap::Parser as _;
use meshgate_proxy::process::log;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Where the system gives huge pages unasked we refuse: an idle gateway would hold six times the memory it uses. A
    // kernel that does not know the switch is no reason to stop.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let mut args = std::env::args_os().skip(1);
    if args
        .next()
        .is_some_and(|first| first == meshgate_proxy::supervise::SUBCOMMAND)
    {
        return meshgate_proxy::supervise::main(args);
    }
    match cli::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
