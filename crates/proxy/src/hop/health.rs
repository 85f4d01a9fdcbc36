//! When an endpoint has no calls for a while.
//!
//! Arithmetic only: what happened goes in, and what follows comes out. An endpoint that cannot be connected to is out at
//! once; one that takes connections and breaks its calls is out after some failures in a row. It comes back when a new
//! connection to it stands, and the pause before that is looked for grows with each time it was out, until a call to it
//! has worked.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// What is known of one endpoint's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: AtomicU32,
    /// Times that it was out since a call to it worked.
    rounds: AtomicU32,
    out: AtomicBool,
}

impl Health {
    /// Whether it has no calls now.
    pub(super) fn is_out(&self) -> bool {
        self.out.load(Ordering::Acquire)
    }

    /// A call was answered, whatever the answer says.
    pub(super) fn worked(&self) {
        // Read first: on the path of every call nothing is written.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.rounds.load(Ordering::Relaxed) != 0 && !self.is_out() {
            self.rounds.store(0, Ordering::Relaxed);
        }
    }

    /// A call to it broke; whether it is out with that.
    pub(super) fn failed(&self, failures_max: u32) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= failures_max && self.goes_out()
    }

    /// It cannot be connected to; whether that is new.
    pub(super) fn unreachable(&self) -> bool {
        self.goes_out()
    }

    fn goes_out(&self) -> bool {
        let new = !self.out.swap(true, Ordering::AcqRel);
        if new {
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
        new
    }

    /// Another look at it has failed.
    pub(super) fn still_out(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection to it stands; whether it was out.
    pub(super) fn back(&self) -> bool {
        self.failures.store(0, Ordering::Relaxed);
        self.out.swap(false, Ordering::AcqRel)
    }

    /// How long it is left alone now.
    pub(super) fn pause(&self, shortest: Duration, longest: Duration, random: u64) -> Duration {
        pause(self.rounds.load(Ordering::Relaxed), shortest, longest, random)
    }
}

/// The pause after so many failures: twice as long each time, of which a random half is spent, so that those who lost the
/// same endpoint do not come back as one.
pub(super) fn pause(failures: u32, shortest: Duration, longest: Duration, random: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(30);
    let whole = shortest.saturating_mul(1 << doublings).min(longest);
    let part = u32::try_from(random % 1_000).unwrap_or(0);
    whole / 2 + whole / 2 * part / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn failures_in_a_row_take_an_endpoint_out_at_the_limit_and_not_before() {
        let health = Health::default();
        assert!(!health.failed(3) && !health.failed(3), "one below the limit");
        assert!(!health.is_out());
        assert!(health.failed(3), "the limit");
        assert!(health.is_out());
        assert!(!health.failed(3), "one above is no news");
    }

    #[test]
    fn an_answer_between_two_failures_starts_the_count_anew() {
        let health = Health::default();
        for _ in 0..10 {
            assert!(!health.failed(2));
            health.worked();
        }
        assert!(!health.is_out());
    }

    #[test]
    fn a_pause_doubles_up_to_its_longest_and_starts_anew_when_a_call_has_worked() {
        let health = Health::default();
        assert!(health.unreachable() && !health.unreachable());
        assert_eq!(health.pause(MIN, MAX, 0), MIN / 2);
        health.still_out();
        assert_eq!(health.pause(MIN, MAX, 0), MIN);
        for _ in 0..40 {
            health.still_out();
        }
        assert_eq!(health.pause(MIN, MAX, 0), MAX / 2);
        assert!(health.pause(MIN, MAX, 999) <= MAX);
        assert!(health.back() && !health.back());
        assert_eq!(health.pause(MIN, MAX, 0), MAX / 2, "a connection alone proves little");
        health.worked();
        assert!(health.unreachable());
        assert_eq!(health.pause(MIN, MAX, 0), MIN / 2);
    }
}
