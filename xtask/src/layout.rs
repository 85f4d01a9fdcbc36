//! `layout`: watches which functions run, and writes down in what order the programs are to be linked.
//!
//! The order is in `layout/functions.ld` and is used by every optimised build (`layout/link.rs`). It grows old slowly: what
//! is new or has another name lies where the linker puts it, and costs pages. `layout --check`, which is a step of the test
//! command, says when it no longer fits.

mod order;
mod placed;
mod ran;
mod script;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use self::{order::Watched, ran::Ran};
use crate::{
    Failure, bench,
    command::{output, program, run_logged},
    place::Place,
};

/// The programs that are laid out.
const PROGRAMS: [&str; 2] = ["meshgate", "meshgate-proxy"];
/// The parts that are watched, and the program of each.
const ROLES: [(&str, &str); 3] = [
    ("control", "meshgate"),
    ("gateway", "meshgate-proxy"),
    ("sidecar", "meshgate-proxy"),
];
/// Bytes of code that lie in order when the order fits: 4.2 MiB do in the build that it was recorded with.
const ORDERED_MIN: u64 = 3 << 20;
const SCRIPT: &str = "layout/functions.ld";
/// Where the build script has the linker write its map.
const MAPS: &str = "MESHGATE_LINK_MAPS";
/// The section that the script fills.
const SECTION: &str = ".text.first";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only look whether the programs that were built follow the order
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(place: &Place, options: &Options) -> Result<(), Failure> {
    if options.check {
        return check(place);
    }
    if output(program(place, "valgrind").arg("--version")).is_err() {
        return Err("valgrind is missing; install the package `valgrind` of your system".to_owned());
    }
    let scratch = place.scratch("layout")?;
    bench::build_with(place, &[(MAPS, &scratch)])?;
    let programs = wrapped(place, &scratch)?;
    let mut rehearsal = program(place, place.program("meshgate-bench")?);
    rehearsal
        .arg("rehearse")
        .arg(format!("--meshgate={}", programs.join("meshgate").display()));
    run_logged(&mut rehearsal, &place.log("layout"))?;
    let watched = watched(&scratch)?;
    let groups = order::groups(&watched);
    for group in &groups {
        let bytes: u64 = group.sections.iter().map(|section| section.size).sum();
        println!(
            "{}: {} functions, {} KiB",
            group.title,
            group.sections.len(),
            bytes / 1024
        );
    }
    let path = place.root().join(SCRIPT);
    fs::write(&path, script::text(&groups)).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    println!("written to {SCRIPT}; the next optimised build uses it");
    Ok(())
}

/// The programs under callgrind, by the names under which the bench looks for them.
fn wrapped(place: &Place, scratch: &Path) -> Result<PathBuf, Failure> {
    let programs = scratch.join("programs");
    let failed = |e: std::io::Error| format!("cannot write {}: {e}", programs.display());
    fs::create_dir(&programs).map_err(failed)?;
    for name in PROGRAMS {
        let (wrapper, real) = (programs.join(name), place.program(name)?);
        // The second word of each part's arguments says which part it is.
        let text = format!(
            "#!/bin/sh\nexec valgrind --tool=callgrind --demangle=no \"--callgrind-out-file={}/$2.%p\" \"{}\" \"$@\"\n",
            scratch.display(),
            real.display()
        );
        fs::write(&wrapper, text).map_err(failed)?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(programs)
}

/// What was seen of each part.
fn watched(scratch: &Path) -> Result<Vec<Watched>, Failure> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
    let mut files: Vec<PathBuf> = fs::read_dir(scratch)
        .map_err(|e| format!("cannot read {}: {e}", scratch.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort_unstable();
    let mut watched = Vec::new();
    for (role, name) in ROLES {
        let map = placed::read(&read(&scratch.join(format!("{name}.map")))?);
        let before = watched.len();
        for file in files
            .iter()
            .filter(|file| file.file_stem().is_some_and(|stem| stem == role))
        {
            watched.push(Watched {
                role,
                ran: Ran::read(&read(file)?),
                placed: map.clone(),
            });
        }
        if watched.len() == before {
            return Err(format!("callgrind wrote nothing about a {role}"));
        }
    }
    Ok(watched)
}

/// Whether the programs as they were built have what runs in one piece.
pub(crate) fn check(place: &Place) -> Result<(), Failure> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        println!("programs are laid out for x86_64 Linux only");
        return Ok(());
    }
    for name in PROGRAMS {
        let sections = output(program(place, "readelf").arg("-SW").arg(place.program(name)?))?;
        let bytes = size(&sections).unwrap_or_default();
        if bytes < ORDERED_MIN {
            return Err(format!(
                "{name} has {bytes} bytes of code in order, at least {ORDERED_MIN} are wanted; write the order anew with `cargo xtask layout`, and build without RUSTFLAGS of your own"
            ));
        }
        println!("{name}: {bytes} bytes of code in order");
    }
    Ok(())
}

/// The size of the section, as `readelf -SW` shows it: `[ n] name type address offset size`.
fn size(sections: &str) -> Option<u64> {
    let mut words = sections.lines().find_map(|line| {
        let mut words = line.split(']').nth(1)?.split_whitespace();
        (words.next() == Some(SECTION)).then_some(words)
    })?;
    u64::from_str_radix(words.nth(3)?, 16).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_size_of_the_section_is_read_in_hexadecimal() {
        let shown = "  [16] .text.first       PROGBITS        000000000056a780 569780 432fb1 00  AX  0   0 64\n";
        assert_eq!(super::size(shown), Some(0x0043_2fb1));
        assert_eq!(super::size("  [17] .text PROGBITS 0 0 1 00 AX 0 0 64\n"), None);
    }
}
