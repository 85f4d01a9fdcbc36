//! `sim NAME`: builds the simulation and hands over to it, which plays its worlds and says what was wrong in them.

use crate::{Failure, command, place::Place};

const PROGRAM: &str = "meshgate-sim";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to simulate (`bridge`), and the options of the simulation
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let built = command::cargo(place, &["build", "--release", "--quiet", "--package", PROGRAM])
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    if !built.success() {
        return Err(format!("the build ended with {built}"));
    }
    let status = command::program(place, place.program(PROGRAM)?)
        .args(&options.what)
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
    let mut sim = command::program(place, place.program(PROGRAM)?);
    command::run_logged(sim.args(["bridge", "--seeds", "2000"]), &place.log("sim-bridge"))
}
