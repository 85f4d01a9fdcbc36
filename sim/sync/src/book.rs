//! What was seen, phase by phase, and what was wrong.

use std::collections::BTreeMap;
use std::time::Duration;

/// Findings that are kept; more say nothing new.
const FINDINGS_MAX: usize = 20;

/// Times, of which the middle, the tail and the last are asked for.
#[derive(Clone, Debug, Default)]
pub struct Spread(Vec<Duration>);

impl Spread {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that so many of a hundred do not exceed; `None` without any.
    pub fn percentile(&self, percent: usize) -> Option<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        sorted.get(at).copied()
    }
}

/// A part of the plan.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// What it is.
    pub name: &'static str,
    /// When it began.
    pub began: Duration,
    /// From a change to its being in force, for each change and proxy.
    pub in_force: Spread,
    /// The same for denials alone.
    pub denied: Spread,
    /// From the beginning of the phase to an open stream.
    pub opened: Spread,
    /// Streams that were told to come later.
    pub later: u64,
    /// Changes that were sent, and how many of them were everything.
    pub pushes: u64,
    /// Of those, everything there is.
    pub whole: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Bytes of messages to proxies.
    pub bytes_down: u64,
    /// Bytes of messages from proxies.
    pub bytes_up: u64,
    /// Streams that were opened in each second.
    pub opened_in: BTreeMap<u64, u64>,
}

impl Phase {
    /// The most streams that were opened in one second.
    pub fn opened_in_a_second(&self) -> u64 {
        self.opened_in.values().copied().max().unwrap_or_default()
    }
}

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub struct Book {
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// What was wrong.
    pub findings: Vec<String>,
    /// A number that is the same when the same happened.
    pub story: u64,
    /// Events that were played.
    pub events: u64,
    /// What the server really took of this machine's time.
    pub spent: Duration,
    /// For so many changes.
    pub pushes: u64,
    /// How long everything took to play.
    pub took: Duration,
    /// And how much of a processor that was; `None` where the system does not say.
    pub processor: Option<Duration>,
    /// What was simulated, in seconds.
    pub seconds: u64,
}

impl Book {
    pub(crate) fn phase(&mut self) -> &mut Phase {
        if self.phases.is_empty() {
            self.phases.push(Phase::default());
        }
        // INVARIANT: there is one.
        let last = self.phases.len() - 1;
        &mut self.phases[last]
    }

    pub(crate) fn begin(&mut self, name: &'static str, now: Duration) {
        self.phases.push(Phase {
            name,
            began: now,
            ..Phase::default()
        });
    }

    pub(crate) fn opened(&mut self, now: Duration) {
        let phase = self.phase();
        let since = now.saturating_sub(phase.began);
        phase.opened.add(since);
        *phase.opened_in.entry(now.as_secs()).or_default() += 1;
    }

    pub(crate) fn find(&mut self, now: Duration, what: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(format!("at {:.3} s: {what}", now.as_secs_f64()));
        }
    }

    /// Something happened: the story goes on.
    pub(crate) fn tell(&mut self, now: Duration, what: u64, whom: usize) {
        let time = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        for number in [time, what, u64::try_from(whom).unwrap_or(u64::MAX)] {
            self.story = (self.story ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
        }
    }
}
