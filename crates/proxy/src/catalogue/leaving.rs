//! A way to a server that the configuration no longer has.
//!
//! A call that began before a change may still come to use it: each holds the routing it began with. So it is closed
//! when no such routing is left and its last call has ended, and after the drain time whatever is left is broken off.
//! Subscriptions are no calls: they end with it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Routing;
use crate::upstream::Upstream;

/// How often it is looked whether the last user is gone.
const LOOK: Duration = Duration::from_millis(20);

/// A way that is being left.
pub(super) struct Leaving {
    upstream: Arc<Upstream>,
    /// Routings by which calls may still come to it.
    routings: Vec<Weak<Routing>>,
}

impl Leaving {
    pub(super) fn new(upstream: Arc<Upstream>, routings: Vec<Weak<Routing>>) -> Self {
        Self { upstream, routings }
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// Waits for the last user, at most for `drain`, and closes.
    pub(super) async fn close(&self, drain: Duration) {
        let until = Instant::now() + drain;
        while self.in_use() && Instant::now() < until {
            sleep(LOOK).await;
        }
        let left = self.upstream.calls_in_flight();
        if left > 0 {
            let server = &self.upstream.server().name;
            tracing::warn!(%server, calls = left, "calls of a server that was changed or removed are broken off");
        }
        self.upstream.close().await;
    }

    fn in_use(&self) -> bool {
        self.upstream.calls_in_flight() > 0 || self.routings.iter().any(|routing| routing.strong_count() > 0)
    }
}
