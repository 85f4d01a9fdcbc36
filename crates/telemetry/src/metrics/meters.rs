//! What a kind of call adds to, remembered.
//!
//! Finding a counter by its labels hashes eight texts, several times for each call, and most calls are like one before.
//! So the counters of a kind are kept, and a kind is told by the *places* of its names in memory: a name's place is held
//! with it, so no other name can come to stand there. Names that are equal but stand elsewhere (after a new configuration)
//! only miss, and find the same counters by their labels. Nothing ever takes a series away, so what is kept stays right.

use std::borrow::Cow;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use crate::record::{AccessRecord, Era, Target};

/// Kinds that are remembered; two of one slot take turns.
const SLOTS: usize = 256;

/// The remembered kinds.
pub(super) type Known = Vec<Option<Box<(Kind, Meters)>>>;

/// Nothing remembered yet.
pub(super) fn none_known() -> Known {
    (0..SLOTS).map(|_| None).collect()
}

/// Calls that differ in nothing that is a label. Refused, failed and cancelled calls have more labels and no kind.
#[derive(Debug, Default)]
pub(super) struct Kind {
    view: Option<Arc<str>>,
    application: Option<Arc<str>>,
    server: Option<Arc<str>>,
    target: Option<Arc<str>>,
    target_kind: Option<Discriminant<Target>>,
    method: &'static str,
    era_client: Option<Era>,
    era_server: Option<Era>,
    summary: &'static str,
    upstream: bool,
}

impl Kind {
    /// Where the kind of a call is remembered, where it has one.
    pub(super) fn slot(record: &AccessRecord) -> Option<usize> {
        let Cow::Borrowed(method) = record.method else {
            return None;
        };
        if !matches!(record.summary(), "ok" | "tool_error" | "input_required") {
            return None;
        }
        let parts = [
            place(record.view.as_ref()),
            place(record.application.as_ref()),
            place(record.server.as_ref()),
            place(named(record.target.as_ref())),
            method.as_ptr().addr(),
        ];
        let mixed = parts
            .iter()
            .fold(0usize, |mixed, part| (mixed ^ (part >> 3)).wrapping_mul(0x9e37_79b9));
        Some((mixed >> 12) % SLOTS)
    }

    /// The kind of a call that has one.
    pub(super) fn of(record: &AccessRecord) -> Self {
        let Cow::Borrowed(method) = record.method else {
            return Self::default();
        };
        Self {
            view: record.view.clone(),
            application: record.application.clone(),
            server: record.server.clone(),
            target: named(record.target.as_ref()).cloned(),
            target_kind: record.target.as_ref().map(discriminant),
            method,
            era_client: record.era_client,
            era_server: record.era_server,
            summary: record.summary(),
            upstream: record.duration_upstream.is_some(),
        }
    }

    /// Whether a call that has a kind is of this one.
    pub(super) fn holds(&self, record: &AccessRecord) -> bool {
        let same = |kept: &Option<Arc<str>>, found: Option<&Arc<str>>| place(kept.as_ref()) == place(found);
        same(&self.target, named(record.target.as_ref()))
            && self.target_kind == record.target.as_ref().map(discriminant)
            && same(&self.server, record.server.as_ref())
            && same(&self.view, record.view.as_ref())
            && same(&self.application, record.application.as_ref())
            && self.method == record.method
            && (self.era_client, self.era_server) == (record.era_client, record.era_server)
            && self.summary == record.summary()
            && self.upstream == record.duration_upstream.is_some()
    }
}

/// The name that becomes a label; the URI of a resource never does.
fn named(target: Option<&Target>) -> Option<&Arc<str>> {
    match target? {
        Target::Tool(name) | Target::Prompt(name) => Some(name),
        Target::Resource(_) => None,
    }
}

fn place(name: Option<&Arc<str>>) -> usize {
    name.map_or(0, |name| name.as_ptr().addr())
}

/// The counters of one kind of call.
#[derive(Clone, Debug)]
pub(super) struct Meters {
    pub(super) calls: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    pub(super) refusals: Option<Counter>,
    pub(super) server_side: Histogram,
    pub(super) client_side: Option<Histogram>,
}

impl Meters {
    /// Counts a call.
    pub(super) fn add(&self, record: &AccessRecord) {
        self.calls.inc();
        self.bytes_in.inc_by(record.bytes_in);
        self.bytes_out.inc_by(record.bytes_out);
        if let Some(refusals) = &self.refusals {
            refusals.inc();
        }
        self.server_side.observe(record.duration.as_secs_f64());
        if let (Some(meter), Some(upstream)) = (&self.client_side, record.duration_upstream) {
            meter.observe(upstream.as_secs_f64());
        }
    }
}
