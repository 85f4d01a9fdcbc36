//! What bounds the calls of one server: how long each may take, and how many there may be at once.

use std::time::Duration;

use super::Server;
use crate::limits;

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Silence after which a call is given up; progress starts it anew.
    pub silence: Duration,
    /// Longest life of a call, whatever progress it reports.
    pub hard: Duration,
}

/// How many calls a server is given at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// Calls in flight.
    pub max: usize,
    /// Calls that wait for their turn.
    pub queue: usize,
    /// How long a call waits for its turn.
    pub queue_time: Duration,
}

impl Default for Concurrency {
    fn default() -> Self {
        let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            max: count(limits::SERVER_CALLS),
            queue: count(limits::SERVER_QUEUE),
            queue_time: limits::SERVER_QUEUE_TIME,
        }
    }
}

impl Server {
    /// The deadlines of a call of `tool`, named as the server names it; those of the server for everything else.
    pub fn deadlines(&self, tool: Option<&str>) -> Deadlines {
        let own = if self.tools.is_empty() {
            None
        } else {
            tool.and_then(|tool| self.tools.get(tool))
        };
        own.copied().unwrap_or(Deadlines {
            silence: self.deadline,
            hard: self.hard_deadline,
        })
    }
}
