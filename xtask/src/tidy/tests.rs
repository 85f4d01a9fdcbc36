//! The tree itself is the test case.
use super::*;

fn place() -> Place {
    Place::find().unwrap()
}

fn holds(rule: Rule) {
    let findings = rule(&place()).unwrap();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn every_crate_depends_on_lower_layers_only() {
    holds(layers::check);
}

#[test]
fn modules_of_the_proxy_use_only_those_above_them() {
    holds(modules::check);
}

#[test]
fn files_and_functions_fit_in_a_head() {
    holds(size::check);
}

#[test]
fn no_banned_word_or_construct_is_in_the_tree() {
    holds(words::check);
}

#[test]
fn every_file_named_in_the_architecture_exists() {
    holds(architecture::check);
}

#[test]
fn the_page_of_checks_lists_what_tests_show() {
    holds(checks::check);
}
