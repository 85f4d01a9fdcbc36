//! What came of it: a page for people, and a verdict for scripts.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use crate::{Failure, machine::Machine, stats};

const KIB: u64 = 1024;
/// What an open stream may cost, from the goals.
const STREAM_BYTES_MAX: u64 = 40 * KIB;
/// Memory when all have left, over what it was before, in percent.
const LEFT_PERCENT_MAX: u64 = 110;
/// What may stay above the goal before a run fails: slabs that a few blocks keep and books of the allocator, 2.4 MiB after
/// 1,000 listens and 3.7 MiB after 10,000.
const LEFT_BYTES_MAX: u64 = 5 * KIB * KIB;

/// Memory of as many listens when they are opened again, over the most that was held before, in percent. A tenth is what
/// runs of a thousand listens differ by.
const AGAIN_PERCENT_MAX: u64 = 110;
/// The moment when as many listens are open once more.
pub(super) const AGAIN: &str = "as many open again";

/// The gateway at one moment.
pub(super) struct Memory {
    pub(super) when: &'static str,
    pub(super) rss: u64,
    /// Of it: pages of the program's own files, which the system may take at any time.
    pub(super) code: u64,
    pub(super) files: usize,
}

/// Everything that was found.
#[derive(Default)]
pub(super) struct Report {
    pub(super) listens: usize,
    pub(super) stalled: usize,
    pub(super) changes: u64,
    pub(super) flood: u64,
    pub(super) opening: Duration,
    pub(super) memory: Vec<Memory>,
    /// Times of somebody else's calls in microseconds, sorted.
    pub(super) calls: Vec<(&'static str, Vec<u64>)>,
    /// Subscriptions to resources that the server saw: opened ever, open in the end.
    pub(super) subscriptions: (u64, usize),
    pub(super) machine: Option<Machine>,
}

impl Report {
    fn at(&self, when: &str) -> Option<&Memory> {
        self.memory.iter().find(|memory| memory.when == when)
    }

    /// Growth of resident memory per open listen.
    fn per_stream(&self) -> u64 {
        let grown = self
            .at("all open")
            .zip(self.at("before"))
            .map(|(open, before)| open.rss.saturating_sub(before.rss));
        grown.unwrap_or_default() / (self.listens as u64).max(1)
    }

    /// Memory at one moment, over that at another, in percent.
    fn percent(&self, now: &str, then: u64) -> u64 {
        self.at(now).map(|now| now.rss * 100 / then.max(1)).unwrap_or_default()
    }

    /// What stays when all have left, beyond what was before and in percent of it; code that has been read meanwhile is not held by anybody.
    fn left(&self) -> (u64, u64) {
        let (Some(before), Some(left)) = (self.at("before"), self.at("all left")) else {
            return (0, 0);
        };
        let held = left.rss.saturating_sub(left.code.saturating_sub(before.code));
        (held.saturating_sub(before.rss), held * 100 / before.rss.max(1))
    }

    /// As many listens opened again, over the most that was held before.
    fn again_percent(&self) -> u64 {
        let before = self.memory.iter().filter(|memory| memory.when != AGAIN);
        self.percent(AGAIN, before.map(|memory| memory.rss).max().unwrap_or_default())
    }

    /// The page.
    pub(super) fn page(&self) -> String {
        let mut page = format!(
            "# {} open listens, {} of them stalled\n\nEach listens to the list of tools and to one resource of a merged view of two servers. {} changes of both were heard by each of the {} that read, once and in order; then {} messages of 2 KiB went to those that did not read (and to two that did, who heard all of them); then the changes again. Opening all took {:.1} s. At the server all of them were {} subscription(s) to resources, {} over the whole run.\n\n",
            self.listens,
            self.stalled,
            self.changes,
            self.listens - self.stalled,
            self.flood,
            self.opening.as_secs_f64(),
            self.subscriptions.1,
            self.subscriptions.0,
        );
        page.push_str("| moment | resident MiB | of it code | open files |\n|---|---|---|---|\n");
        for memory in &self.memory {
            let mib = |bytes: u64| bytes as f64 / (KIB * KIB) as f64;
            let (rss, code) = (mib(memory.rss), mib(memory.code));
            let _ = writeln!(page, "| {} | {rss:.1} | {code:.1} | {} |", memory.when, memory.files);
        }
        let _ = writeln!(
            page,
            "\n**{:.1} KiB per open listen** (goal: at most {}). When all have left, **{} %** of the memory before is resident, without code that has been read meanwhile (goal: at most {LEFT_PERCENT_MAX} %); with as many listens opened again it is **{} %** of the most that was held before (at most {AGAIN_PERCENT_MAX} %).\n",
            self.per_stream() as f64 / KIB as f64,
            STREAM_BYTES_MAX / KIB,
            self.left().1,
            self.again_percent(),
        );
        page.push_str("| somebody else's calls while | calls | failed | p50 ms | p99 ms |\n|---|---|---|---|---|\n");
        for (when, times) in &self.calls {
            let at = |share| stats::quantile(times, share) / 1000.0;
            let _ = writeln!(
                page,
                "| {when} | {} | 0 | {:.2} | {:.2} |",
                times.len(),
                at(0.5),
                at(0.99)
            );
        }
        page.push_str(
            "\nThe listeners of the bench and the gateway share the machine; each change wakes all of them at once.\n",
        );
        if let Some(machine) = &self.machine {
            let _ = writeln!(
                page,
                "\n{}, {} cores of {}, load before {} and after {}, commit {}.",
                machine.kernel,
                machine.cores,
                machine.processor,
                machine.load_before,
                machine.load_after,
                machine.commit
            );
        }
        page
    }

    /// Writes the page and names it in the list of results.
    pub(super) fn write(&self, results: &Path) -> Result<(), Failure> {
        let date = self
            .machine
            .as_ref()
            .map(|machine| machine.date.clone())
            .unwrap_or_default();
        let name = format!("listens-{date}");
        let failure = |e: std::io::Error| format!("cannot write to {}: {e}", results.display());
        fs::write(results.join(format!("{name}.md")), self.page()).map_err(failure)?;
        let list = results.join("README.md");
        let mut text = fs::read_to_string(&list).map_err(failure)?;
        let entry = format!("- [{name}]({name}.md)");
        if !text.contains(&entry) {
            let at = text.find("\n- [").map_or(text.len(), |at| at + 1);
            text.insert_str(at, &format!("{entry}\n"));
            fs::write(&list, text).map_err(failure)?;
        }
        Ok(())
    }

    /// An error where a goal is missed.
    pub(super) fn verdict(&self) -> Result<(), Failure> {
        if self.per_stream() > STREAM_BYTES_MAX {
            return Err(format!(
                "an open listen costs {} bytes, more than {STREAM_BYTES_MAX}",
                self.per_stream()
            ));
        }
        let (bytes, left) = self.left();
        if left > LEFT_PERCENT_MAX && bytes > LEFT_BYTES_MAX {
            return Err(format!(
                "when all have left, {left} % of the memory before is resident, more than {LEFT_PERCENT_MAX} % and {bytes} bytes more than before"
            ));
        }
        let again = self.again_percent();
        if again > AGAIN_PERCENT_MAX {
            return Err(format!(
                "as many listens again take {again} % of the most that was held before"
            ));
        }
        let stalled = self.at("all open").zip(self.at("those that do not read are closed"));
        if stalled.is_some_and(|(open, closed)| closed.files + self.stalled > open.files) {
            return Err("those that do not read are not closed".to_owned());
        }
        Ok(())
    }
}
