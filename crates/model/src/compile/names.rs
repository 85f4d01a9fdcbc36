//! Names: their grammar, and that each means one thing.

use std::collections::BTreeMap;

use super::Given;
use super::report::Report;
use crate::finding::codes;
use crate::parse::tree::steps;
use crate::parse::{Document, Spec};
use crate::role::Role;

const NAME_CHARS_MAX: usize = 63;

pub(super) fn check(given: Given<'_>, report: &mut Report) {
    let Given { documents, role, .. } = given;
    let one_gateway = matches!(role, Role::Alone);
    let mut seen: BTreeMap<(&str, &str), &Document> = BTreeMap::new();
    let mut single: BTreeMap<&str, &Document> = BTreeMap::new();
    for document in documents {
        grammar(document, report);
        let kind = document.spec.kind();
        let name = document.metadata.name.as_str();
        let at = (document, steps!["metadata", "name"]);
        let alone = match document.spec {
            Spec::Mesh(_) => true,
            Spec::Gateway(_) => one_gateway,
            Spec::Server(_) | Spec::View(_) | Spec::Application(_) => false,
        };
        if alone {
            if let Some(first) = single.insert(kind, document) {
                let message = format!("there is one {kind} only, and `{}` is one already", first.metadata.name);
                report.error(at, codes::ONE_ONLY, message, "join the two documents");
            }
        } else if seen.insert((kind, name), document).is_some() {
            report.error(
                at,
                codes::NAME_TWICE,
                format!("there are two documents of kind {kind} named `{name}`"),
                "rename one of them",
            );
        }
    }
}

fn grammar(document: &Document, report: &mut Report) {
    let rule = "a name has 1 to 63 of `a-z`, `0-9` and `-`, neither first nor last `-`";
    let name = &document.metadata.name;
    if !valid(name) {
        report.error(
            (document, steps!["metadata", "name"]),
            codes::NAME,
            format!("`{name}` is not a name"),
            rule,
        );
    }
    if let Some(team) = document.metadata.team.as_ref().filter(|team| !valid(team)) {
        report.error(
            (document, steps!["metadata", "team"]),
            codes::NAME,
            format!("`{team}` is not the name of a team"),
            rule,
        );
    }
}

fn valid(name: &str) -> bool {
    (1..=NAME_CHARS_MAX).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}
