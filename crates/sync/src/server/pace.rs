//! When changes are sent: together, soon, and the urgent ones at once.
//!
//! Changes come in heaps, when an operator applies a file or a rollout replaces instances, and each push costs every proxy a
//! compilation. So a change waits until nothing has changed for [`limits::QUIET`], at most [`limits::QUIET_MAX`]. A denial
//! or the death of an endpoint does not wait; it takes along what does.

use std::time::Duration;

use crate::limits;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the first change that waits came.
    first: Option<Duration>,
    /// When the last one did.
    last: Duration,
    urgent: bool,
    /// When something was sent last.
    sent: Option<Duration>,
}

impl Pace {
    pub(super) fn changed(&mut self, now: Duration, urgent: bool) {
        self.first.get_or_insert(now);
        self.last = now;
        self.urgent |= urgent;
    }

    /// When what waits is to be sent; `None` when nothing waits.
    pub(super) fn due(&self) -> Option<Duration> {
        let first = self.first?;
        let quiet = (self.last + limits::QUIET).min(first + limits::QUIET_MAX);
        if !self.urgent {
            return Some(quiet);
        }
        let gap = self.sent.map_or(first, |sent| sent + limits::URGENT_GAP);
        Some(first.max(gap).min(quiet))
    }

    /// Whether now is the time; then nothing waits any more.
    pub(super) fn take(&mut self, now: Duration) -> bool {
        let due = self.due().is_some_and(|due| now >= due);
        if due {
            self.first = None;
            self.urgent = false;
            self.sent = Some(now);
        }
        due
    }
}
