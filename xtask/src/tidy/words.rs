//! Words and constructs that this tree does without.
//!
//! A vague name hides that nobody decided what a thing is for; an ignored test shows nothing; a detached task has no owner
//! who would notice its end; and what must be pure says so by what it cannot name.

use super::{
    Finding,
    source::{self, Source},
};
use crate::{Failure, place::Place};

/// Words that name nothing, refused in names of types, modules and files.
const VAGUE: &[&str] = &[
    "manager",
    "helper",
    "helpers",
    "util",
    "utils",
    "handler",
    "processor",
    "misc",
    "common",
];

/// Crates without IO, clock or entropy: both are arguments there.
const PURE: &[&str] = &[
    "crates/model/src/",
    "crates/mcp/src/",
    "crates/bridge/src/",
    "crates/sync/src/",
];
const IMPURE: &[&str] = &[
    "std::fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "std::process",
    "std::thread",
    "std::env::",
    "tokio",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
];

/// Constructs refused in product code, with the remedy.
const REFUSED: &[(&str, &str)] = &[("tokio::spawn(", "give the task an owner: a JoinSet or a TaskTracker")];

/// Notes to oneself, spelled in two halves so that this file passes its own rule.
const NOTES: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK:")];

pub(super) fn check(place: &Place) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for file in source::all(place)?.into_iter().filter(|file| !file.is_generated()) {
        notes(&file, &mut findings);
        if file.is_rust() {
            constructs(&file, &mut findings);
        }
        if file.is_rust() && !file.is_test() {
            names(&file, &mut findings);
        }
    }
    Ok(findings)
}

fn notes(file: &Source, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        let at = index + 1;
        for (head, tail) in NOTES {
            let note = format!("{head}{tail}");
            if words_of(line).any(|word| word == note.trim_end_matches(':')) && line.contains(&note) {
                findings.push(format!("{}:{at}: a note `{note}`; do it or open an issue", file.path));
            }
        }
        for home in ["/home", "/root"].iter().filter(|_| !file.is_test()) {
            if line.contains(&format!("{home}/")) {
                findings.push(format!(
                    "{}:{at}: a path into somebody's home; derive it from $HOME",
                    file.path
                ));
            }
        }
    }
}

fn names(file: &Source, findings: &mut Vec<Finding>) {
    let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if VAGUE.contains(&stem) {
        findings.push(format!("{}: a file called `{stem}`; say what is in it", file.path));
    }
    for (at, line) in file.product_lines() {
        let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
        let declares = matches!(words.next(), Some("struct" | "enum" | "trait" | "mod" | "type"));
        let Some(name) = words.next().filter(|_| declares) else {
            continue;
        };
        let name = name
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .next()
            .unwrap_or_default();
        for part in parts(name) {
            if VAGUE.contains(&part.as_str()) {
                findings.push(format!(
                    "{}:{at}: `{name}` says `{part}`; say what it is for",
                    file.path
                ));
            }
        }
    }
}

fn constructs(file: &Source, findings: &mut Vec<Finding>) {
    if file.path.starts_with("xtask/src/tidy/") {
        return;
    }
    let pure = PURE.iter().any(|crate_path| file.path.starts_with(crate_path)) && !file.is_test();
    let product = file.path.starts_with("crates/") && !file.path.starts_with("crates/testkit/") && !file.is_test();
    for (index, line) in file.text.lines().enumerate() {
        let at = index + 1;
        let code = line.trim_start();
        if code.starts_with("#[ignore") {
            findings.push(format!(
                "{}:{at}: an ignored test shows nothing; make it pass or remove it",
                file.path
            ));
        }
        if ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code"]
            .iter()
            .any(|word| code.contains(word))
            && !code.starts_with("//")
        {
            findings.push(format!(
                "{}:{at}: unsafe is forbidden; find a crate that is safe",
                file.path
            ));
        }
    }
    for (at, line) in file.product_lines() {
        let code = line.split("//").next().unwrap_or_default();
        for (construct, remedy) in REFUSED.iter().filter(|_| product) {
            if code.contains(construct) {
                findings.push(format!("{}:{at}: `{construct}`; {remedy}", file.path));
            }
        }
        for word in IMPURE.iter().filter(|word| pure && code.contains(**word)) {
            findings.push(format!(
                "{}:{at}: `{word}` in a crate without IO or clock; take it as an argument",
                file.path
            ));
        }
    }
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_'))
}

/// `CallHandler` and `call_handler` both have the parts `call` and `handler`.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut().filter(|_| c != '_') {
            last.extend(c.to_lowercase());
        }
    }
    parts
}
