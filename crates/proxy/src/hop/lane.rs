//! The connections to one endpoint that carry one kind of work: calls, or long streams.
//!
//! They are apart because a connection of calls must be free to be replaced within minutes, and because one that is full of
//! silent subscriptions is no place for a call. Whoever finds no room waits for the one connection that is being opened; a
//! connection is never opened by a call itself, which may be given up at any moment.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::conn::{Conn, Unopened};
use super::health;
use super::limits::HopLimits;
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

/// Connections of one kind to one endpoint.
pub(super) struct Lane {
    conns: ArcSwap<Vec<Arc<Conn>>>,
    opening: Mutex<Opening>,
    /// Counts what has become of openings.
    opened: watch::Sender<u64>,
}

#[derive(Default)]
struct Opening {
    under_way: bool,
    /// Failures in a row.
    failures: u32,
    /// The last failure, until the next attempt may be made.
    failed: Option<(Refusal, Instant)>,
    /// The endpoint is not wanted any more.
    left: bool,
}

/// What somebody without a connection does now.
pub(super) enum Next {
    /// Opens one.
    Open,
    /// Waits for the one that is being opened.
    Wait,
    /// Gives up.
    GiveUp(Refusal),
}

impl Default for Lane {
    fn default() -> Self {
        Self {
            conns: ArcSwap::default(),
            opening: Mutex::default(),
            opened: watch::Sender::new(0),
        }
    }
}

impl Lane {
    /// A connection with room, one stream of which is taken.
    pub(super) fn take(&self) -> Option<Arc<Conn>> {
        let conns = self.conns.load();
        if let [only] = conns.as_slice() {
            return only.enter().then(|| Arc::clone(only));
        }
        let with_room = conns.iter().filter(|conn| !conn.is_closed());
        let best = with_room.min_by_key(|conn| conn.in_flight())?;
        best.enter().then(|| Arc::clone(best))
    }

    /// What to do without one. Who is told to open must say what became of it.
    pub(super) fn next(&self, limits: &HopLimits) -> Next {
        let mut opening = self.opening.lock();
        if opening.left {
            return Next::GiveUp(gone());
        }
        if opening.under_way {
            return Next::Wait;
        }
        if let Some((refusal, until)) = &opening.failed {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return Next::GiveUp(refusal.clone().retry(left.max(Duration::from_millis(1))));
            }
        }
        if self.conns.load().len() >= limits.connections_per_endpoint {
            return Next::GiveUp(full(limits));
        }
        opening.under_way = true;
        Next::Open
    }

    /// A connection stands; `false` when nobody wants it any more.
    pub(super) fn opened(&self, conn: &Arc<Conn>) -> bool {
        let wanted = {
            let mut opening = self.opening.lock();
            opening.under_way = false;
            opening.failures = 0;
            opening.failed = None;
            !opening.left
        };
        if wanted {
            self.conns.rcu(|conns| {
                let mut more = conns.as_ref().clone();
                more.push(Arc::clone(conn));
                more
            });
        }
        self.opened.send_modify(|count| *count += 1);
        wanted
    }

    /// None stands. Who waited is refused, and so are others for a while; but where the first attempt was taken and ended,
    /// whoever waited makes a second one at once.
    pub(super) fn failed(&self, unopened: Unopened, limits: &HopLimits) {
        {
            let mut opening = self.opening.lock();
            opening.under_way = false;
            opening.failures = opening.failures.saturating_add(1);
            let again = unopened.was_taken && opening.failures == 1;
            let pause = health::pause(
                opening.failures,
                limits.pause_min,
                limits.pause_max,
                simulated::random(),
            );
            let pause = if again { Duration::ZERO } else { pause };
            opening.failed = Some((unopened.refusal, Instant::now() + pause));
        }
        self.opened.send_modify(|count| *count += 1);
    }

    /// Whether the last attempt has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.opening.lock().failures > 0
    }

    /// What becomes of openings, from now on.
    pub(super) fn follow(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    /// No new work for this one.
    pub(super) fn forget(&self, conn: &Arc<Conn>) {
        self.conns.rcu(|conns| {
            let others = conns.iter().filter(|other| !Arc::ptr_eq(other, conn));
            others.cloned().collect::<Vec<_>>()
        });
    }

    /// No new work at all. What is under way goes on, and then its connections end.
    pub(super) fn leave(&self) {
        self.opening.lock().left = true;
        self.conns.store(Arc::default());
        self.opened.send_modify(|count| *count += 1);
    }

    /// Open connections.
    pub(super) fn len(&self) -> usize {
        self.conns.load().iter().filter(|conn| !conn.is_closed()).count()
    }
}

fn gone() -> Refusal {
    Refusal::server(
        Reason::ServerAway,
        Executed::No,
        "server is away: this endpoint has left the mesh",
    )
    .rule("hop/left")
}

fn full(limits: &HopLimits) -> Refusal {
    let most = limits.connections_per_endpoint;
    Refusal::new(
        Reason::Overloaded,
        format!("this server has as many calls as {most} connections carry; come back when `Retry-After` says"),
    )
    .rule("hop/connections")
    .retry(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unopened(was_taken: bool) -> Unopened {
        Unopened {
            refusal: gone(),
            was_taken,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_tries_again_at_once_where_the_first_attempt_was_taken_and_ended_and_only_once() {
        let (lane, limits) = (Lane::default(), HopLimits::default());
        assert!(matches!(lane.next(&limits), Next::Open));
        assert!(matches!(lane.next(&limits), Next::Wait));
        lane.failed(unopened(true), &limits);
        assert!(matches!(lane.next(&limits), Next::Open));
        lane.failed(unopened(true), &limits);
        assert!(matches!(lane.next(&limits), Next::GiveUp(_)));
        tokio::time::advance(limits.pause_max * 2).await;
        assert!(matches!(lane.next(&limits), Next::Open));
        lane.failed(unopened(true), &limits);
        assert!(matches!(lane.next(&limits), Next::GiveUp(_)), "the third in a row");

        let lane = Lane::default();
        assert!(matches!(lane.next(&limits), Next::Open));
        lane.failed(unopened(false), &limits);
        assert!(
            matches!(lane.next(&limits), Next::GiveUp(_)),
            "nobody was there, or nobody answered: that takes time, and others may be tried"
        );
    }
}
