//! `bench NAME`: builds what is measured and hands over to the bench package, which measures and writes its own table.
//! `bench instructions` counts and compares by itself.

use std::path::Path;

use crate::{Failure, command, instructions, place::Place};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure, and the options of the bench package
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    build(place)?;
    match options.what.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["instructions"] => return instructions::run(place, false),
        ["instructions", "--update"] => return instructions::run(place, true),
        ["instructions", ..] => return Err("`bench instructions` takes `--update` and nothing else".to_owned()),
        _ => {}
    }
    let status = command::program(place, place.program("meshgate-bench")?)
        .args(&options.what)
        .status()
        .map_err(|e| format!("cannot start the bench: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the bench ended with {status}"))
    }
}

/// A run of seconds with the floor and this gateway: the bench works and nobody answers wrongly. It judges no speed.
pub(crate) fn short(place: &Place) -> Result<(), Failure> {
    let mut bench = command::program(place, place.program("meshgate-bench")?);
    command::run_logged(bench.args(["gateway", "--short"]), &place.log("bench-short"))
}

/// The same over two hops: the floor's pair and a whole mesh.
pub(crate) fn short_mesh(place: &Place) -> Result<(), Failure> {
    let mut bench = command::program(place, place.program("meshgate-bench")?);
    command::run_logged(bench.args(["mesh", "--short"]), &place.log("bench-mesh-short"))
}

/// A thousand open listens, a hundred of them unread: nobody misses anything and the memory is what it may be.
pub(crate) fn short_listens(place: &Place) -> Result<(), Failure> {
    let mut bench = command::program(place, place.program("meshgate-bench")?);
    command::run_logged(bench.args(["listens", "--short"]), &place.log("bench-listens"))
}

/// Calls that wait for an answer of their client: each is parked, and none weighs more than it may.
pub(crate) fn short_parked(place: &Place) -> Result<(), Failure> {
    let mut bench = command::program(place, place.program("meshgate-bench")?);
    command::run_logged(bench.args(["parked", "--short"]), &place.log("bench-parked"))
}

/// Optimised as people run it. All at once, because features of shared dependencies are those of one build.
fn build(place: &Place) -> Result<(), Failure> {
    build_with(place, &[])
}

/// The same, with something said to the build scripts.
pub(crate) fn build_with(place: &Place, said: &[(&str, &Path)]) -> Result<(), Failure> {
    let arguments = [
        "build",
        "--release",
        "--quiet",
        "--package",
        "meshgate",
        "--package",
        "meshgate-bench",
        "--package",
        "meshgate-instructions",
        "--package",
        "meshgate-proxy",
    ];
    let status = command::cargo(place, &arguments)
        .envs(said.iter().copied())
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the build ended with {status}"))
    }
}
