//! Children under the supervisor, as real processes.
//!
//! One program in four parts: the tests; the supervisor that they start (`supervise-child`); the children that
//! misbehave (`child WHAT`); and a gateway that is there to be killed (`gateway WHAT`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "upstream_stdio/bad.rs"]
mod bad;
#[path = "upstream_stdio/busy.rs"]
mod busy;
#[path = "upstream_stdio/children.rs"]
mod children;
mod common;
#[path = "upstream_stdio/events.rs"]
mod events;
#[path = "upstream_stdio/facade.rs"]
mod facade;
#[path = "upstream_stdio/framing.rs"]
mod framing;
#[path = "upstream_stdio/matrix.rs"]
mod matrix;
#[path = "upstream_stdio/orphans.rs"]
mod orphans;
#[path = "upstream_stdio/pipes.rs"]
mod pipes;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use meshgate_model::EnvValue;
use meshgate_proxy::supervise;
use meshgate_proxy::upstream::limits::WireLimits;
use meshgate_proxy::upstream::stdio::{StdioCommand, StdioLink};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = args.iter().filter_map(|arg| arg.to_str()).collect();
    match words[..] {
        [supervise::SUBCOMMAND, ..] => return supervise::main(args.into_iter().skip(1)),
        ["child", what, ref rest @ ..] => return children::main(what, rest),
        ["gateway", what, record] => return orphans::gateway(what, record),
        _ => {}
    }
    let mut trials = pipes::trials();
    trials.extend(orphans::trials());
    trials.extend(facade::trials());
    trials.extend(framing::trials());
    trials.extend(events::trials());
    trials.extend(busy::trials());
    trials.extend(matrix::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A test that runs on a runtime of its own.
fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(test());
        Ok(())
    })
}

/// This program as a child that does `what`.
fn command(what: &[&str]) -> StdioCommand {
    StdioCommand {
        server: Arc::from("scripted"),
        program: std::env::current_exe().unwrap().to_str().unwrap().to_owned(),
        args: ["child"].iter().chain(what).map(|arg| (*arg).to_owned()).collect(),
        env: vec![("SCRIPTED".to_owned(), EnvValue::Literal(Arc::from("yes")))],
        cwd: None,
    }
}

async fn spawn(what: &[&str]) -> Arc<StdioLink> {
    spawn_with(what, WireLimits::default()).await
}

async fn spawn_with(what: &[&str], limits: WireLimits) -> Arc<StdioLink> {
    StdioLink::spawn(&command(what), &supervise::SupervisorProgram::default(), limits)
        .await
        .unwrap()
}

/// Asks again and again, for as long as a machine that does much else may need.
async fn soon(what: &str, mut check: impl FnMut() -> bool) {
    let given_up = Instant::now() + Duration::from_secs(20);
    while !check() {
        assert!(Instant::now() < given_up, "not within twenty seconds: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process lives; a zombie does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}
