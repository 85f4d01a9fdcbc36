//! Files and functions that fit in a head. What is longer is listed with a reason, and the list may only shrink.

use super::{
    Finding,
    source::{self, Source},
};
use crate::{Failure, place::Place};

const FILE_LINES_MAX: usize = 449;
/// Tests are tables of cases, and a table is read by row.
const TEST_FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// A test tells one story from its first line to its last.
const TEST_FUNCTION_LINES_MAX: usize = 110;

/// One exception a line: `path` or `path::function`, then why.
const EXCEPTIONS: &str = include_str!("exceptions.txt");

pub(super) fn check(place: &Place) -> Result<Vec<Finding>, Failure> {
    let mut unused: Vec<&str> = EXCEPTIONS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let mut findings = Vec::new();
    let mut report = |what: String, finding: String| match unused.iter().position(|name| *name == what) {
        Some(at) => {
            unused.remove(at);
        }
        None => findings.push(finding),
    };
    let ours = |file: &&Source| file.is_rust() && !file.is_generated();
    for file in source::all(place)?.iter().filter(ours) {
        let lines = file.text.lines().count();
        let most = if file.is_test() {
            TEST_FILE_LINES_MAX
        } else {
            FILE_LINES_MAX
        };
        if lines > most {
            let finding = format!("{}: {lines} lines, at most {most}; split it by subject", file.path);
            report(file.path.clone(), finding);
        }
        let most = if file.is_test() {
            TEST_FUNCTION_LINES_MAX
        } else {
            FUNCTION_LINES_MAX
        };
        for (name, at, lines) in long_functions(file, most) {
            let finding = format!(
                "{}:{at}: `{name}` has {lines} lines, at most {most}; name its steps",
                file.path
            );
            report(format!("{}::{name}", file.path), finding);
        }
    }
    findings.extend(
        unused
            .iter()
            .map(|name| format!("exceptions.txt: `{name}` is no exception any more; remove it")),
    );
    Ok(findings)
}

/// Name, first line and length. Formatted code closes a body at the indentation of its `fn`.
fn long_functions(file: &Source, most: usize) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let mut long = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let closes =
            |line: &&str| line.trim_end() == format!("{}}}", " ".repeat(indent)) || is_declaration_end(line, indent);
        let Some(length) = lines.iter().skip(at).position(closes).map(|length| length + 1) else {
            continue;
        };
        if length > most {
            long.push((name.to_owned(), at + 1, length));
        }
    }
    long
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    for word in [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "const ",
        "async ",
        "extern \"C\" ",
    ] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

/// A body on one line, or a trait's declaration without a body.
fn is_declaration_end(line: &str, indent: usize) -> bool {
    let depth = line.len() - line.trim_start().len();
    depth == indent && (line.ends_with(';') || line.ends_with(" }"))
}
