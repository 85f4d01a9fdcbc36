//! `setup`: what the other verbs need, installed into the cache by package name with the ordinary clients.
//!
//! Each part is skipped when what it would install is there already, told by a stamp that holds the wish; so `setup`
//! is the first step of every test run and costs nothing there.

use std::{fs, path::Path, process::Command};

use crate::{
    Failure,
    command::{cargo, output, program, run_logged},
    place::Place,
    steps::Steps,
};

const CARGO_DENY: &str = "0.20.2";
const CARGO_NEXTEST: &str = "0.9.143";
/// Installed by `fuzz`, which alone needs it.
pub(crate) const CARGO_FUZZ: &str = "0.13.2";
const STAMP: &str = "installed-from";

pub(crate) fn run(place: &Place) -> Result<(), Failure> {
    let mut steps = Steps::default();
    steps.run("cargo-deny", || cargo_tool(place, "deny", CARGO_DENY));
    steps.run("cargo-nextest", || cargo_tool(place, "nextest", CARGO_NEXTEST));
    for (program, package, version) in [
        ("valgrind", "valgrind", "--version"),
        ("openssl", "openssl", "version"),
        ("faketime", "faketime", "--version"),
        ("testssl", "testssl.sh", "--version"),
    ] {
        steps.run(program, || system_package(place, program, package, version));
    }
    steps.run("npm: conformance suite", || npm(place, "conformance"));
    steps.run("npm: interop servers and clients", || npm(place, "interop"));
    steps.run("PyPI: interop servers and clients", || {
        venv(place, "interop", "interop/requirements.txt")
    });
    steps.run("npm and PyPI: servers of every revision", || more_servers(place));
    steps.finish()
}

/// What only `interop --servers more` needs.
pub(crate) fn more_servers(place: &Place) -> Result<(), Failure> {
    npm(place, "interop-more")?;
    venv(place, "interop-more", "interop/more/requirements.txt")?;
    venv(place, "interop-old", "interop/more/requirements-old.txt")
}

/// A cargo subcommand of at least the wanted version: the one on the path, or ours.
pub(crate) fn cargo_tool(place: &Place, name: &str, version: &str) -> Result<(), Failure> {
    if output(cargo(place, &[name, "--version"]).current_dir("/")).is_ok_and(|text| text.contains(version)) {
        return Ok(());
    }
    let package = format!("cargo-{name}");
    let mut install = cargo(
        place,
        &["install", "--locked", &package, "--version", version, "--root"],
    );
    install.arg(place.tools()).env("CARGO_TARGET_DIR", place.tools_target());
    run_logged(&mut install, &place.log(&format!("setup-{package}")))
}

/// A program of one of the system's own packages; `version` is what makes it tell its version.
fn system_package(place: &Place, name: &str, package: &str, version: &str) -> Result<(), Failure> {
    if output(program(place, name).arg(version)).is_ok() {
        return Ok(());
    }
    let mut install = program(place, "apt-get");
    install.args(["install", "--yes", "--no-install-recommends", package]);
    run_logged(&mut install, &place.log(&format!("setup-{name}")))
        .map_err(|failure| format!("{failure}\ninstall the package `{package}` of your system"))
}

/// The npm packages of `tests/<set>/package.json`; a dash in the set's name stands for a folder.
fn npm(place: &Place, set: &str) -> Result<(), Failure> {
    let wish = place
        .root()
        .join("tests")
        .join(set.replace('-', "/"))
        .join("package.json");
    let home = place.npm(set);
    install(&wish, &home, |text| {
        fs::write(home.join("package.json"), text).map_err(|e| format!("cannot write into {}: {e}", home.display()))?;
        let mut npm = program(place, "npm");
        npm.args(["install", "--no-audit", "--no-fund", "--no-package-lock"])
            .current_dir(&home);
        run_logged(&mut npm, &place.log(&format!("setup-npm-{set}")))
    })
}

/// A Python environment with what this file below `tests` says.
pub(crate) fn venv(place: &Place, set: &str, file: &str) -> Result<(), Failure> {
    let wish = place.root().join("tests").join(file);
    let home = place.venv(set);
    install(&wish, &home, |_| {
        let log = place.log(&format!("setup-venv-{set}"));
        run_logged(
            program(place, "python3").args(["-m", "venv", "--clear"]).arg(&home),
            &log,
        )?;
        let mut pip = Command::new(home.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(&wish);
        run_logged(&mut pip, &log)
    })
}

/// Installs into `home` what `wish` says, unless its stamp says that this very wish is installed.
fn install(wish: &Path, home: &Path, work: impl FnOnce(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let text = fs::read_to_string(wish).map_err(|e| format!("cannot read {}: {e}", wish.display()))?;
    let stamp = home.join(STAMP);
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    fs::create_dir_all(home).map_err(|e| format!("cannot create {}: {e}", home.display()))?;
    work(&text)?;
    fs::write(&stamp, &text).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}
