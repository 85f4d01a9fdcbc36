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

mod contract;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only compare; fail when a file in the tree differs
    #[arg(long)]
    check: bool,
    /// Only what needs no built program: the code of the contract and the page of checks
    #[arg(long)]
    contract: bool,
}

impl Options {
    /// Compares and writes nothing.
    pub(crate) fn compare() -> Self {
        Self {
            check: true,
            contract: false,
        }
    }
}

/// The pages that the built program prints, and with which words.
const PAGES: [(&str, &[&str]); 7] = [
    ("docs/reference/meshgate.schema.json", &["schema"]),
    ("docs/reference/kinds.md", &["reference", "kinds"]),
    ("docs/reference/cli.md", &["reference", "cli"]),
    ("docs/reference/eras.md", &["reference", "eras"]),
    ("docs/reference/errors.md", &["reference", "errors"]),
    ("docs/reference/mesh-checks.md", &["reference", "mesh-checks"]),
    ("docs/reference/metrics.md", &["reference", "metrics"]),
];

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    // The page and the contract need no built program, so they come first.
    let mut stale = Vec::new();
    let mut settle = |path, wanted: &str| match settle(place, path, wanted, options.check) {
        Ok(()) => {}
        Err(failure) => stale.push(failure),
    };
    settle(tidy::checks::PAGE, &tidy::checks::page(place)?);
    settle(contract::CODE, &contract::code(place)?);
    if options.contract {
        return told(stale);
    }
    let meshgate = place.newest_program("meshgate")?;
    for (path, words) in PAGES {
        settle(path, &output(program(place, &meshgate).args(words))?);
    }
    told(stale)
}

fn told(stale: Vec<Failure>) -> Result<(), Failure> {
    if stale.is_empty() {
        Ok(())
    } else {
        Err(stale.join("\n"))
    }
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
