//! How much may be open at once: calls of everybody together, and long streams of each caller.
//!
//! A place or a seat is a value: whoever holds it is counted, and dropping it, on whatever way out, gives it back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::rate::Share;
use crate::refusal::{Reason, Refusal};

/// The longest that a client is asked to stay away, in seconds.
const AWAY_SECONDS_MAX: usize = 5;

/// How many calls are in flight, and how many may be.
#[derive(Debug)]
pub struct Room {
    inside: Arc<AtomicUsize>,
    turned_away: AtomicUsize,
    max: AtomicUsize,
}

/// One call in flight.
#[derive(Debug)]
pub struct Place {
    inside: Arc<AtomicUsize>,
    /// It counts in its caller's share too.
    share: Option<Share>,
}

impl Place {
    /// Counts in its caller's share as well.
    #[must_use]
    pub fn shared(mut self, share: Option<Share>) -> Self {
        self.share = share;
        self
    }
}

impl Room {
    /// Room for `max` calls.
    pub fn new(max: usize) -> Self {
        Self {
            inside: Arc::default(),
            turned_away: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// Counts a call until the place is dropped. Where limits are `lifted`, it is counted all the same.
    pub fn enter(&self, lifted: bool) -> Result<Place, Refusal> {
        let max = if lifted {
            usize::MAX
        } else {
            self.max.load(Ordering::Relaxed)
        };
        let entered = self
            .inside
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |inside| {
                (inside < max).then_some(inside + 1)
            });
        if entered.is_ok() {
            return Ok(Place {
                inside: Arc::clone(&self.inside),
                share: None,
            });
        }
        // Spread, so that those turned away together do not come back together.
        let turn = self.turned_away.fetch_add(1, Ordering::Relaxed);
        let away = u64::try_from(1 + turn % AWAY_SECONDS_MAX).unwrap_or(1);
        Err(Refusal::new(
            Reason::Overloaded,
            "the gateway has as many calls in flight as it may; come back when `Retry-After` says",
        )
        .rule("limit/calls-in-flight")
        .retry(Duration::from_secs(away)))
    }

    /// Room for this many from now on; nobody inside is sent away.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// How many calls one caller may have: the last quarter of a room is for others.
    pub fn share_max(&self) -> usize {
        let max = self.max.load(Ordering::Relaxed);
        max - max / 4
    }

    /// Calls in flight.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many long streams each caller has open, and may have.
#[derive(Debug)]
pub struct Seats {
    taken: Mutex<HashMap<Box<[u8]>, usize>>,
    max: AtomicUsize,
}

/// One open stream of a caller.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    caller: Box<[u8]>,
}

impl Seats {
    /// `max` streams for each caller.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            max: AtomicUsize::new(max),
        })
    }

    /// Counts a stream of `caller` until the seat is dropped. Where limits are `lifted`, it is counted all the same.
    pub fn take(self: &Arc<Self>, caller: &[u8], lifted: bool) -> Result<Seat, Refusal> {
        let mut all = self.taken.lock();
        let taken = all.get(caller).copied().unwrap_or_default();
        if taken >= self.max.load(Ordering::Relaxed) && !lifted {
            return Err(Refusal::new(
                Reason::RateLimited,
                format!("this caller has {taken} streams open, as many as it may; close one first"),
            )
            .rule("limit/streams")
            .retry(Duration::from_secs(1)));
        }
        all.insert(caller.into(), taken + 1);
        Ok(Seat {
            seats: Arc::clone(self),
            caller: caller.into(),
        })
    }

    /// This many for each caller from now on; open streams stay.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Open streams of all callers.
    pub fn taken(&self) -> usize {
        self.taken.lock().values().sum()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.taken.lock();
        if let Some(taken) = all.get_mut(&self.caller) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                all.remove(&self.caller);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_room_takes_its_limit_and_not_one_more() {
        let room = Room::new(3);
        let held: Vec<_> = (0..2).map(|_| room.enter(false).unwrap()).collect();
        assert_eq!(room.inside(), 2, "one below the limit");
        let last = room.enter(false).unwrap();
        let refusal = room.enter(false).unwrap_err();
        assert_eq!(refusal.reason, Reason::Overloaded);
        assert!(refusal.retry.is_some());
        let lifted = room.enter(true).unwrap();
        assert_eq!(room.inside(), 4, "lifted limits still count");
        drop((last, lifted));
        assert!(room.enter(false).is_ok());
        drop(held);
        assert_eq!(room.inside(), 0);
    }

    #[test]
    fn the_last_quarter_of_a_room_is_for_other_callers() {
        for (max, share) in [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (4096, 3072)] {
            assert_eq!(Room::new(max).share_max(), share, "{max}");
        }
    }

    #[test]
    fn a081_a_caller_has_its_seats_and_another_has_its_own() {
        let seats = Seats::new(2);
        let first = seats.take(b"a", false).unwrap();
        let _second = seats.take(b"a", false).unwrap();
        assert_eq!(seats.take(b"a", false).unwrap_err().reason, Reason::RateLimited);
        assert!(seats.take(b"a", true).is_ok(), "lifted");
        let _other = seats.take(b"b", false).unwrap();
        assert_eq!(seats.taken(), 3);
        drop(first);
        assert!(seats.take(b"a", false).is_ok());
    }

    #[test]
    fn callers_without_a_stream_leave_nothing_behind() {
        let seats = Seats::new(1);
        drop(seats.take(b"a", false).unwrap());
        assert!(seats.taken.lock().is_empty());
    }
}
