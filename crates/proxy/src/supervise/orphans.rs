//! What a supervisor leaves behind that was killed itself.
//!
//! A supervisor ends everything that its server has started, unless somebody kills the supervisor. Its server dies with it
//! then, but a grandchild in a session of its own does not. So the gateway adopts orphans as well, and ends those that
//! have come from a supervisor: they are told from the gateway's own children by their session, because a supervisor
//! opens one before it starts anything, and no process can join another's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

use super::family::{Process, below, process, processes};

/// How often is looked for what is left.
const STEP: Duration = Duration::from_millis(10);

/// The supervisors that this process has started and that live. Held while one is started, so that none is ever taken for
/// an orphan.
static SUPERVISORS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Starts a supervisor. From then on this process adopts what its supervisors leave behind.
pub(crate) fn start<T>(
    start: impl FnOnce() -> std::io::Result<T>,
    pid: impl FnOnce(&T) -> Option<u32>,
) -> std::io::Result<T> {
    let mut supervisors = SUPERVISORS.lock();
    // Where the system has no such thing, orphans go to its first process as they always did.
    let _ = set_child_subreaper(Some(getpid()));
    let me = getpid().as_raw_nonzero().get();
    supervisors.retain(|pid| process(*pid).is_some_and(|process| process.parent == me));
    let started = start()?;
    supervisors.extend(pid(&started).and_then(|pid| i32::try_from(pid).ok()));
    Ok(started)
}

/// Ends what a killed supervisor has left behind, for at most `time_max`.
pub(crate) fn end(supervisor: u32, time_max: Duration) {
    let Ok(supervisor) = i32::try_from(supervisor) else {
        return;
    };
    SUPERVISORS.lock().remove(&supervisor);
    let given_up = Instant::now() + time_max;
    while end_some(supervisor) && Instant::now() < given_up {
        std::thread::sleep(STEP);
    }
}

/// Whether there was anything to end.
fn end_some(supervisor: i32) -> bool {
    let me = getpid().as_raw_nonzero().get();
    let supervisors = SUPERVISORS.lock();
    let all: Vec<Process> = processes().collect();
    let orphans = left_behind(&all, me, supervisor, &supervisors);
    for orphan in &orphans {
        for process in below(&all, orphan.pid).chain([*orphan]) {
            if let Some(pid) = Pid::from_raw(process.pid).filter(|_| !process.dead) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Some(pid) = Pid::from_raw(orphan.pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
    !orphans.is_empty()
}

/// The processes that `me` has adopted. Its own session is read where the others' are: a container's first processes are
/// often in one that was opened outside, which is 0 here and which `getsid` has no name for.
fn left_behind<'a>(all: &'a [Process], me: i32, supervisor: i32, supervisors: &BTreeSet<i32>) -> Vec<&'a Process> {
    let Some(session) = all.iter().find(|process| process.pid == me).map(|me| me.session) else {
        return Vec::new();
    };
    let is_orphan = |process: &&Process| {
        let foreign = process.session != session && !supervisors.contains(&process.pid);
        // The first process of a container adopts from everybody, so there only what is known for sure is ended.
        process.parent == me && foreign && (me != 1 || process.session == supervisor)
    };
    all.iter().filter(is_orphan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process((pid, parent, session): (i32, i32, i32)) -> Process {
        Process {
            pid,
            parent,
            session,
            dead: false,
        }
    }

    fn left(all: &[(i32, i32, i32)], me: i32) -> Vec<i32> {
        let all: Vec<_> = all.iter().copied().map(process).collect();
        let found = left_behind(&all, me, 20, &BTreeSet::from([30]));
        found.into_iter().map(|process| process.pid).collect()
    }

    #[test]
    fn orphans_of_a_killed_supervisor_are_told_from_the_gateways_own_children() {
        // A child of the gateway's own, a living supervisor, an orphan, and what is below it.
        let family = [(10, 2, 10), (11, 10, 10), (30, 10, 30), (21, 10, 20), (22, 21, 20)];
        assert_eq!(left(&family, 10), [21]);
    }

    #[test]
    fn a_gateway_whose_session_was_opened_outside_of_its_container_finds_its_orphans() {
        assert_eq!(left(&[(10, 2, 0), (11, 10, 0), (30, 10, 30), (21, 10, 20)], 10), [21]);
        // As the container's first process it adopts from everybody.
        assert_eq!(left(&[(1, 0, 0), (21, 1, 20), (40, 1, 40)], 1), [21]);
    }

    #[test]
    fn nothing_is_ended_where_the_gateway_does_not_find_itself() {
        assert!(left(&[(21, 10, 20)], 10).is_empty());
    }
}
