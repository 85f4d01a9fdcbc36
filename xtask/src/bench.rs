//! `bench NAME`: hands over to the bench package, which measures and writes its own table.

use crate::{Failure, command, place::Place};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to measure, and the options of the bench package
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let status = command::cargo(
        place,
        &["run", "--release", "--quiet", "--package", "meshgate-bench", "--"],
    )
    .args(&options.what)
    .status()
    .map_err(|e| format!("cannot start cargo: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the bench ended with {status}"))
    }
}
