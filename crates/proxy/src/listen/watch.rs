//! When a connection that works should end all the same.
//!
//! hyper ends a connection that breaks; nobody ends one on which nothing happens, one that is too old, or one whose
//! client opens no window for the answer it asked for. This looks at the connection from time to time and says which of
//! these has come.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::wire::Version;
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
    last_request_time: Duration,
    /// The connection is to end, since then.
    asked: Option<Instant>,
    /// hyper knows it too, since then.
    told: Option<Instant>,
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
            last_request_time: limits.last_request_time,
            asked: None,
            told: None,
            waiting: None,
        }
    }

    /// The connection is to end: its next answer says so.
    pub(super) fn ask(&mut self, connection: &Connection, now: Instant) {
        self.asked.get_or_insert(now);
        connection.end();
    }

    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// When to look next: when something can have come at the earliest, and twice in a stall.
    pub(super) fn next_look(&self, connection: &Connection, now: Instant) -> Instant {
        let stall = now + self.idle_time.min(self.stall_time / LOOKS);
        let idle = connection.quiet_since().map_or(stall, |since| since + self.idle_time);
        match (self.asked, self.told) {
            (None, _) => stall.min(idle).min(self.too_old),
            (Some(_), None) => stall.min(now + self.last_request_time),
            (Some(_), Some(_)) => stall,
        }
    }

    /// Looks.
    pub(super) fn look(&mut self, connection: &Connection, now: Instant) -> Verdict {
        let quiet = connection.quiet_since();
        let quiet_for = |time: Duration, from: Instant| quiet.is_some_and(|since| now >= since.max(from) + time);
        if self.is_stalled(connection, now) {
            return Verdict::BreakOff;
        }
        if now >= self.too_old {
            self.ask(connection, now);
        }
        let finish = match (self.asked, self.told) {
            (_, Some(told)) if quiet_for(self.stall_time, told) => return Verdict::BreakOff,
            (_, Some(_)) => false,
            // GOAWAY says which streams still count, so it can be said at once. In HTTP/1 a request may be on its way:
            // it is waited for a little, and its answer carries `Connection: close`.
            (Some(asked), None) => connection.version() == Version::Http2 || quiet_for(self.last_request_time, asked),
            (None, None) => quiet.is_some_and(|since| now >= since + self.idle_time),
        };
        if finish {
            self.ask(connection, now);
            self.told = Some(now);
            return Verdict::Finish;
        }
        Verdict::GoOn
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
