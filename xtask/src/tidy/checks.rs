//! The page of security checks: which rule, and which tests show it.
//!
//! A test that shows a check carries its number in its name (`d05_…`, `a011_…`), so the page can be written from the tree
//! and cannot claim what nothing shows.

use std::collections::BTreeMap;

use super::{Finding, source};
use crate::{Failure, place::Place};

/// The generated page.
pub(crate) const PAGE: &str = "docs/reference/checks.md";

/// One check a line: its number, then what must hold.
const CHECKS: &str = include_str!("checks.txt");

const HEAD: &str = "# Security checks and the tests that show them

Written by `cargo xtask codegen` from the names of tests; do not edit. A test that shows a check carries the check's number
at the head of its name.

| check | what must hold | shown by |
|---|---|---|
";

pub(super) fn check(place: &Place) -> Result<Vec<Finding>, Failure> {
    let shown = shown(place)?;
    let wanted = wanted();
    let mut findings: Vec<Finding> = wanted
        .iter()
        .filter(|(id, _)| !shown.contains_key(**id))
        .map(|(id, rule)| format!("{id}: no test shows it ({rule}); name one `{}_…`", prefix(id)))
        .collect();
    for (id, tests) in shown.iter().filter(|(id, _)| !wanted.contains_key(id.as_str())) {
        findings.push(format!(
            "{id}: shown by `{}` but not listed; add it to xtask/src/tidy/checks.txt",
            tests.join("`, `")
        ));
    }
    let present = std::fs::read_to_string(place.root().join(PAGE)).unwrap_or_default();
    if present != page(place)? {
        findings.push(format!("{PAGE}: stale; run `cargo xtask codegen`"));
    }
    Ok(findings)
}

/// The page as the tree has it now.
pub(crate) fn page(place: &Place) -> Result<String, Failure> {
    let shown = shown(place)?;
    let mut page = HEAD.to_owned();
    for (id, rule) in wanted() {
        let tests: Vec<String> = shown
            .get(id)
            .into_iter()
            .flatten()
            .map(|test| format!("`{test}`"))
            .collect();
        page.push_str(&format!("| {id} | {rule} | {} |\n", tests.join("<br>")));
    }
    Ok(page)
}

fn wanted() -> BTreeMap<&'static str, &'static str> {
    let lines = CHECKS.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(id, rule)| (id, rule.trim()))
        .collect()
}

/// Check number to the names of the tests that carry it.
fn shown(place: &Place) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in source::all(place)?.iter().filter(|file| file.is_rust()) {
        for name in test_names(&file.text) {
            for id in ids_of(name) {
                shown.entry(id).or_default().push(name.to_owned());
            }
        }
    }
    for tests in shown.values_mut() {
        tests.sort();
        tests.dedup();
    }
    Ok(shown)
}

/// The names of functions; in a file that registers its tests by name, the texts that could be one.
fn test_names(text: &str) -> Vec<&str> {
    if text.contains("libtest_mimic") {
        return text.split('"').skip(1).step_by(2).collect();
    }
    let functions = text
        .lines()
        .filter_map(|line| line.trim_start().trim_start_matches("async ").strip_prefix("fn "));
    functions.filter_map(|rest| rest.split('(').next()).collect()
}

/// `d39_a047_a_header_block_that_does_not_end` carries `D-39` and `A-047`.
fn ids_of(name: &str) -> impl Iterator<Item = String> {
    name.split('_').map_while(id_of)
}

fn id_of(word: &str) -> Option<String> {
    let (letter, digits) = word.split_at_checked(1)?;
    let length = match letter {
        "d" => 2,
        "a" => 3,
        _ => return None,
    };
    let fits = digits.len() == length && digits.chars().all(|c| c.is_ascii_digit());
    fits.then(|| format!("{}-{digits}", letter.to_uppercase()))
}

fn prefix(id: &str) -> String {
    id.to_lowercase().replace('-', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_head_of_a_name() {
        let ids = |name: &str| ids_of(name).collect::<Vec<_>>();
        assert_eq!(ids("d05_a_thing"), ["D-05"]);
        assert_eq!(ids("a082_d22_a_thing"), ["A-082", "D-22"]);
        assert!(ids("d5_a_thing").is_empty());
        assert!(ids("deadline_d05").is_empty());
    }
}
