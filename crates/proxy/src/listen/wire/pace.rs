//! Time on the wire: how fast a body must come, how often a frame may.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::limits::Limits;

/// A token bucket: so many at once, so many a second.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    most: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: usize, most: usize, now: Instant) -> Self {
        let most = most as f64;
        Self {
            per_second: per_second as f64,
            most,
            left: most,
            filled: now,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + since * self.per_second).min(self.most);
        self.filled = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// The pace of one body. Only time that we spend waiting for the client counts: a service that reads late is not the
/// client's fault.
#[derive(Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    bytes: usize,
    since: Option<Instant>,
}

impl Pace {
    /// Bytes have come.
    pub(super) fn came(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since);
        }
    }

    /// Bytes have been taken; the clock is asked only when somebody waited.
    pub(super) fn came_if_waited(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.since.take() {
            self.waited += Instant::now().saturating_duration_since(since);
        }
    }

    /// Nothing has come: until when to wait for more.
    pub(super) fn wait_until(&mut self, limits: &BodyPace, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        let earned = Duration::from_millis(self.bytes as u64 * 1000 / limits.bytes_per_second.max(1) as u64);
        since
            + (limits.grace_time + earned)
                .min(limits.body_time)
                .saturating_sub(self.waited)
    }
}

impl Pace {
    /// The same for what we write: however much has been earned, one wait is never longer than `body_time`.
    pub(super) fn stalled_at(&mut self, limits: &BodyPace, now: Instant) -> Instant {
        let since = *self.since.get_or_insert(now);
        let earned = Duration::from_millis(self.bytes as u64 * 1000 / limits.bytes_per_second.max(1) as u64);
        since
            + (limits.grace_time + earned)
                .saturating_sub(self.waited)
                .min(limits.body_time)
    }
}

/// What [`Pace`] measures against.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyPace {
    pub(super) body_time: Duration,
    pub(super) grace_time: Duration,
    pub(super) bytes_per_second: usize,
}

impl BodyPace {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            body_time: limits.body_time,
            grace_time: limits.body_grace_time,
            bytes_per_second: limits.body_bytes_per_second,
        }
    }

    /// The same for what the client reads: a stall ends its connection at once, a trickle ends it when it has used up
    /// one stall's time beyond what its bytes have earned.
    pub(super) fn of_answers(limits: &Limits) -> Self {
        Self {
            body_time: limits.write_stall_time,
            grace_time: limits.write_stall_time,
            bytes_per_second: limits.answer_bytes_per_second,
        }
    }
}

/// A timer that costs nothing until it is first needed.
#[derive(Debug, Default)]
pub(in crate::listen) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    until: Option<Instant>,
}

impl Timer {
    pub(in crate::listen) fn until(&self) -> Option<Instant> {
        self.until
    }

    pub(in crate::listen) fn stop(&mut self) {
        self.until = None;
    }

    pub(in crate::listen) fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if self.until != Some(until) {
            self.until = Some(until);
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}
