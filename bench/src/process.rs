//! What the kernel says about a process and everything it has started.

use std::{collections::BTreeMap, fs};

use crate::Failure;

/// Processor time and memory of a process tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of processor time, user and system, with children that have ended.
    pub(crate) cpu: f64,
    /// Resident bytes.
    pub(crate) rss: u64,
}

impl Usage {
    /// Of the process with this id and its descendants.
    pub(crate) fn of(root: u32) -> Result<Self, Failure> {
        let (mut ticks, mut rss) = (0, 0);
        for (id, process) in tree(root)? {
            ticks += process.ticks;
            rss += rolled_up(id, "Rss:");
        }
        Ok(Self {
            cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            rss,
        })
    }
}

/// The memory of a process tree, and whose it is. All in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weight {
    /// Resident.
    pub(crate) rss: u64,
    /// Of that, pages of files it has mapped: its program and libraries.
    pub(crate) file: u64,
    /// Resident, each page divided by the processes that share it.
    pub(crate) pss: u64,
}

impl Weight {
    /// Of the process with this id and its descendants.
    pub(crate) fn of(root: u32) -> Result<Self, Failure> {
        let mut weight = Self::default();
        for (id, _) in tree(root)? {
            weight.rss += rolled_up(id, "Rss:");
            weight.pss += rolled_up(id, "Pss:");
            // One that has just ended weighs nothing.
            weight.file += mapped(id).unwrap_or_default();
        }
        Ok(weight)
    }
}

/// The process with this id and its descendants.
fn tree(root: u32) -> Result<Vec<(u32, Process)>, Failure> {
    let all = processes();
    let mut found = Vec::new();
    let mut left = vec![root];
    while let Some(id) = left.pop() {
        found.extend(all.get(&id).map(|process| (id, *process)));
        left.extend(
            all.iter()
                .filter(|(_, process)| process.parent == id)
                .map(|(id, _)| *id),
        );
    }
    if found.is_empty() {
        return Err(format!("process {root} is gone"));
    }
    Ok(found)
}

/// From here on the kernel measures the most memory of this process anew.
pub(crate) fn forget_peak(id: u32) -> Result<(), Failure> {
    fs::write(format!("/proc/{id}/clear_refs"), "5").map_err(|e| format!("cannot reset the peak of memory: {e}"))
}

/// The most resident bytes of this process since then.
pub(crate) fn peak(id: u32) -> Result<u64, Failure> {
    status(id, "VmHWM:")
}

/// Resident bytes of files that this process has mapped: its program.
pub(crate) fn mapped(id: u32) -> Result<u64, Failure> {
    status(id, "RssFile:")
}

fn status(id: u32, name: &str) -> Result<u64, Failure> {
    let text = fs::read_to_string(format!("/proc/{id}/status")).map_err(|e| format!("process {id} is gone: {e}"))?;
    let kib: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| format!("the kernel tells no `{name}` of process {id}"))
}

#[derive(Clone, Copy)]
struct Process {
    parent: u32,
    ticks: u64,
}

fn processes() -> BTreeMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            Some((id, read(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
        })
        .collect()
}

/// The fields behind the name, which may itself hold spaces and parentheses.
fn read(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: (11..=14).map(number).sum::<Option<u64>>()?,
    })
}

fn rolled_up(id: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
    let kib: Option<u64> = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::{Usage, Weight, read};

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let process = read("7 (a) b)) S 3 1 1 0 -1 0 0 0 0 0 10 20 1 2 20 0").unwrap();
        assert_eq!((process.parent, process.ticks), (3, 33));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::of(std::process::id()).unwrap().rss > 0);
        let weight = Weight::of(std::process::id()).unwrap();
        assert!(
            weight.file > 0 && weight.file < weight.rss && weight.pss <= weight.rss,
            "{weight:?}"
        );
        assert!(super::peak(std::process::id()).unwrap() > 0);
    }
}
