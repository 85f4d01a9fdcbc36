//! The order of modules inside the proxy and the control plane: each may use only those above it, as their `lib.rs` lists
//! them.
//!
//! Inside one crate nothing else keeps modules from growing into one knot. Where a folder's parts sit on both sides of
//! another module, `SPLIT` says so, and the longest name that fits decides.

use super::{Finding, source};
use crate::{Failure, place::Place};

const SOURCES: [&str; 2] = ["crates/proxy/src", "crates/control/src"];
const BEGINS: &str = "// tidy: module order begins";
const ENDS: &str = "// tidy: module order ends";

/// The transports are below the lift, which speaks over them; the facade that chooses between them is above it.
const SPLIT: Split = Split {
    module: "upstream",
    below: &["upstream::limits", "upstream::http", "upstream::stdio"],
    pivot: "lift",
};

struct Split {
    module: &'static str,
    below: &'static [&'static str],
    pivot: &'static str,
}

pub(super) fn check(place: &Place) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    for folder in SOURCES {
        findings.extend(check_crate(place, folder)?);
    }
    Ok(findings)
}

fn check_crate(place: &Place, folder: &str) -> Result<Vec<Finding>, Failure> {
    let library = place.root().join(folder).join("lib.rs");
    let text = std::fs::read_to_string(&library).map_err(|e| format!("cannot read {}: {e}", library.display()))?;
    let order = order(&text).map_err(|e| format!("{folder}/lib.rs: {e}"))?;
    let mut findings = Vec::new();
    for file in source::rust_below(place, folder)? {
        let Some(module) = module_of(folder, &file.path) else {
            continue;
        };
        if file.is_test() {
            continue;
        }
        let Some(own) = rank(&order, &module) else {
            findings.push(format!(
                "{}: not in the module order; list it in {folder}/lib.rs",
                file.path
            ));
            continue;
        };
        let product: String = file
            .product_lines()
            .map(|(_, line)| format!("{}\n", code(line)))
            .collect();
        for used in crate_paths(&product) {
            if rank(&order, &used).is_some_and(|other| other > own) {
                findings.push(format!(
                    "{}: uses crate::{used}, which is below it in the module order",
                    file.path
                ));
            }
        }
    }
    Ok(findings)
}

/// The modules from first to last.
fn order(library: &str) -> Result<Vec<String>, Failure> {
    let (_, rest) = library
        .split_once(BEGINS)
        .ok_or_else(|| format!("no line `{BEGINS}`"))?;
    let (list, _) = rest.split_once(ENDS).ok_or_else(|| format!("no line `{ENDS}`"))?;
    let named = list.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        line.strip_prefix("mod ")?.strip_suffix(';').map(str::to_owned)
    });
    let mut order: Vec<String> = named.filter(|name| name != SPLIT.module).collect();
    if let Some(pivot) = order.iter().position(|name| name == SPLIT.pivot) {
        order.insert(pivot + 1, SPLIT.module.to_owned());
        order.splice(pivot..pivot, SPLIT.below.iter().map(|name| (*name).to_owned()));
    }
    Ok(order)
}

/// `crates/proxy/src/listen/tls.rs` is `listen::tls`; the library itself is above all order.
fn module_of(folder: &str, path: &str) -> Option<String> {
    let module = path.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
    if ["lib", "main"].contains(&module) || module.starts_with("bin/") {
        None
    } else {
        Some(module.replace('/', "::"))
    }
}

/// The place of the longest listed name that this path starts with.
fn rank(order: &[String], path: &str) -> Option<usize> {
    let fits = |name: &str| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
    order
        .iter()
        .enumerate()
        .filter(|(_, name)| fits(name))
        .max_by_key(|(_, name)| name.len())
        .map(|(at, _)| at)
}

/// The line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Every path that starts at `crate::`, groups unfolded.
fn crate_paths(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text.get(..at).unwrap_or_default();
        if before.ends_with("in ") || before.ends_with('$') {
            continue;
        }
        unfold("", text.get(at + "crate::".len()..).unwrap_or_default(), &mut paths);
    }
    paths
}

/// Reads one path, or every path of a group, and returns what follows it.
fn unfold<'a>(prefix: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n']);
            match rest.strip_prefix('}') {
                Some(after) => return after,
                None if rest.is_empty() => return rest,
                None => {
                    let before = rest.len();
                    rest = unfold(prefix, rest, paths);
                    if rest.len() == before {
                        return rest;
                    }
                }
            }
        }
    }
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '*'))
        .unwrap_or(text.len());
    let (segment, rest) = text.split_at(end);
    let path = format!("{prefix}{segment}");
    if segment.ends_with("::") && rest.starts_with('{') {
        return unfold(&path, rest, paths);
    }
    paths.push(path.trim_end_matches(':').to_owned());
    rest.strip_prefix(" as ").map_or(rest, |rest| {
        rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_unfolded_and_renames_passed_over() {
        let text = "use crate::{call::{Reply, Messages as M}, refusal::Refusal};\nlet x = crate::limits::BODY;";
        assert_eq!(
            crate_paths(text),
            ["call::Reply", "call::Messages", "refusal::Refusal", "limits::BODY"]
        );
    }

    #[test]
    fn transports_are_below_the_lift_and_the_facade_above_it() {
        let library = format!("{BEGINS}\npub mod call;\npub mod upstream;\npub mod lift;\npub mod serve;\n{ENDS}");
        let order = order(&library).unwrap();
        assert_eq!(
            order,
            [
                "call",
                "upstream::limits",
                "upstream::http",
                "upstream::stdio",
                "lift",
                "upstream",
                "serve"
            ]
        );
        assert!(rank(&order, "upstream::http::pool").unwrap() < rank(&order, "lift").unwrap());
        assert!(rank(&order, "upstream::probe").unwrap() > rank(&order, "lift::session").unwrap());
    }
}
