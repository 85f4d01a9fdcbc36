//! File descriptors: how many this process may open, and when to stop taking connections.
//!
//! A gateway without descriptors cannot reach its servers, write its records or answer its operator, so the last of them
//! are not for clients. The kernel always gives the lowest free number: a connection whose number is near the limit says
//! that all below it are in use, which costs nothing to look at.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The descriptors of a process, as its listener sees them.
#[derive(Debug)]
pub(super) struct Descriptors {
    /// The first number that is kept for everything but clients.
    kept_from: u64,
    /// The last connection got a number of those.
    short: bool,
}

impl Descriptors {
    /// Keeps the last `kept` of what this process may open, or a quarter where it may open little.
    pub(super) fn of_this_process(kept: usize) -> Self {
        let may_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self {
            kept_from: may_open - (kept as u64).min(may_open / 4),
            short: false,
        }
    }

    /// A connection has got this descriptor.
    pub(super) fn given(&mut self, stream: &impl AsRawFd) {
        self.short = self.is_kept(stream);
    }

    /// Whether the next connection would take one that is kept. `any` is something to try it with.
    pub(super) fn are_short(&mut self, any: &impl AsFd) -> bool {
        if self.short {
            self.short = match any.as_fd().try_clone_to_owned() {
                Ok(probe) => self.is_kept(&probe),
                Err(_) => true,
            };
        }
        self.short
    }

    fn is_kept(&self, descriptor: &impl AsRawFd) -> bool {
        u64::try_from(descriptor.as_raw_fd()).is_ok_and(|number| number >= self.kept_from)
    }
}

/// Lets this process open as many files as the system allows it to: the limit that most systems start a process with is
/// made for programs that use `select`, and is less than a gateway's connections. Says how many that are.
pub fn raise_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if current != maximum && setrlimit(Resource::Nofile, raised).is_err() {
        return current;
    }
    maximum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_last_descriptors_are_kept_and_seen_to_be_free_again() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = u64::try_from(file.as_raw_fd()).unwrap();
        let mut enough = Descriptors {
            kept_from: number + 1,
            short: false,
        };
        enough.given(&file);
        assert!(!enough.are_short(&file));
        let mut short = Descriptors {
            kept_from: number,
            short: false,
        };
        assert!(!short.are_short(&file), "nothing is tried before a connection says so");
        short.given(&file);
        assert!(short.are_short(&file), "a copy gets a higher number still");
        short.kept_from = u64::MAX;
        assert!(!short.are_short(&file));
    }

    #[test]
    fn a_process_that_may_open_little_keeps_a_quarter() {
        let may_open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let descriptors = Descriptors::of_this_process(usize::MAX);
        assert_eq!(descriptors.kept_from, may_open - may_open / 4);
    }
}
