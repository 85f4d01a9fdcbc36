//! Whether a change takes away so much that it is more likely a mistake than a wish.
//!
//! A file that a program has written half, or a template that came out empty, is a valid configuration of less. Taken
//! over at once it would be an outage, so nobody's file may take away everything, or more than a share, without
//! somebody saying so.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::snapshot::Snapshot;

/// The share in percent that may go in one change; more needs an allowance.
const SHARE_MAX: usize = 30;
/// A single object may go whatever its share, as long as another is left: taking one out is what people do by hand.
const SINGLE: usize = 1;

/// What a change takes away of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrink {
    /// `servers`, `views` or `applications`.
    pub what: &'static str,
    /// How many there were.
    pub before: usize,
    /// Which of them are gone.
    pub removed: Vec<Arc<str>>,
}

/// The kinds of which `after` takes away too much.
pub fn shrinks(before: &Snapshot, after: &Snapshot) -> Vec<Shrink> {
    let servers = |s: &Snapshot| -> BTreeSet<Arc<str>> { s.servers.keys().cloned().collect() };
    let views = |s: &Snapshot| -> BTreeSet<Arc<str>> { s.views.iter().map(|v| v.name.clone()).collect() };
    let applications = |s: &Snapshot| -> BTreeSet<Arc<str>> { s.applications.iter().map(|a| a.name.clone()).collect() };
    [
        shrink("servers", &servers(before), &servers(after)),
        shrink("views", &views(before), &views(after)),
        shrink("applications", &applications(before), &applications(after)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn shrink(what: &'static str, before: &BTreeSet<Arc<str>>, after: &BTreeSet<Arc<str>>) -> Option<Shrink> {
    let removed: Vec<Arc<str>> = before.difference(after).cloned().collect();
    let much = removed.len() * 100 > before.len() * SHARE_MAX && removed.len() > SINGLE;
    let everything = !before.is_empty() && after.is_empty();
    (much || everything).then_some(Shrink {
        what,
        before: before.len(),
        removed,
    })
}
