//! A set of targets that are measured together: one hop, or two.

use crate::goals::{self, Goal};

/// What a run measures, against what, and what is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Set {
    /// Of its page.
    pub(crate) title: &'static str,
    /// Its page begins so.
    pub(crate) page: &'static str,
    /// Where its targets are, below the package.
    pub(crate) directory: &'static str,
    /// What all others are compared with; it is measured first.
    pub(crate) floor: &'static str,
    /// Those of a short run.
    pub(crate) short: &'static [&'static str],
    pub(crate) goals: &'static [Goal],
    /// Whether its targets need certificates.
    pub(crate) certificates: bool,
    /// At half of what this one can do all are measured.
    pub(crate) pace: Option<&'static str>,
}

/// A gateway before its servers.
pub(crate) const HOP: Set = Set {
    title: "One hop",
    page: "gateway",
    directory: "targets",
    floor: "floor",
    short: &[
        "floor",
        "meshgate",
        "meshgate-legacy",
        "meshgate-lift",
        "meshgate-lower",
        "meshgate-stdio",
    ],
    goals: goals::HOP,
    certificates: false,
    pace: None,
};

/// A gateway, and a sidecar before each server.
pub(crate) const MESH: Set = Set {
    title: "Two hops",
    page: "mesh",
    directory: "targets/mesh",
    floor: "floor-pair",
    short: &["floor-pair", "meshgate-mesh"],
    goals: goals::MESH,
    certificates: true,
    pace: Some("meshgate-mesh"),
};
