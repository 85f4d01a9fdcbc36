//! Drain as a value: how a process that must end lets its calls finish first.
//!
//! An orchestrator stops a gateway with SIGTERM and expects that no call fails for it. So the wish to end is handed to
//! every task that holds a call or a connection, as a value it can wait on; each finishes what it has and begins nothing
//! new. Who started the drain waits for all of them, but not for ever: after the deadline the same value says that
//! work is now broken off, and the count of what was broken off is what the operator reads in the log.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long forced work gets to let go of what it holds.
const LET_GO_TIME: Duration = Duration::from_secs(5);

/// Makes the two ends of a drain.
pub fn drain() -> (Drainer, Drain) {
    let watch = Drain {
        asked: CancellationToken::new(),
        forced: CancellationToken::new(),
        work: TaskTracker::new(),
    };
    (Drainer { watch: watch.clone() }, watch)
}

/// The end that starts a drain and waits for it.
#[derive(Debug)]
pub struct Drainer {
    watch: Drain,
}

/// The end that work holds: it says when to finish, and when to break off.
#[derive(Clone, Debug)]
pub struct Drain {
    asked: CancellationToken,
    forced: CancellationToken,
    work: TaskTracker,
}

/// A piece of work that a drain waits for; ends when dropped.
#[derive(Debug)]
pub struct Work {
    _token: TaskTrackerToken,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Work that was under way when the drain began, or began late, and finished by itself.
    pub finished: usize,
    /// Work that was broken off at the deadline.
    pub forced: usize,
}

impl Drainer {
    /// Another of the ends that work holds.
    pub fn watch(&self) -> Drain {
        self.watch.clone()
    }

    /// Asks all work to finish, without waiting for it. `drain` asks too; this is for the first of several steps.
    pub fn ask(&self) {
        self.watch.asked.cancel();
    }

    /// Asks all work to finish, waits until it has or `deadline` passes, then breaks off the rest.
    pub async fn drain(self, deadline: Duration) -> Drained {
        let Drain { asked, forced, work } = &self.watch;
        let under_way = work.len();
        asked.cancel();
        work.close();
        if tokio::time::timeout(deadline, work.wait()).await.is_ok() {
            return Drained {
                finished: under_way,
                forced: 0,
            };
        }
        let left = work.len();
        forced.cancel();
        if tokio::time::timeout(LET_GO_TIME, work.wait()).await.is_err() {
            tracing::warn!(left = work.len(), "work did not let go after the drain's deadline");
        }
        Drained {
            finished: under_way.saturating_sub(left),
            forced: left,
        }
    }
}

impl Drain {
    /// Resolves when work is asked to finish; at once when it already is.
    pub async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Whether work is asked to finish: begin nothing new.
    pub fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Resolves when the deadline has passed: break off.
    pub async fn forced(&self) {
        self.forced.cancelled().await;
    }

    /// Counts a piece of work that the drain must wait for, until the value is dropped.
    pub fn work(&self) -> Work {
        Work {
            _token: self.work.token(),
        }
    }
}

#[cfg(test)]
mod tests;
