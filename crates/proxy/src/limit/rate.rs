//! How often a caller may call: the generic cell rate algorithm over a bounded table.
//!
//! One number per caller is enough: the time at which its bucket would be empty again. A call is admitted while that
//! time lies less than the burst ahead of now. The number is an atomic in a table that calls only read, so a caller with
//! many calls at once waits neither for itself nor for others; only its first call writes to the table.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use crate::refusal::{Reason, Refusal};

/// Callers whose rate is remembered; a part of the table that is full forgets those who owe nothing.
const CALLERS_MAX: usize = 100_000;
/// Parts of the table, so that a flood of new callers is looked through in small pieces.
const SHARDS: usize = 16;

/// What is remembered of one caller.
#[derive(Debug)]
struct Cell {
    /// Nanoseconds after the start at which the bucket is empty again.
    empty_at: AtomicU64,
    /// Calls that are in flight.
    inside: AtomicUsize,
}

type Cells = HashMap<Box<[u8]>, Arc<Cell>>;

/// A caller, found once: whether its rate lets it call, and how it takes its share of what all callers have.
#[derive(Debug)]
pub struct Counted {
    cell: Arc<Cell>,
    /// The refusal of a caller over its rate.
    pub over: Option<Box<Refusal>>,
}

/// One call of a caller that is in flight; ends when dropped.
#[derive(Debug)]
pub struct Share(Arc<Cell>);

impl Counted {
    /// Counts a call as in flight, of which this caller may have `max` at once.
    pub fn share(&self, max: usize) -> Result<Share, Refusal> {
        let inside = &self.cell.inside;
        let entered = inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |inside| {
            (inside < max).then_some(inside + 1)
        });
        match entered {
            Ok(_) => Ok(Share(Arc::clone(&self.cell))),
            Err(_) => Err(Refusal::new(
                Reason::RateLimited,
                format!("this caller has {max} calls in flight, as many as it may; wait for one to end"),
            )
            .rule("limit/calls-of-caller")
            .retry(Duration::from_secs(1))),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A rate per key.
pub struct Rate {
    began: Instant,
    interval_ns: AtomicU64,
    burst_ns: AtomicU64,
    shards: Vec<RwLock<Cells>>,
    shard_max: usize,
    hasher: RandomState,
}

impl Rate {
    /// `per_second` sustained and `burst` at once; both at least one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self::with_callers(per_second, burst, CALLERS_MAX)
    }

    fn with_callers(per_second: u32, burst: u32, callers_max: usize) -> Self {
        let (interval_ns, burst_ns) = figures(per_second, burst);
        Self {
            began: tokio::time::Instant::now().into_std(),
            interval_ns: AtomicU64::new(interval_ns),
            burst_ns: AtomicU64::new(burst_ns),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            shard_max: callers_max.div_ceil(SHARDS),
            hasher: RandomState::new(),
        }
    }

    /// Another rate from now on. What callers owe is a time, so it stays.
    pub fn set(&self, per_second: u32, burst: u32) {
        let (interval_ns, burst_ns) = figures(per_second, burst);
        self.interval_ns.store(interval_ns, Ordering::Relaxed);
        self.burst_ns.store(burst_ns, Ordering::Relaxed);
    }

    /// Counts `calls` of `key` at `now`, all or none, or says when to come again.
    pub fn admit(&self, key: &[u8], calls: u32, now: Instant) -> Result<(), Refusal> {
        let counted = self.count(key, calls, now)?;
        counted.over.map_or(Ok(()), |over| Err(*over))
    }

    /// The same, and gives the caller back either way: who is over its rate may have to hear of something else first.
    /// Refused while everybody who is remembered owes something, and there is no room for one more.
    pub fn count(&self, key: &[u8], calls: u32, now: Instant) -> Result<Counted, Refusal> {
        let interval_ns = self.interval_ns.load(Ordering::Relaxed);
        let cost_ns = interval_ns.saturating_mul(u64::from(calls));
        let since = now.saturating_duration_since(self.began).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX / 2);
        let cell = self.cell(key, now)?;
        let full_at = now.saturating_add(self.burst_ns.load(Ordering::Relaxed));
        let admitted = |empty_at: u64| {
            let next = empty_at.max(now).saturating_add(cost_ns);
            (next <= full_at).then_some(next)
        };
        // Refused calls leave the number as it is: they cost the caller nothing but the answer.
        let counted = cell
            .empty_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admitted);
        let over = counted.err().map(|empty_at| {
            Box::new(refuse(
                empty_at.max(now).saturating_add(cost_ns).saturating_sub(full_at),
            ))
        });
        Ok(Counted { cell, over })
    }

    fn cell(&self, key: &[u8], now: u64) -> Result<Arc<Cell>, Refusal> {
        let at = usize::try_from(self.hasher.hash_one(key)).unwrap_or_default() % SHARDS;
        let shard = self
            .shards
            .get(at)
            .ok_or_else(|| refuse(self.interval_ns.load(Ordering::Relaxed)))?;
        if let Some(cell) = shard.read().get(key) {
            return Ok(Arc::clone(cell));
        }
        let mut cells = shard.write();
        if let Some(cell) = cells.get(key) {
            return Ok(Arc::clone(cell));
        }
        if cells.len() >= self.shard_max {
            cells.retain(|_, cell| {
                cell.empty_at.load(Ordering::Relaxed) > now || cell.inside.load(Ordering::Relaxed) > 0
            });
            if cells.len() >= self.shard_max {
                return Err(refuse(self.interval_ns.load(Ordering::Relaxed)));
            }
        }
        let cell = Arc::new(Cell {
            empty_at: AtomicU64::new(now),
            inside: AtomicUsize::new(0),
        });
        cells.insert(key.into(), Arc::clone(&cell));
        Ok(cell)
    }
}

