//! When a connection that works should end all the same.
//!
//! hyper ends a connection that breaks; nobody ends one on which nothing happens, one that is too old, or one whose
//! client opens no window for the answer it asked for. This looks at the connection from time to time and says which of
//! these has come.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use crate::limits::Limits;

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing has come.
    GoOn,
    /// Let what is in flight finish, take nothing new.
    Finish,
    /// The client does not let it finish.
    BreakOff,
}

/// The watch over one connection.
#[derive(Debug)]
pub(super) struct Watch {
    idle_time: Duration,
    stall_time: Duration,
    too_old: Instant,
    asked: Option<Instant>,
    /// Answers wait for the client, with so many frames sent, since then.
    waiting: Option<(u64, Instant)>,
}

/// Looks within one `stall_time`.
const LOOKS: u32 = 2;

impl Watch {
    pub(super) fn new(limits: &Limits, now: Instant, age: Duration) -> Self {
        Self {
            idle_time: limits.idle_time,
            stall_time: limits.write_stall_time,
            too_old: now + age,
            asked: None,
            waiting: None,
        }
    }

    /// The connection is asked to finish, for a reason of ours or of the drain.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// When to look next: when something can have come at the earliest, and twice in a stall.
    pub(super) fn next_look(&self, connection: &Connection, now: Instant) -> Instant {
        let stall = now + self.idle_time.min(self.stall_time / LOOKS);
        let idle = connection.quiet_since().map_or(stall, |since| since + self.idle_time);
        if self.is_asked() {
            stall
        } else {
            stall.min(idle).min(self.too_old)
        }
    }

    /// Looks.
    pub(super) fn look(&mut self, connection: &Connection, now: Instant) -> Verdict {
        let over = match (connection.quiet_since(), self.asked) {
            (None, _) => self.is_stalled(connection, now),
            (Some(since), Some(asked)) => now >= since.max(asked) + self.stall_time,
            (Some(since), None) if now >= since + self.idle_time => return self.finish(now),
            (Some(_), None) => false,
        };
        if over {
            return Verdict::BreakOff;
        }
        if self.asked.is_none() && now >= self.too_old {
            return self.finish(now);
        }
        Verdict::GoOn
    }

    fn finish(&mut self, now: Instant) -> Verdict {
        self.asked = Some(now);
        Verdict::Finish
    }

    /// Answers wait for the client, and it has taken nothing for too long.
    fn is_stalled(&mut self, connection: &Connection, now: Instant) -> bool {
        let sent = connection.waits_for_client();
        match (sent, self.waiting) {
            (Some(sent), Some((before, since))) if sent == before => now >= since + self.stall_time,
            (sent, _) => {
                self.waiting = sent.map(|sent| (sent, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
