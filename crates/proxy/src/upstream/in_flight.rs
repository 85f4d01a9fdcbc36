//! How many calls a server is working on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count of one server.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlight(Arc<AtomicUsize>);

/// One call; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Guard(Arc<AtomicUsize>);

impl InFlight {
    pub(super) fn begin(&self) -> Guard {
        self.0.fetch_add(1, Ordering::Relaxed);
        Guard(Arc::clone(&self.0))
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
