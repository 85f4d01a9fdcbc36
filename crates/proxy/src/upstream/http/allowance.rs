//! How fast event streams are read, so that a server that tells without end has not the time of everybody's calls.
//!
//! A bound on each stream is none on the server: it floods thirty calls as easily as one. So calls have a few events of
//! their own, enough for whoever reports steps and then answers, and what a call brings beyond those comes out of one
//! allowance for all calls of its server. It is given out in short runs, in the order in which they were asked for, and a
//! call asks for its next run when it has used the last: a call that floods waits behind all others, and not they behind
//! it. What is a call's own comes in any case, so that no deadline for silence is met because somebody else floods. A
//! stream of subscriptions draws on nobody's allowance: what comes there is for many, and a lost session of a legacy
//! server or its question may be among it.
//!
//! A call that has waited, and still brings more than it may, waits for its next run and is not woken for each event of
//! its own before: what others notice of thirty floods is how often they are woken, more than what they bring. Its own
//! events come with the run, or each second. Whoever has been read to the end is no flood.
//!
//! Nobody keeps a list of those who wait. The allowance is one number, the time up to which its events are given out;
//! whoever asks moves it on and knows by it when its run may come.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::upstream::limits::{
    CALL_EVENTS_BURST, CALL_EVENTS_PER_SECOND, EVENTS_BURST, EVENTS_PAUSE, EVENTS_PER_SECOND, EVENTS_RUN,
    FLOOD_PAUSE_MAX, SERVER_EVENTS_BURST, SERVER_EVENTS_PER_SECOND,
};

const SECOND: u64 = 1_000_000_000;
/// The time that an event of a server's allowance stands for, in nanoseconds.
const STEP: u64 = SECOND / SERVER_EVENTS_PER_SECOND as u64;
/// Events that are given out together.
const RUN: u32 = EVENTS_RUN;
/// How far the allowance may be ahead of its time when a run is taken at once.
const AHEAD_MAX: u64 = STEP * (SERVER_EVENTS_BURST - RUN) as u64;

/// What all calls of one server may bring together, beyond what is their own.
#[derive(Debug)]
pub(in crate::upstream) struct Allowance {
    began: Instant,
    /// Up to when events have been given out at a steady pace, in nanoseconds since the beginning.
    due: AtomicU64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            due: AtomicU64::new(0),
        }
    }
}

impl Allowance {
    /// Takes the next run, and says when it may come.
    fn take_run(&self, now: Instant) -> Instant {
        let now = u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let run = STEP * u64::from(RUN);
        let taken = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            Some(due.max(now).saturating_add(run))
        });
        let from = taken.unwrap_or_else(|due| due).max(now);
        self.began + Duration::from_nanos(from.saturating_sub(AHEAD_MAX))
    }

    /// Takes back events that nobody has used. They move up those who come next; who waits already stays in its place.
    fn give_back(&self, events: u32) {
        let time = STEP * u64::from(events);
        let _ = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            Some(due.saturating_sub(time))
        });
    }
}

/// Events that may come at once, and others with time.
struct Steady {
    step: Duration,
    /// How far it may be ahead of its time.
    ahead_max: Duration,
    /// When the events that came would be due at a steady pace; `None` before the first.
    due: Option<Instant>,
}

impl Steady {
    fn new(burst: u32, per_second: u32) -> Self {
        let step = Duration::from_secs(1) / per_second;
        Self {
            step,
            ahead_max: step * burst.saturating_sub(1),
            due: None,
        }
    }

    /// What is due after one event more, or when that event may come.
    fn look(&self, now: Instant) -> Result<Instant, Instant> {
        let due = self.due.map_or(now, |due| due.max(now));
        if due.duration_since(now) <= self.ahead_max {
            Ok(due + self.step)
        } else {
            Err(due - self.ahead_max)
        }
    }
}

/// How fast one stream is read.
pub(crate) struct Pace {
    stream: Steady,
    /// `None` for a stream of subscriptions.
    share: Option<Share>,
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether it has waited, and all that came has not been handed on since.
    behind: bool,
}

impl Pace {
    /// The pace of a call that shares the allowance of its server, or of a stream that shares nobody's.
    pub(super) fn new(server: Option<&Arc<Allowance>>) -> Self {
        Self {
            stream: Steady::new(EVENTS_BURST, EVENTS_PER_SECOND),
            share: server.map(|server| Share::new(Arc::clone(server))),
            pause: None,
            behind: false,
        }
    }

    /// From now on nobody's allowance is shared.
    pub(super) fn apart(&mut self) {
        self.share = None;
    }

    /// Ready when the event that has come may be handed on; it counts then.
    pub(super) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.take(Instant::now()) {
                Ok(()) => return Poll::Ready(()),
                Err(until) => self.pause = Some(Box::pin(sleep_until(until))),
            }
            self.behind = true;
        }
    }

    /// All that has come was handed on: what is too fast now is so for the first time.
    pub(super) fn caught_up(&mut self) {
        self.behind = false;
    }

    /// Takes an event, or says when to ask again.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        // What was too fast is left alone for a while, and not woken for each event anew.
        let due = self.stream.look(now).map_err(|_| now + EVENTS_PAUSE)?;
        if let Some(share) = &mut self.share {
            share.take(now, self.behind)?;
        }
        self.stream.due = Some(due);
        Ok(())
    }
}

/// What one call may bring: its own events, and its runs of those of its server.
struct Share {
    server: Arc<Allowance>,
    own: Steady,
    /// What is left of the run that has come.
    run: u32,
    /// When the run that is waited for may come.
    next_run: Option<Instant>,
}

impl Share {
    fn new(server: Arc<Allowance>) -> Self {
        Self {
            server,
            own: Steady::new(CALL_EVENTS_BURST, CALL_EVENTS_PER_SECOND),
            run: 0,
            next_run: None,
        }
    }

    fn take(&mut self, now: Instant, behind: bool) -> Result<(), Instant> {
        let earned = match self.own.look(now) {
            Ok(due) => {
                self.own.due = Some(due);
                return Ok(());
            }
            Err(earned) => earned,
        };
        if self.run == 0 {
            let run = self.next_run.unwrap_or_else(|| self.server.take_run(now));
            if run > now {
                self.next_run = Some(run);
                let own = if behind { now + FLOOD_PAUSE_MAX } else { earned };
                return Err(run.min(own));
            }
            self.next_run = None;
            self.run = RUN;
        }
        self.run -= 1;
        Ok(())
    }
}

impl Drop for Share {
    /// Calls that end early, and begin anew, must not use up what they have not had.
    fn drop(&mut self) {
        let waited_for = self.next_run.map_or(0, |_| RUN);
        if self.run + waited_for > 0 {
            self.server.give_back(self.run + waited_for);
        }
    }
}

#[cfg(test)]
mod tests;
