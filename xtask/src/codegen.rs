//! `codegen`: the files in the tree that a program writes.
//!
//! They are committed so that a reader finds them, and compared in every test run so that they cannot lie.

use std::fs;

use crate::{
    Failure,
    command::{output, program},
    place::Place,
    tidy,
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only compare; fail when a file in the tree differs
    #[arg(long)]
    check: bool,
}

impl Options {
    /// Compares and writes nothing.
    pub(crate) fn compare() -> Self {
        Self { check: true }
    }
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    // The page needs no built program, so it comes first.
    settle(place, tidy::checks::PAGE, &tidy::checks::page(place)?, options.check)?;
    settle(
        place,
        "docs/reference/meshgate.schema.json",
        &schema(place)?,
        options.check,
    )
}

/// The JSON Schema of the mesh file, as the binary that reads the file prints it.
fn schema(place: &Place) -> Result<String, Failure> {
    let meshgate = place.program("meshgate")?;
    output(program(place, meshgate).arg("schema"))
}

/// Writes one file, or compares it.
fn settle(place: &Place, path: &str, wanted: &str, check: bool) -> Result<(), Failure> {
    let file = place.root().join(path);
    if check {
        let present = fs::read_to_string(&file).unwrap_or_default();
        return if present == wanted {
            Ok(())
        } else {
            Err(format!("{path} is stale; run `cargo xtask codegen`"))
        };
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    }
    fs::write(&file, wanted).map_err(|e| format!("cannot write {path}: {e}"))?;
    println!("{path}: written");
    Ok(())
}
