//! `sim NAME`: builds the simulation and hands over to it, which plays its worlds and says what was wrong in them.

use crate::{Failure, command, place::Place};

/// What can be simulated, and the package of each.
const BRIDGE: &str = "meshgate-sim";
const SYNC: &str = "meshgate-sim-sync";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to simulate (`bridge` or `sync`), and the options of the simulation
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let (package, words) = match options.what.split_first() {
        Some((what, rest)) if what == "sync" => (SYNC, rest),
        _ => (BRIDGE, &*options.what),
    };
    let built = command::cargo(place, &["build", "--release", "--quiet", "--package", package])
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if !built.success() {
        return Err(format!("the build ended with {built}"));
    }
    let status = command::program(place, place.program(package)?)
        .args(words)
        .status()
        .map_err(|e| format!("cannot start the simulation: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the simulation ended with {status}"))
    }
}

/// Two thousand worlds of the program that is built, one in ten of them twice.
pub(crate) fn short(place: &Place) -> Result<(), Failure> {
    let mut sim = command::program(place, place.program(BRIDGE)?);
    command::run_logged(sim.args(["bridge", "--seeds", "2000"]), &place.log("sim-bridge"))
}

/// Six hundred proxies, twice, of the program that is built.
pub(crate) fn short_sync(place: &Place) -> Result<(), Failure> {
    let mut sim = command::program(place, place.program(SYNC)?);
    let words = [
        "--proxies",
        "600",
        "--servers",
        "40",
        "--gateways",
        "4",
        "--seeds",
        "2",
        "--again",
    ];
    command::run_logged(sim.args(words), &place.log("sim-sync"))
}
