//! Everything that descends from this process, and its end.
//!
//! The supervisor adopts orphans, so whatever a server starts stays below it in the tree of parents, however often it
//! forks and whatever session it moves to. The tree is read from `/proc` again and again until nothing is left of it,
//! because a process may fork between the reading and the signal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};

/// How often the tree is read while it is being ended.
const STEP: Duration = Duration::from_millis(10);

/// The descendants that are not dead yet.
pub(super) fn living() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<(i32, bool)>> = HashMap::new();
    for (pid, parent, zombie) in processes() {
        children.entry(parent).or_default().push((pid, zombie));
    }
    let mut found = Vec::new();
    let mut open = vec![getpid().as_raw_nonzero().get()];
    while let Some(parent) = open.pop() {
        for (pid, zombie) in children.remove(&parent).unwrap_or_default() {
            open.push(pid);
            if !zombie {
                found.extend(Pid::from_raw(pid));
            }
        }
    }
    found
}

/// All processes as (pid, parent, is a zombie).
fn processes() -> impl Iterator<Item = (i32, i32, bool)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        let (parent, zombie) = parent_and_state(&stat)?;
        Some((pid, parent, zombie))
    })
}

/// Reads `PID (NAME) STATE PPID …`, where the name may hold anything, brackets too.
fn parent_and_state(stat: &[u8]) -> Option<(i32, bool)> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    Some((fields.next()?.parse().ok()?, matches!(state, "Z" | "X" | "x")))
}

/// Collects the dead. Returns the status of `child` if it was among them.
pub(super) fn reap(child: Pid) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            found = Some(status);
        }
    }
    found
}

/// Asks every descendant to end, waits for at most `grace`, and then kills what is left until nothing is.
pub(super) fn end(child: Pid, grace: Duration, mut status: Option<WaitStatus>) -> Option<WaitStatus> {
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
    use super::parent_and_state;

    #[test]
    fn a_process_name_with_brackets_and_spaces_does_not_mislead() {
        assert_eq!(parent_and_state(b"12 (a) R 99 (b) S 7 1 1 0"), Some((7, false)));
        assert_eq!(parent_and_state(b"12 (x) Z 3 1"), Some((3, true)));
        assert_eq!(parent_and_state(b"12 (x"), None);
    }
}
