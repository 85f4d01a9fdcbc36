//! How many calls may be moved to another endpoint because the first one had no room.
//!
//! An endpoint without room is the first sign of a mesh without room, and calls that are moved then make it worse. So a
//! fifth of the calls may be moved, and three a second beside that, as Finagle and Linkerd have it. Calls that nobody has
//! taken are not counted: they are no additional work for anybody.

use std::sync::atomic::{AtomicI64, Ordering};

/// What one call pays in: with [`MOVE`] the fifth that may be moved.
const CALL: i64 = 200;
/// What a move costs.
const MOVE: i64 = 1_000;
/// What is paid in each millisecond: three moves a second.
const MILLISECOND: i64 = 3;
/// The most that is kept: what comes in within ten seconds by time alone.
const KEPT_MAX: i64 = MILLISECOND * 10_000;

/// The budget of one server.
#[derive(Debug)]
pub(super) struct Budget {
    kept: AtomicI64,
    /// When time was last paid in, in milliseconds.
    paid: AtomicI64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            kept: AtomicI64::new(KEPT_MAX),
            paid: AtomicI64::new(0),
        }
    }
}

impl Budget {
    /// A call is made.
    pub(super) fn called(&self) {
        if self.kept.load(Ordering::Relaxed) < KEPT_MAX {
            self.kept.fetch_add(CALL, Ordering::Relaxed);
        }
    }

    /// Whether a call may be moved now; `now` is in milliseconds of any clock that does not go back.
    pub(super) fn moves(&self, now: i64) -> bool {
        let since = now - self.paid.swap(now, Ordering::Relaxed);
        let earned = since.clamp(0, 10_000) * MILLISECOND;
        let kept = self.kept.fetch_add(earned, Ordering::Relaxed) + earned;
        if kept > KEPT_MAX {
            self.kept.fetch_min(KEPT_MAX, Ordering::Relaxed);
        }
        let taken = self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
            (kept >= MOVE).then_some(kept - MOVE)
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_calls_are_moved_at_once_and_then_a_fifth_of_what_is_called() {
        let budget = Budget::default();
        let moved = (0..100).filter(|_| budget.moves(0)).count();
        assert_eq!(moved, 30);
        for _ in 0..4 {
            budget.called();
        }
        assert!(!budget.moves(0), "one call below the limit");
        budget.called();
        assert!(budget.moves(0), "the limit");
        assert!(!budget.moves(0), "one above");
    }

    #[test]
    fn three_a_second_come_with_time_alone_and_no_more_than_ten_seconds_of_them() {
        let budget = Budget::default();
        while budget.moves(0) {}
        assert!(!budget.moves(332) && budget.moves(668));
        let moved = (0..100).filter(|_| budget.moves(1_000_000)).count();
        assert_eq!(moved, 30);
    }
}
