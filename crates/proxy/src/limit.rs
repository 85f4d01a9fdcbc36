//! How often a caller may call: the generic cell rate algorithm over a bounded table.
//!
//! One number per caller is enough: the time at which its bucket would be empty again. A call is admitted while that
//! time lies less than the burst ahead of now.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::refusal::{Reason, Refusal};

/// Callers whose rate is remembered; the table is cleared of idle ones when it is full.
const CALLERS_MAX: usize = 100_000;

/// A rate per key.
pub struct Rate {
    interval: Duration,
    burst: Duration,
    cells: Mutex<HashMap<Vec<u8>, Instant>>,
}

impl Rate {
    /// `per_second` sustained and `burst` at once; both at least one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self {
            interval,
            burst: interval * burst.max(1),
            cells: Mutex::new(HashMap::new()),
        }
    }

    /// Counts one call of `key` at `now`, or says when the next may come.
    pub fn admit(&self, key: &[u8], now: Instant) -> Result<(), Refusal> {
        let mut cells = self.cells.lock();
        if cells.len() >= CALLERS_MAX && !cells.contains_key(key) {
            cells.retain(|_, empty_at| *empty_at > now);
            if cells.len() >= CALLERS_MAX {
                return Err(refuse(self.interval));
            }
        }
        let empty_at = cells.get(key).copied().unwrap_or(now).max(now);
        let next = empty_at + self.interval;
        if next > now + self.burst {
            return Err(refuse(next - now - self.burst));
        }
        match cells.get_mut(key) {
            Some(cell) => *cell = next,
            None => drop(cells.insert(key.to_vec(), next)),
        }
        Ok(())
    }
}

fn refuse(wait: Duration) -> Refusal {
    Refusal::new(
        Reason::RateLimited,
        "too many calls; wait as long as `Retry-After` says",
    )
    .rule("limit/calls")
    .retry(wait)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_burst_passes_whole_and_the_next_call_waits() {
        let (rate, now) = (Rate::new(10, 5), Instant::now());
        for n in 0..5 {
            assert!(rate.admit(b"a", now).is_ok(), "call {n}");
        }
        let refusal = rate.admit(b"a", now).unwrap_err();
        assert_eq!(refusal.retry, Some(Duration::from_millis(100)));
        assert!(rate.admit(b"b", now).is_ok(), "another caller is not touched");
        assert!(rate.admit(b"a", now + Duration::from_millis(99)).is_err());
        assert!(rate.admit(b"a", now + Duration::from_millis(100)).is_ok());
    }
}
