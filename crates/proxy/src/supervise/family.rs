//! Everything that descends from this process, and its end.
//!
//! The supervisor adopts orphans, so whatever a server starts stays below it in the tree of parents, however often it
//! forks and whatever session it moves to. The tree is read from `/proc` again and again until nothing is left of it,
//! because a process may fork between the reading and the signal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

/// How often the tree is read while it is being ended.
const STEP: Duration = Duration::from_millis(10);

/// The descendants that are not dead yet.
pub(super) fn living() -> Vec<Pid> {
    let all: Vec<Process> = processes().collect();
    let living = below(&all, getpid().as_raw_nonzero().get()).filter(|process| !process.dead);
    living.filter_map(|process| Pid::from_raw(process.pid)).collect()
}

/// All descendants of a process, the dead included.
pub(super) fn below(all: &[Process], root: i32) -> impl Iterator<Item = &Process> {
    let mut children: HashMap<i32, Vec<&Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process);
    }
    let mut open = children.remove(&root).unwrap_or_default();
    std::iter::from_fn(move || {
        let next = open.pop()?;
        open.extend(children.remove(&next.pid).unwrap_or_default());
        Some(next)
    })
}

/// One process, as the system shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) session: i32,
    /// It has ended, and nobody has collected it yet.
    pub(super) dead: bool,
}

/// All processes.
pub(super) fn processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
}

/// One of them.
pub(super) fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    read(pid, &stat)
}

/// Reads `PID (NAME) STATE PPID PGRP SESSION …`, where the name may hold anything, brackets too.
fn read(pid: i32, stat: &[u8]) -> Option<Process> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        session: fields.nth(1)?.parse().ok()?,
        dead: matches!(state, "Z" | "X" | "x"),
    })
}

/// Collects the dead. Returns the status of `child` if it was among them.
pub(super) fn reap(child: Pid) -> Option<WaitStatus> {
    collect(child).0
}

/// The same, and whether nobody descends from this process any more: it adopts, so who has no children has no descendants.
fn collect(child: Pid) -> (Option<WaitStatus>, bool) {
    let mut found = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => found = Some(status),
            Ok(Some(_)) => {}
            Ok(None) => return (found, false),
            Err(error) => return (found, error == Errno::CHILD),
        }
    }
}

/// Asks every descendant to end, waits for at most `grace`, and then kills what is left until nothing is.
pub(super) fn end(child: Pid, grace: Duration, mut status: Option<WaitStatus>) -> Option<WaitStatus> {
    // Most servers leave nobody behind, and reading the whole tree takes longer than they do to start.
    let (found, is_alone) = collect(child);
    status = found.or(status);
    if is_alone {
        return status;
    }
    for pid in living() {
        // A process may have ended by itself, and a stopped one must go on to hear of it.
        let _ = kill_process(pid, Signal::TERM);
        let _ = kill_process(pid, Signal::CONT);
    }
    let given_up = Instant::now() + grace;
    loop {
        status = reap(child).or(status);
        let left = living();
        if left.is_empty() {
            // Whoever died between the last two looks.
            return reap(child).or(status);
        }
        if Instant::now() >= given_up {
            for pid in left {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(STEP);
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, read};

    #[test]
    fn a_process_name_with_brackets_and_spaces_does_not_mislead() {
        let process = |parent, session, dead| {
            Some(Process {
                pid: 12,
                parent,
                session,
                dead,
            })
        };
        assert_eq!(read(12, b"12 (a) R 99 (b) S 7 1 2 0"), process(7, 2, false));
        assert_eq!(read(12, b"12 (x) Z 3 1 1 0"), process(3, 1, true));
        assert_eq!(read(12, b"12 (x) R 3 1"), None);
        assert_eq!(read(12, b"12 (x"), None);
    }
}
