//! `matrix`: every client revision with every server revision, through the built gateway.
//!
//! The cells and their peers are in `tests/matrix`. What is kept in the tree is the page they write, so that a cell that
//! changes its mark changes a file.

use std::fs;

use crate::{Failure, command, place::Place};

const PAGE: &str = "docs/reference/matrix.md";
/// The same through two hops.
const MESH_PAGE: &str = "docs/reference/matrix-mesh.md";

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Write the page into the tree instead of comparing it
    #[arg(long)]
    update: bool,
    /// Only the servers whose name contains this, such as `2025-11-25-stdio`; compares nothing
    #[arg(long)]
    only: Option<String>,
    /// Through a gateway and a sidecar beside each server, with mTLS between them
    #[arg(long)]
    mesh: bool,
}

impl Options {
    /// Through two hops, for the servers whose name contains this.
    pub(crate) fn mesh(only: &str) -> Self {
        Self {
            only: Some(only.to_owned()),
            mesh: true,
            ..Self::default()
        }
    }
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    let (program, meshgate) = (place.program("matrix")?, place.program("meshgate")?);
    let scratch = place.scratch(if options.mesh { "matrix-mesh" } else { "matrix" })?;
    let written = scratch.join("matrix.md");
    let mut matrix = command::program(place, program);
    matrix
        .arg("run")
        .arg("--meshgate")
        .arg(meshgate)
        .arg("--scratch")
        .arg(scratch.join("gateway"))
        .arg("--page")
        .arg(&written);
    if let Some(only) = &options.only {
        matrix.arg("--only").arg(only);
    }
    if options.mesh {
        matrix.arg("--mesh");
    }
    let (kept, verb) = if options.mesh {
        (MESH_PAGE, "matrix --mesh")
    } else {
        (PAGE, "matrix")
    };
    let log = place.log(if options.mesh { "matrix-mesh" } else { "matrix" });
    let outcome = command::run_logged(&mut matrix, &log);
    let said = fs::read_to_string(&log).map_err(|e| format!("cannot read {}: {e}", log.display()))?;
    println!("{said}");
    // The gateway's own log stays only where somebody has to read it.
    outcome.map_err(|_| format!("cells failed; the gateway's log is in {}", scratch.display()))?;
    let page = fs::read_to_string(&written);
    fs::remove_dir_all(&scratch).map_err(|e| format!("cannot remove {}: {e}", scratch.display()))?;
    if options.only.is_some() {
        return Ok(());
    }
    let page = page.map_err(|e| format!("cannot read the page: {e}"))?;
    let file = place.root().join(kept);
    if options.update {
        return fs::write(&file, page).map_err(|e| format!("cannot write {kept}: {e}"));
    }
    if fs::read_to_string(&file).is_ok_and(|before| before == page) {
        Ok(())
    } else {
        Err(format!("{kept} says something else; run `cargo xtask {verb} --update`"))
    }
}
