//! What became of the spans: whoever looks for a trace that is not there finds out here whether it was lost.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Spans that their receiver has taken, and those that were lost.
#[derive(Debug, Default)]
pub(super) struct SpanLevels {
    sent: Gauge<u64, AtomicU64>,
    dropped: Gauge<u64, AtomicU64>,
}

impl SpanLevels {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "meshgate_spans_sent",
            "Spans that the receiver of spans has taken",
            self.sent.clone(),
        );
        to.register(
            "meshgate_spans_dropped",
            "Spans lost because there was no room or their receiver did not take them",
            self.dropped.clone(),
        );
    }

    pub(super) fn set(&self, sent: u64, dropped: u64) {
        self.sent.set(sent);
        self.dropped.set(dropped);
    }
}
