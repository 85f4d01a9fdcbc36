//! Connections that wait for their next call, the last used first.
//!
//! A connection is looked at right before it is used, so one that the server has closed is found out before a byte is
//! written to it, and no task has to watch the idle ones.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::exchange::{Conn, Counts, Exchange, Fitness, Rest};
use super::wire::Target;
use crate::refusal::Refusal;
use crate::upstream::limits::{IDLE_CONNECTIONS_MAX, IDLE_PLAIN_MAX, IDLE_TLS_MAX, TAIL_MAX};

pub(super) struct Pool {
    pub(super) target: Target,
    idle: Mutex<Vec<Idle>>,
    counts: Arc<Counts>,
}

struct Idle {
    rest: Rest,
    since: Instant,
}

impl Pool {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            idle: Mutex::new(Vec::new()),
            counts: Arc::default(),
        }
    }

    /// A connection that is open and idle at this moment, if there is one.
    pub(super) fn take(&self) -> Option<Box<Conn>> {
        let mut later = Vec::new();
        let found = loop {
            let Some(mut idle) = self.idle.lock().pop() else {
                break None;
            };
            match self.fitness(&mut idle) {
                Fitness::Ready => break Some(idle.rest.into_conn()),
                Fitness::Later => later.push(idle),
                Fitness::Gone => {}
            }
        };
        if !later.is_empty() {
            // Back to the front, where the longest idle ones are: they were not ready when others may have been.
            self.idle.lock().splice(0..0, later);
        }
        found
    }

    /// A new connection.
    pub(super) async fn open(&self) -> Result<Box<Conn>, Refusal> {
        Conn::open(&self.target, &self.counts).await
    }

    /// Takes back a connection whose answer has been read as far as anybody wants.
    pub(super) fn put(&self, exchange: Exchange) {
        let idle = Idle {
            rest: exchange.into_rest(),
            since: Instant::now(),
        };
        if !idle.rest.may_be_used_again() {
            return;
        }
        let mut all = self.idle.lock();
        if all.len() < IDLE_CONNECTIONS_MAX {
            all.push(idle);
        }
    }

    /// Drops what is closed, or has been idle too long.
    pub(super) fn sweep(&self) {
        let taken = std::mem::take(&mut *self.idle.lock());
        let kept: Vec<_> = taken
            .into_iter()
            .filter_map(|mut idle| (self.fitness(&mut idle) != Fitness::Gone).then_some(idle))
            .collect();
        self.idle.lock().splice(0..0, kept);
    }

    fn fitness(&self, idle: &mut Idle) -> Fitness {
        let age = idle.since.elapsed();
        match idle.rest.look() {
            Fitness::Ready if age > self.idle_max(idle.rest.keep()) => Fitness::Gone,
            Fitness::Later if age > TAIL_MAX => Fitness::Gone,
            fitness => fitness,
        }
    }

    /// How long an idle connection is trusted; what the server said counts when it is less.
    fn idle_max(&self, keep: Option<Duration>) -> Duration {
        let own = if self.target.is_tls() {
            IDLE_TLS_MAX
        } else {
            IDLE_PLAIN_MAX
        };
        keep.map_or(own, |said| said.saturating_sub(Duration::from_secs(1)).min(own))
    }
}
