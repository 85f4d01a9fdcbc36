//! What one configuration changes about another, field by field, as a person would say it.
//!
//! Before a change is let loose, its author wants to read it; after one was taken over, the log and the status say what
//! it was. Neither may give a secret away: what was written in place of a secret is only ever said to have changed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::snapshot::Snapshot;

mod facts;
mod reload;
mod shrink;

#[cfg(test)]
mod tests;

use facts::{Fact, Object};
pub use reload::{Running, reload_findings};
pub use shrink::{Shrink, shrinks};

/// One object that is added, removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// `Mesh`, `Gateway`, `Server`, `View` or `Application`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What happens to it.
    pub how: How,
    /// Its fields that differ; empty unless it is changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// The field, as a path below `spec`.
    pub path: String,
    /// What it was; absent when there was none, or when it may be a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is; absent when there is none, or when it may be a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether the value may be a secret and is not shown.
    #[serde(default, skip_serializing_if = "is_false")]
    pub secret: bool,
    /// Whether it takes effect at the next start only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub at_restart: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What `after` changes about `before`, in the order mesh, gateway, servers, views, applications, each by name.
pub fn diff(before: &Snapshot, after: &Snapshot) -> Vec<Change> {
    let (before, after) = (facts::objects(before), facts::objects(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |key: &&facts::Key| {
        let (how, fields) = match (before.get(*key), after.get(*key)) {
            (None, _) => (How::Added, Vec::new()),
            (_, None) => (How::Removed, Vec::new()),
            (Some(before), Some(after)) => (How::Changed, changed_fields(before, after)),
        };
        let is_news = how != How::Changed || !fields.is_empty();
        is_news.then(|| Change {
            kind: key.0.name().to_owned(),
            name: key.1.to_string(),
            how,
            fields,
        })
    };
    keys.iter().filter_map(change).collect()
}

/// Fields of `wanted` that differ from what a process was `started` with and that it can only take over when it starts.
pub fn waits_for_restart(started: &Snapshot, wanted: &Snapshot) -> Vec<(String, FieldChange)> {
    let all = diff(started, wanted).into_iter();
    all.flat_map(|change| {
        let title = format!("{}/{}", change.kind, change.name);
        let fields = change.fields.into_iter().filter(|field| field.at_restart);
        fields.map(move |field| (title.clone(), field)).collect::<Vec<_>>()
    })
    .collect()
}

fn changed_fields(before: &Object, after: &Object) -> Vec<FieldChange> {
    let by_path = |object: &Object| -> BTreeMap<String, Fact> {
        let facts = object.facts.iter();
        facts.map(|fact| (fact.path.clone(), fact.clone())).collect()
    };
    let (old, new) = (by_path(before), by_path(after));
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut fields: Vec<FieldChange> = paths
        .into_iter()
        .filter_map(|path| field_change(path, old.get(path), new.get(path)))
        .collect();
    if fields.is_empty() && before.whole != after.whole {
        fields.push(FieldChange {
            path: "spec".to_owned(),
            before: None,
            after: None,
            secret: true,
            at_restart: false,
        });
    }
    fields
}

fn field_change(path: &str, before: Option<&Fact>, after: Option<&Fact>) -> Option<FieldChange> {
    if before.map(|fact| &fact.value) == after.map(|fact| &fact.value) {
        return None;
    }
    let shown = |fact: Option<&Fact>| fact.and_then(|fact| fact.shown.clone());
    let (old, new) = (shown(before), shown(after));
    // Where all that differs is hidden, two equal texts would only puzzle.
    let secret = old == new || [before, after].into_iter().flatten().any(|fact| fact.shown.is_none());
    Some(FieldChange {
        path: path.to_owned(),
        before: old.clone().filter(|_| old != new),
        after: new.clone().filter(|_| old != new),
        secret,
        at_restart: [before, after].into_iter().flatten().any(|fact| fact.at_restart),
    })
}
