//! Calls that wait for their client between two rounds, and the sessions of single callers that they wait on.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ServerLabel;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    server: Arc<str>,
    how: &'static str,
}

/// How far the parked calls of one server are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParkedLevels {
    /// Calls that wait.
    pub parked: usize,
    /// Sessions and children of single callers.
    pub own_sessions: usize,
    /// How often a client came back for its call, since the start.
    pub resumed: u64,
    /// How often none came in time.
    pub expired: u64,
    /// How often there was no room for one more.
    pub refused: u64,
}

/// What becomes of questions in the middle of calls.
#[derive(Debug, Default)]
pub struct ParkedMetrics {
    parked: Family<ServerLabel, Gauge>,
    own_sessions: Family<ServerLabel, Gauge>,
    ended: Family<EndLabels, Counter>,
}

impl ParkedMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "meshgate_parked_calls",
            "Calls that wait for their client to answer what a legacy server asked",
            self.parked.clone(),
        );
        to.register(
            "meshgate_own_sessions",
            "Sessions and children of legacy servers that belong to a single caller",
            self.own_sessions.clone(),
        );
        to.register(
            "meshgate_parked_ends",
            "Parked calls by what became of them: `resumed` by their client, `expired`, or `refused` for want of room",
            self.ended.clone(),
        );
    }

    /// Says how it stands with a server. One caller at a time.
    pub fn set(&self, server: &Arc<str>, levels: ParkedLevels) {
        let label = ServerLabel { server: server.clone() };
        let level = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.parked.get_or_create(&label).set(level(levels.parked));
        self.own_sessions.get_or_create(&label).set(level(levels.own_sessions));
        for (how, total) in [
            ("resumed", levels.resumed),
            ("expired", levels.expired),
            ("refused", levels.refused),
        ] {
            let server = server.clone();
            let counter = self.ended.get_or_create_owned(&EndLabels { server, how });
            // A server that is connected to anew counts from nothing; what was counted before stays.
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }

    pub(super) fn forget(&self, label: &ServerLabel) {
        self.parked.remove(label);
        self.own_sessions.remove(label);
        for how in ["resumed", "expired", "refused"] {
            let server = label.server.clone();
            self.ended.remove(&EndLabels { server, how });
        }
    }
}
