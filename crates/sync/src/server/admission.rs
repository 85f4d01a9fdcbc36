//! How many proxies may come back in one moment.
//!
//! When a control plane starts again, all proxies want it at once, and each costs a handshake and a comparison. A rate that
//! is kept from the first second on serves all of them in the shortest time; who is refused is told when there is room, one
//! after another, so that nobody comes twice for nothing.

use std::time::Duration;

use crate::limits;

/// A rate with a burst (GCRA), and a queue of promises behind it.
#[derive(Clone, Debug)]
pub struct Admission {
    /// What one costs.
    each: Duration,
    /// How far the debt may go.
    burst: Duration,
    /// When all that was admitted is paid for.
    paid: Duration,
    /// When all that was promised is, too.
    promised: Duration,
}

impl Admission {
    /// So many a second, and so many at once after a quiet time.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let each = Duration::from_secs(1) / per_second.max(1);
        Self {
            each,
            burst: each * burst.max(1),
            paid: Duration::ZERO,
            promised: Duration::ZERO,
        }
    }

    /// Takes one in.
    ///
    /// # Errors
    /// When there is no room: how long to wait, at most [`limits::LATER_MAX`].
    pub fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        let paid = self.paid.max(now) + self.each;
        if paid <= now + self.burst {
            self.paid = paid;
            self.promised = self.promised.max(paid);
            return Ok(());
        }
        self.promised = self.promised.max(paid) + self.each;
        Err((self.promised - (now + self.burst)).min(limits::LATER_MAX))
    }

    /// Whether it is as good as new: nothing is owed.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.paid <= now && self.promised <= now
    }
}
