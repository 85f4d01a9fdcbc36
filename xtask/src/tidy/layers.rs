//! The layers of crates: a crate may depend on lower layers only, so that a reader can understand it without the upper ones.
//!
//! Read from `cargo metadata`, because a manifest says only half of it. Also checked: the official SDK is a peer in tests
//! and examples and never part of the product, and every package takes the lints of the workspace.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;
use crate::{
    Failure,
    command::{cargo, output},
    place::Place,
};

/// What each crate may use of ours. Two crates of one layer never use each other.
const MAY_USE: &[(&str, &[&str])] = &[
    ("meshgate-mcp", &[]),
    ("meshgate-model", &[]),
    ("meshgate-bridge", &["meshgate-mcp"]),
    ("meshgate-identity", &["meshgate-model"]),
    ("meshgate-telemetry", &["meshgate-model"]),
    ("meshgate-sync", &["meshgate-model"]),
    (
        "meshgate-proxy",
        &[
            "meshgate-mcp",
            "meshgate-model",
            "meshgate-bridge",
            "meshgate-identity",
            "meshgate-telemetry",
            "meshgate-sync",
        ],
    ),
    (
        "meshgate-control",
        &[
            "meshgate-model",
            "meshgate-identity",
            "meshgate-telemetry",
            "meshgate-sync",
        ],
    ),
    (
        "meshgate",
        &[
            "meshgate-mcp",
            "meshgate-model",
            "meshgate-bridge",
            "meshgate-identity",
            "meshgate-telemetry",
            "meshgate-sync",
            "meshgate-proxy",
            "meshgate-control",
        ],
    ),
    ("meshgate-testkit", &[]),
];

/// Only tests may use it.
const TESTKIT: &str = "meshgate-testkit";

/// Packages that must not be in what people run.
const NEVER_IN_PRODUCT: &[&str] = &["rmcp", "meshgate-testkit", "meshgate-fixtures", "meshgate-matrix"];

pub(super) fn check(place: &Place) -> Result<Vec<Finding>, Failure> {
    let text = output(&mut cargo(place, &["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).map_err(|e| format!("cannot read cargo metadata: {e}"))?;
    let mut findings = Vec::new();
    for package in array(&metadata, "/packages") {
        let name = string(package, "/name");
        let manifest = string(package, "/manifest_path");
        if !manifest.starts_with(&*place.root().to_string_lossy()) {
            continue;
        }
        check_dependencies(&name, package, &mut findings);
        let manifest_text = std::fs::read_to_string(&manifest).map_err(|e| format!("cannot read {manifest}: {e}"))?;
        if !manifest_text.contains("[lints]\nworkspace = true") {
            findings.push(format!(
                "{name}: takes no workspace lints; add `[lints] workspace = true` to its manifest"
            ));
        }
    }
    check_product(&metadata, &mut findings);
    Ok(findings)
}

fn check_dependencies(name: &str, package: &Value, findings: &mut Vec<Finding>) {
    let Some((_, allowed)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
        if string(package, "/manifest_path").contains("/crates/") {
            findings.push(format!("{name}: has no layer; give it one in xtask/src/tidy/layers.rs"));
        }
        return;
    };
    for dependency in array(package, "/dependencies") {
        let used = string(dependency, "/name");
        let for_tests = string(dependency, "/kind") == "dev";
        let ours = used == "meshgate" || used.starts_with("meshgate-");
        if !ours || allowed.contains(&used.as_str()) || (for_tests && used == TESTKIT) {
            continue;
        }
        let remedy = if used == TESTKIT {
            "make it a dev-dependency"
        } else {
            "only lower layers; move the code"
        };
        findings.push(format!("{name}: depends on {used}; {remedy}"));
    }
}

/// Walks what `meshgate` links, without dev-dependencies.
fn check_product(metadata: &Value, findings: &mut Vec<Finding>) {
    let mut names = BTreeMap::new();
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in array(metadata, "/packages") {
        names.insert(string(package, "/id"), string(package, "/name"));
    }
    for node in array(metadata, "/resolve/nodes") {
        let linked = array(node, "/deps")
            .filter(|dep| array(dep, "/dep_kinds").any(|kind| kind.pointer("/kind").is_some_and(Value::is_null)));
        uses.insert(string(node, "/id"), linked.map(|dep| string(dep, "/pkg")).collect());
    }
    let mut open: Vec<String> = names
        .iter()
        .filter(|(_, name)| *name == "meshgate")
        .map(|(id, _)| id.clone())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        if let Some(name) = names.get(&id).filter(|name| NEVER_IN_PRODUCT.contains(&name.as_str())) {
            findings.push(format!("meshgate: links {name}; it is for tests and examples only"));
        }
        open.extend(uses.get(&id).into_iter().flatten().cloned());
    }
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn string(value: &Value, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
