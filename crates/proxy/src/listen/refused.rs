//! Counts of what was refused below HTTP, where there is no request to answer and no record to write.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counts since start.
#[derive(Debug, Default)]
pub struct Refused {
    /// Connections over a connection limit.
    pub connections: AtomicU64,
    /// Framing that is not HTTP as it must be.
    pub malformed: AtomicU64,
    /// Heads over their limit.
    pub too_large: AtomicU64,
    /// Floods of HTTP/2 frames.
    pub floods: AtomicU64,
    /// Clients that sent or read too slowly.
    pub slow: AtomicU64,
    /// Handshakes inside the mesh that failed, and connections of peers that were sent away.
    pub unwelcome: AtomicU64,
}

impl Refused {
    /// Each count with the label it has in metrics.
    pub fn counts(&self) -> [(&'static str, u64); 6] {
        [
            ("connections", &self.connections),
            ("malformed", &self.malformed),
            ("too_large", &self.too_large),
            ("flood", &self.floods),
            ("slow", &self.slow),
            ("unwelcome", &self.unwelcome),
        ]
        .map(|(label, count)| (label, count.load(Ordering::Relaxed)))
    }

    pub(super) fn one(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}
