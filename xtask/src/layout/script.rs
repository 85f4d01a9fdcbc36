//! The order as the linker reads it: names of sections with stars where another build has something else.
//!
//! What differs from build to build is taken out of a name: the hash of a crate's metadata, and references back into the
//! name, which are counted in bytes (<https://doc.rust-lang.org/rustc/symbol-mangling/v0.html>), the number of an
//! implementation, the hash of a promoted local, and the version that a C library puts before its names. What stays tells functions apart by the types they were made
//! for, and holds in another directory, with another compiler and after an edit elsewhere.

use super::order::Group;

/// Stands before the groups.
const HEAD: &str = "/* Functions that run lie together: where calls go first, then what starts each part. Written by `cargo xtask layout`. */\n\
                    SECTIONS {\n.text.first : {\n";
const FOOT: &str = "}\n}\nINSERT BEFORE .text;\n";
/// Curves in assembler are there twice, and the tool that watches has a processor without what the quicker form needs.
const OLDER: &str = "_alt.o(.text)";
const NEWER: &str = ".o(.text)";
/// The same, where forms share no name.
const NEWER_TOO: &str = "*-chacha20_poly1305_x86_64.o(.text)";
/// Before names of the cryptographic library, with its version behind it.
const VERSIONED: &str = "aws_lc_";

/// The whole script.
pub(super) fn text(groups: &[Group]) -> String {
    let mut text = HEAD.to_owned();
    text.push_str(&format!("{NEWER_TOO}\n"));
    for group in groups {
        let mut lines: Vec<String> = group
            .sections
            .iter()
            .filter_map(|section| {
                if section.name == ".text" {
                    return member(&section.file).map(|member| format!("*{member}(.text)"));
                }
                pattern(&section.name)
            })
            .collect();
        lines.sort_unstable();
        lines.dedup();
        let (files, names): (Vec<String>, Vec<String>) = lines.into_iter().partition(|line| line.ends_with("(.text)"));
        text.push_str(&format!("/* {} */\n", group.title));
        for line in files {
            if let Some(name) = line.strip_suffix(OLDER) {
                text.push_str(&format!("{name}{NEWER}\n"));
            }
            text.push_str(&format!("{line}\n"));
        }
        if !names.is_empty() {
            text.push_str(&format!("*(\n{}\n)\n", names.join("\n")));
        }
    }
    text + FOOT
}

/// The object file of what was written in assembler, without the hash before its name.
fn member(file: &str) -> Option<&str> {
    let (_, member) = file.strip_suffix(')')?.rsplit_once('(')?;
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let known = member
        .split_once('-')
        .filter(|(hash, _)| hash.chars().all(|c| c.is_ascii_hexdigit()));
    known
        .and_then(|(hash, _)| member.get(hash.len()..))
        .filter(|rest| plain(rest))
}

/// The name of a section as it is in any build.
fn pattern(name: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    if !name.chars().all(plain) {
        return None;
    }
    let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
    let (mut pattern, mut rest) = (String::with_capacity(name.len()), name);
    while let Some(first) = rest.chars().next() {
        if let Some((kept, after)) = variable(rest) {
            pattern.push_str(kept);
            pattern.push_str("*_");
            rest = after;
        } else {
            pattern.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
    if name.contains("._R") {
        pattern.push('*');
    }
    Some(pattern)
}

/// What differs from build to build at the beginning of this: what is kept before the star, and what follows the `_` after it.
fn variable(text: &str) -> Option<(&str, &str)> {
    let digits = |text: &str, most: std::ops::RangeInclusive<usize>| {
        let (digits, after) = text.split_once('_')?;
        let fits = most.contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_alphanumeric());
        fits.then_some(after).map(str::len)
    };
    let tail = |length: usize| text.get(text.len() - length..);
    if let Some(after) = text
        .strip_prefix("Cs")
        .and_then(|rest| digits(rest, 5..=12))
        .and_then(tail)
    {
        // An identifier begins with its length.
        return after.starts_with(|c: char| c.is_ascii_digit()).then_some(("Cs", after));
    }
    if let Some(after) = text
        .strip_prefix('B')
        .and_then(|rest| digits(rest, 1..=3))
        .and_then(tail)
    {
        return Some(("B", after));
    }
    // The number of an implementation in its module: another feature or an edit gives it another one.
    for kind in ["Ms", "Xs"] {
        if let Some(after) = text
            .strip_prefix(kind)
            .and_then(|rest| digits(rest, 0..=2))
            .and_then(tail)
        {
            return after.starts_with(['C', 'N']).then_some((kind, after));
        }
    }
    let mut after = text.strip_prefix(VERSIONED)?;
    for _ in 0..3 {
        let (number, rest) = after.split_once('_')?;
        number.parse::<u32>().ok()?;
        after = rest;
    }
    Some((VERSIONED, after))
}

#[cfg(test)]
mod tests {
    use super::{member, pattern};

    #[test]
    fn what_another_build_has_otherwise_is_a_star() {
        let two_builds = [
            ".text._RINvMs_NtCsgEmfK2I1SDS_4core3stre4trimNvMNtNtB5_4char7methodsc13is_whitespaceECsjrHSEGnQ3l9_3std.llvm.293",
            ".text._RINvMsd_NtCsaaaaaaaaaa_4core3stre4trimNvMNtNtBx_4char7methodsc13is_whitespaceECsbbbbbbbbbbb_3std",
        ];
        let wanted = ".text._RINvMs*_NtCs*_4core3stre4trimNvMNtNtB*_4char7methodsc13is_whitespaceECs*_3std*";
        for name in two_builds {
            assert_eq!(pattern(name).as_deref(), Some(wanted));
        }
        assert_eq!(
            pattern(".text.aws_lc_0_47_0_EVP_sha256").as_deref(),
            Some(".text.aws_lc_*_EVP_sha256")
        );
        assert_eq!(pattern(".text.je_malloc").as_deref(), Some(".text.je_malloc"));
        assert_eq!(pattern(".text.a b"), None);
    }

    #[test]
    fn a_file_of_assembler_keeps_its_name() {
        assert_eq!(member("/x/liba.rlib(6cca901d1d9807b8-p256-asm.o)"), Some("-p256-asm.o"));
        assert_eq!(member("/usr/lib/crt1.o"), None);
    }
}
