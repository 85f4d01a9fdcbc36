//! When a SVID is renewed: a plan without clock, entropy or IO.
//!
//! A third of the way through its life, moved a little by chance so that parts which started together do not renew together.
//! The rest of the life is there for a control plane that is away: failures are repeated with growing pauses, the valid SVID
//! stays in use, and from two thirds on somebody should know. Due-ness is read off the wall clock at every look, never
//! turned into one long timer: timers stand still while a host sleeps, and a host that slept must see at once that it is
//! late. A clock that jumps back must not delay anything by the jump either.

use std::time::{Duration, SystemTime};

use crate::limits::{
    CERTIFICATE_BACKDATED, HELD_RENEWAL, ROTATION_JITTER_PERCENT, ROTATION_LOOK_EVERY, ROTATION_RETRY_FIRST,
    ROTATION_RETRY_MAX,
};
use crate::svid::Svid;

#[cfg(test)]
mod tests;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing; look again after this long.
    Wait(Duration),
    /// Ask for a new SVID, showing the current one. Said once: until [`Rotation::failed`] or a new plan, it is under way.
    Renew,
    /// As [`Renew`](Self::Renew), but the current one has ended: prove that its key is held.
    RenewHeld,
    /// It ended too long ago; only a new join token helps.
    Lost,
}

/// How worried somebody should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Not at all.
    None,
    /// Past two thirds of its life: renewal has failed for a third of a life.
    Late,
    /// It has ended: no new connection can be made.
    Ended,
}

/// The plan of renewing one SVID.
#[derive(Clone, Debug)]
pub struct Rotation {
    began: SystemTime,
    ends: SystemTime,
    due: SystemTime,
    under_way: bool,
    failures: u32,
    /// The last failure, or the taking into use, and the pause after it.
    pause: Option<(SystemTime, Duration)>,
}

impl Rotation {
    /// The plan for a SVID; `jitter` is a random number.
    pub fn of(svid: &Svid, jitter: u64) -> Self {
        Self::new(svid.not_before(), svid.not_after(), jitter)
    }

    /// The plan for a certificate with these times. Its life counts from its making, not from where it was back-dated to.
    pub fn new(not_before: SystemTime, not_after: SystemTime, jitter: u64) -> Self {
        let made = not_before + CERTIFICATE_BACKDATED;
        let began = if made < not_after { made } else { not_before };
        let life = not_after.duration_since(began).unwrap_or_default();
        Self {
            began,
            ends: not_after,
            due: began + jittered(life / 3, ROTATION_JITTER_PERCENT, jitter),
            under_way: false,
            failures: 0,
            pause: None,
        }
    }

    /// The plan for a SVID that was taken into use at `now`: nothing is due for a moment, whatever the clock says. A host whose
    /// clock is a day ahead would otherwise find every new SVID due at once and ask without a pause.
    #[must_use]
    pub fn taken(mut self, now: SystemTime) -> Self {
        let life = self.ends.duration_since(self.began).unwrap_or_default();
        self.pause = Some((now, ROTATION_RETRY_MAX.min(life / 3)));
        self
    }

    /// When it is to be renewed for the first time.
    pub fn due(&self) -> SystemTime {
        self.due
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: SystemTime) -> Step {
        let over = now.duration_since(self.ends).unwrap_or_default();
        if over > HELD_RENEWAL {
            return Step::Lost;
        }
        if self.under_way {
            return Step::Wait(ROTATION_LOOK_EVERY);
        }
        let wait = self.left(now);
        if !wait.is_zero() {
            return Step::Wait(wait.min(ROTATION_LOOK_EVERY));
        }
        self.under_way = true;
        if now >= self.ends { Step::RenewHeld } else { Step::Renew }
    }

    /// The attempt under way failed at `now`; the next comes after a pause that `jitter` (a random number) shortens by up to a
    /// half.
    pub fn failed(&mut self, now: SystemTime, jitter: u64) {
        let pause = ROTATION_RETRY_FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(ROTATION_RETRY_MAX);
        let half = pause / 2;
        self.failures = self.failures.saturating_add(1);
        self.pause = Some((now, half + share(half, jitter)));
        self.under_way = false;
    }

    /// It must be renewed now whatever its age: its root is retired, or a person asked.
    pub fn hasten(&mut self) {
        self.due = self.began;
        self.pause = None;
    }

    /// How worried somebody should be at `now`.
    pub fn alarm(&self, now: SystemTime) -> Alarm {
        let life = self.ends.duration_since(self.began).unwrap_or_default();
        if now >= self.ends {
            Alarm::Ended
        } else if now >= self.began + life / 3 * 2 {
            Alarm::Late
        } else {
            Alarm::None
        }
    }

    /// How long nothing is to be done.
    fn left(&self, now: SystemTime) -> Duration {
        let until_due = self.due.duration_since(now).unwrap_or_default();
        // A clock that went back behind the last failure says nothing about how long ago that was.
        let paused = self.pause.and_then(|(failed, pause)| {
            let since = now.duration_since(failed).ok()?;
            Some(pause.saturating_sub(since))
        });
        until_due.max(paused.unwrap_or_default())
    }
}

/// A duration moved up or down by at most `percent`, by a random number.
pub(crate) fn jittered(duration: Duration, percent: u32, random: u64) -> Duration {
    let most = duration / 100 * percent;
    (duration - most) + share(most * 2, random)
}

/// A part of a duration, by a random number: all of `u64` covers all of it.
fn share(duration: Duration, random: u64) -> Duration {
    let nanos = u128::from(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    let part = (nanos * u128::from(random)) >> 64;
    Duration::from_nanos(u64::try_from(part).unwrap_or(u64::MAX))
}
