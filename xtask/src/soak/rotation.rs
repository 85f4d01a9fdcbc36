//! `soak rotation`: certificates that live for seconds, renewed under calls for as long as there is time.
//!
//! The test of the short form says what must hold and runs it for seven renewals; here the same test goes on for more, so
//! that the two cannot drift apart.

use std::fs;
use std::time::Instant;

use clap::Args;

use crate::{
    Failure,
    command::{cargo, run_logged},
    place::Place,
};

const TEST: &str = "d26_a106_a_gateway_and_a_sidecar_outlive_their_certificates_under_load_without_a_failed_call";
const REPORT: &str = "tests/e2e/results/rotation.md";
/// How the test begins the line that counts its calls.
const COUNTED: &str = "rotation: ";

#[derive(Args)]
pub(crate) struct Options {
    /// How often both certificates are renewed, once a second
    #[arg(long, default_value_t = 600)]
    rounds: usize,
    /// Calls a second, whether those before are answered or not
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Write the committed report
    #[arg(long)]
    write: bool,
}

pub(super) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let log = place.log("soak-rotation");
    let began = Instant::now();
    let mut test = cargo(
        place,
        // As people run it: unoptimised, a machine with two cores makes a fifth of the calls.
        &[
            "test",
            "--release",
            "-p",
            "meshgate-proxy",
            "--test",
            "mesh_rotation",
            TEST,
        ],
    );
    test.env("MESHGATE_ROTATION_RATE", options.rate.to_string());
    test.args(["--", "--exact", "--nocapture"]);
    run_logged(test.env("MESHGATE_ROTATIONS", options.rounds.to_string()), &log)?;
    let text = fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    let counted = text.lines().find_map(|line| line.strip_prefix(COUNTED));
    let counted = counted.ok_or_else(|| format!("{} counts no calls", log.display()))?;
    let report = format!(
        "# Certificates of three seconds\n\nWritten by `cargo xtask soak rotation --write`. A client calls through a gateway \
         and a sidecar, each with\na certificate that lives for 3 s and is renewed every second, so that whatever is not \
         renewed fails\nwithin the run. Calls are made at a constant rate, whether those before are answered or not. Each call must be answered and must have reached the server once.\n\n{counted}, in \
         {} s with the build.\n",
        began.elapsed().as_secs()
    );
    println!("{report}");
    if options.write {
        let path = place.root().join(REPORT);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(|e| e.to_string())?;
        fs::write(&path, report).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    Ok(())
}
