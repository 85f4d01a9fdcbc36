//! Every file that ARCHITECTURE.md names exists, so that a reader who follows the page arrives.

use super::Finding;
use crate::{Failure, place::Place};

const PAGE: &str = "ARCHITECTURE.md";

/// Where a short name may live: the table of a call's life names files of the proxy.
const BASES: &[&str] = &["", "crates/", "crates/proxy/src/"];

pub(super) fn check(place: &Place) -> Result<Vec<Finding>, Failure> {
    let Ok(text) = std::fs::read_to_string(place.root().join(PAGE)) else {
        return Ok(vec![format!("{PAGE}: missing; it is the map of this tree")]);
    };
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| names_a_file(place, name))
        {
            for path in unfold(name) {
                if !BASES.iter().any(|base| place.root().join(base).join(&path).exists()) {
                    findings.push(format!(
                        "{PAGE}:{}: `{path}` does not exist; correct the page",
                        index + 1
                    ));
                }
            }
        }
    }
    Ok(findings)
}

/// A path of this tree, and not a URL, a media type, a module or a method.
fn names_a_file(place: &Place, name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_alphanumeric() || "/._-{},".contains(c));
    let ends = [".rs", ".md", ".toml", ".yaml", ".json", ".sh", ".txt"]
        .iter()
        .any(|ending| name.ends_with(ending));
    let first = name.split('/').next().unwrap_or_default();
    let inside = name.contains('/') && !first.is_empty() && place.root().join(first).is_dir();
    plain && !name.starts_with('.') && !name.starts_with('/') && (ends || inside)
}

/// `listen/{tls,wire}.rs` is two files.
fn unfold(name: &str) -> Vec<String> {
    let Some((head, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let Some((middle, tail)) = rest.split_once('}') else {
        return vec![name.to_owned()];
    };
    middle
        .split(',')
        .map(|part| format!("{head}{}{tail}", part.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_unfolded() {
        assert_eq!(unfold("listen/{tls,wire}.rs"), ["listen/tls.rs", "listen/wire.rs"]);
        assert_eq!(unfold("serve.rs"), ["serve.rs"]);
    }
}
