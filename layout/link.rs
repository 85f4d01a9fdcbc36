//! Build script of the programs: where their functions lie, and how their relocations are stored.
//!
//! What an idle program weighs is decided by that. A sidecar that joins, serves and waits runs a quarter of its code; laid
//! side by side this quarter is a third of the pages that the kernel maps when it lies scattered, and a call meets its next
//! step in a page that is mapped already. Why so and not otherwise: `docs/adr/0020-functions-that-run-lie-together.md`.
//!
//! Everything here is left out where it could do harm: the order fits names of one kind, packed relocations need a C library
//! that reads them, and another linker may not know the words. The program is the same then, only larger in memory.
#![allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]

use std::{env, path::Path, process::Command};

/// Leaves everything out: for whoever wants the linker's own order, to compare or to run with an older C library.
const PLAIN: &str = "MESHGATE_PLAIN_LINK";
/// A directory where the linker writes down what it has put where: `cargo xtask layout` reads it.
const MAPS: &str = "MESHGATE_LINK_MAPS";
/// The kind of names that the order is written for; `.cargo/config.toml` asks for it.
const NAMES: &str = "symbol-mangling-version=v0";
/// What in the compiler's flags says that somebody has chosen a linker.
const CHOSEN: [&str; 3] = ["linker", "fuse-ld", "link-self-contained"];
/// The first release of the GNU C library whose loader reads packed relocations (its NEWS for 2.36, `DT_RELR`).
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-env-changed={PLAIN}");
    println!("cargo::rerun-if-env-changed={MAPS}");
    let order = Path::new(&said("CARGO_MANIFEST_DIR")).join("../../layout/functions.ld");
    println!("cargo::rerun-if-changed={}", order.display());
    let maps = said(MAPS);
    if !maps.is_empty() {
        let map = Path::new(&maps).join(said("CARGO_PKG_NAME")).with_extension("map");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-demangle");
        println!("cargo::rustc-link-arg-bins=-Xlinker");
        println!("cargo::rustc-link-arg-bins=-Map={}", map.display());
    }
    if said(PLAIN).is_empty() && optimised() && for_this_linker() {
        println!("cargo::rustc-link-arg-bins=-T");
        println!("cargo::rustc-link-arg-bins={}", order.display());
        if said("HOST") == said("TARGET") && library().is_some_and(|version| version >= PACKED_SINCE) {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

/// What cargo or a person says, or nothing.
fn said(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

fn optimised() -> bool {
    said("PROFILE") == "release" && said("OPT_LEVEL") != "0"
}

/// The linker that comes with the compiler, and names that the order fits.
fn for_this_linker() -> bool {
    let target = ["ARCH", "OS", "ENV"].map(|part| said(&format!("CARGO_CFG_TARGET_{part}")));
    let flags = said("CARGO_ENCODED_RUSTFLAGS");
    target == ["x86_64", "linux", "gnu"]
        && said("RUSTC_LINKER").is_empty()
        && flags.contains(NAMES)
        && !CHOSEN.iter().any(|word| flags.contains(word))
        && comes_with_the_compiler().unwrap_or_default()
}

/// Whether the compiler brings the linker that it uses unasked on this target. Another one reads the order too, and takes
/// minutes for it.
fn comes_with_the_compiler() -> Option<bool> {
    let output = Command::new(said("RUSTC")).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    let linkers = Path::new(sysroot.trim()).join("lib/rustlib").join(said("TARGET"));
    Some(linkers.join("bin/gcc-ld/ld.lld").is_file())
}

/// The C library of this machine, which the program is linked with.
fn library() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
