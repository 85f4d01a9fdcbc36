//! The binary that stands next to servers: a gateway or a sidecar, and nothing that could sign, store or administer.
//!
//! It takes the words of `meshgate gateway` and `meshgate sidecar` and runs the same code. What it leaves out is the point: it
//! links no authority, no database and no API, so whoever breaks out of a server finds none of them beside it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meshgate_proxy::process::{GatewayArgs, ProcessError, SidecarArgs, TypedError, run_gateway, run_sidecar};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Parts of a Meshgate mesh that stand next to servers and applications.
#[derive(Debug, Parser)]
#[command(name = "meshgate-proxy", version, about, max_term_width = 100)]
struct Cli {
    /// Directory for what this part keeps [default: one for it in the XDG state folder].
    #[arg(long, global = true, env = "MESHGATE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway of a mesh.
    Gateway(GatewayArgs),
    /// Run a sidecar of a mesh, beside a server.
    Sidecar(SidecarArgs),
}

fn main() -> ExitCode {
    // Where the system gives huge pages unasked we refuse: an idle sidecar would hold six times the memory it uses. A
    // kernel that does not know the switch is no reason to stop.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let mut args = std::env::args_os().skip(1);
    if args
        .next()
        .is_some_and(|first| first == meshgate_proxy::supervise::SUBCOMMAND)
    {
        return meshgate_proxy::supervise::main(args);
    }
    let cli = Cli::parse();
    let state = cli.state.as_deref();
    let ended = match &cli.command {
        Command::Gateway(args) => run_gateway(args, state),
        Command::Sidecar(args) => run_sidecar(args, state),
    };
    ended.unwrap_or_else(|error| report(&error))
}

/// Tells the person and gives the code.
#[allow(clippy::print_stderr, reason = "the person who typed the command reads it there")]
fn report(error: &ProcessError) -> ExitCode {
    if let ProcessError::Typed(TypedError::Findings { findings, .. }) = error {
        for finding in findings {
            eprintln!("{finding}");
        }
    }
    eprintln!("error: {error}");
    if let Some(remedy) = error.remedy() {
        eprintln!("  help: {remedy}");
    }
    ExitCode::from(error.code())
}
