//! The state of the machine, because a figure without it cannot be compared with anything.

use std::{fs, path::Path, process::Command};

/// Everything that explains why two runs differ.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    pub(crate) realtime: bool,
}

impl Machine {
    pub(crate) fn look(root: &Path, realtime: bool) -> Self {
        Self {
            kernel: said("uname", &["-sr"], root),
            processor: field("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: field("/proc/meminfo", "MemTotal")
                .split_whitespace()
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or_default()
                / 1024,
            load_before: load(),
            load_after: String::new(),
            commit: commit(root),
            date: said("date", &["-u", "+%Y-%m-%d"], root),
            realtime,
        }
    }

    /// All of it in one sentence.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}, {} cores, {} MiB, {}; load average {} before and {} after; commit {}; {}scheduled.",
            self.processor,
            self.cores,
            self.memory_mib,
            self.kernel,
            self.load_before,
            self.load_after,
            self.commit,
            if self.realtime { "real-time " } else { "normally " }
        )
    }

    pub(crate) fn look_again(&mut self) {
        self.load_after = load();
    }
}

/// The commit, and whether the tree differs from it.
fn commit(root: &Path) -> String {
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"], root);
    let changed = said(
        "git",
        &["status", "--porcelain", "--untracked-files=no", "--", "crates"],
        root,
    );
    if changed.is_empty() {
        commit
    } else {
        format!("{commit} and changes")
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .unwrap_or_default()
}

fn said(program: &str, arguments: &[&str], root: &Path) -> String {
    Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
