//! The code of the contract between the control plane and proxies, from `proto/`.
//!
//! It is written here and committed instead of by a build script, so that building Meshgate needs neither `protoc` nor a
//! protobuf compiler, and a change of the contract is seen in a review.

use std::fs;

use crate::{Failure, place::Place};

/// Where the code goes, below the top of the tree.
pub(super) const CODE: &str = "crates/sync/src/proto/meshgate.v1.rs";

const FOLDER: &str = "proto";
const FILES: [&str; 2] = ["meshgate/v1/sync.proto", "meshgate/v1/enrolment.proto"];

/// The code as the contract has it now.
pub(super) fn code(place: &Place) -> Result<String, Failure> {
    let set = protox::compile(FILES, [place.root().join(FOLDER)]).map_err(|e| format!("{FOLDER}: {e}"))?;
    let out = place.scratch("codegen")?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(&out)
        .compile_fds(set)
        .map_err(|e| format!("{FOLDER}: {e}"))?;
    let written = out.join("meshgate.v1.rs");
    let code = fs::read_to_string(&written).map_err(|e| format!("cannot read {}: {e}", written.display()))?;
    let _ = fs::remove_dir_all(&out);
    Ok(code)
}