/// Nanoseconds of one call, and of a whole burst.
fn figures(per_second: u32, burst: u32) -> (u64, u64) {
    let interval_ns = 1_000_000_000 / u64::from(per_second.max(1));
    (interval_ns, interval_ns.saturating_mul(u64::from(burst.max(1))))
}

fn refuse(wait_ns: u64) -> Refusal {
    Refusal::new(
        Reason::RateLimited,
        "too many calls; wait as long as `Retry-After` says",
    )
    .rule("limit/calls")
    .retry(Duration::from_nanos(wait_ns))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_burst_passes_whole_and_the_next_call_waits() {
        let rate = Rate::new(10, 5);
        let now = rate.began;
        for n in 0..5 {
            assert!(rate.admit(b"a", 1, now).is_ok(), "call {n}");
        }
        let refusal = rate.admit(b"a", 1, now).unwrap_err();
        assert_eq!(refusal.retry, Some(Duration::from_millis(100)));
        assert!(rate.admit(b"b", 1, now).is_ok(), "another caller is not touched");
        assert!(rate.admit(b"a", 1, now + Duration::from_millis(99)).is_err());
        assert!(rate.admit(b"a", 1, now + Duration::from_millis(100)).is_ok());
    }

    #[test]
    fn a089_a_thousand_calls_at_once_get_exactly_the_burst() {
        let rate = Rate::new(1, 100);
        let now = rate.began;
        let admitted: usize = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| (0..100).filter(|_| rate.admit(b"a", 1, now).is_ok()).count()))
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        assert_eq!(admitted, 100);
    }

    #[test]
    fn another_rate_holds_from_the_next_call_on() {
        let rate = Rate::new(1, 1);
        let now = rate.began;
        assert!(rate.admit(b"a", 1, now).is_ok());
        assert!(rate.admit(b"a", 1, now).is_err());
        rate.set(1, 3);
        assert!(rate.admit(b"a", 2, now).is_ok());
        assert!(rate.admit(b"a", 1, now).is_err());
        rate.set(1, 1);
        let refusal = rate.admit(b"a", 1, now).unwrap_err();
        assert_eq!(refusal.retry, Some(Duration::from_secs(3)), "what is owed stays");
    }

    #[test]
    fn a_caller_has_its_share_of_the_calls_in_flight_and_keeps_it_while_it_owes_nothing() {
        let rate = Rate::with_callers(1000, 1000, SHARDS);
        let now = rate.began;
        let caller = rate.count(b"a", 1, now).unwrap();
        let held: Vec<_> = (0..3).map(|_| caller.share(3).unwrap()).collect();
        assert_eq!(
            caller.share(3).unwrap_err().rule.as_deref(),
            Some("limit/calls-of-caller")
        );
        assert!(
            rate.count(b"b", 1, now).unwrap().share(1).is_ok(),
            "another caller has its own"
        );
        // Its bucket is empty and others need room: it must not be forgotten, or it would have a second share.
        let later = now + Duration::from_secs(60);
        for key in 0..1000_u16 {
            let _crowd = rate.admit(&key.to_be_bytes(), 1, later);
        }
        assert!(rate.count(b"a", 1, later).unwrap().share(3).is_err());
        drop(held);
        assert!(rate.count(b"a", 1, later).unwrap().share(3).is_ok());
    }

    #[test]
    fn several_calls_at_once_are_counted_whole_or_not_at_all() {
        let rate = Rate::new(1, 10);
        let now = rate.began;
        assert!(rate.admit(b"a", 8, now).is_ok());
        let refusal = rate.admit(b"a", 4, now).unwrap_err();
        assert_eq!(refusal.retry, Some(Duration::from_secs(2)));
        assert!(rate.admit(b"a", 2, now).is_ok());
        assert!(rate.admit(b"a", 0, now).is_ok());
    }

    #[test]
    fn a_full_table_forgets_who_owes_nothing_and_refuses_while_everybody_does() {
        let rate = Rate::with_callers(1, 10, SHARDS);
        let now = rate.began;
        let keys: Vec<[u8; 2]> = (0..1000u16).map(u16::to_be_bytes).collect();
        let first = keys.iter().filter(|key| rate.admit(*key, 1, now).is_ok()).count();
        assert_eq!(first, SHARDS, "one new caller per part of the table");
        let later = now + Duration::from_secs(2);
        let second = keys.iter().filter(|key| rate.admit(*key, 1, later).is_ok()).count();
        assert!(second >= SHARDS, "{second}");
    }
}
