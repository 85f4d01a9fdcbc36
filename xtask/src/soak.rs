//! `soak`: what only shows after a thousand times.
//!
//! `soak reload` changes the mesh file of a running gateway over and over while calls run, half of the times into
//! something bad, the way editors and orchestrators do it. Each call must be answered and must have run exactly once,
//! which the ledger knows; and afterwards the gateway must hold what it held before. `soak rotation` renews certificates that
//! live for seconds.

mod files;
mod rotation;
mod watched;

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use self::files::{Files, Kind};
use self::watched::{Held, Watched};
use crate::{Failure, http, place::Place};

const CALLERS: usize = 3;
/// Reloads before the gateway is measured for the first time.
const WARM: usize = 20;
/// How long a change may take to be noticed.
const NOTICED_MAX: Duration = Duration::from_secs(20);
/// How long what was left behind may take to go: the drain time of the mesh file, and some.
const SETTLED_MAX: Duration = Duration::from_secs(20);
/// Descriptors and bytes that may come and go with connections and the allocator.
const DESCRIPTORS_MORE: usize = 8;
const KIB_MORE: usize = 24 * 1024;
const REPORT: &str = "tests/e2e/results/reload.md";

/// What to do a thousand times.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Change the mesh file of a running gateway under calls, half of the times into something bad
    Reload(Options),
    /// Renew certificates of three seconds under calls
    Rotation(rotation::Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// How often the file is changed
    #[arg(long, default_value_t = 1000)]
    reloads: usize,
    /// Write the committed report
    #[arg(long)]
    write: bool,
}

pub(crate) fn run(place: &Place, what: &What) -> Result<(), Failure> {
    let options = match what {
        What::Rotation(options) => return rotation::run(place, options),
        What::Reload(options) => options,
    };
    let scratch = place.scratch("soak-reload")?;
    let ledger = scratch.join("ledger.txt");
    let authority = format!("127.0.0.1:{}", http::free_port()?);
    let mut files = Files::new(&scratch, &authority, &place.newest_program("fixture-ledger")?, &ledger)?;
    let mut gateway = Watched::start(place, &files.path(), &scratch.join("state"), &authority)?;
    let callers = Callers::start(&authority, gateway.token());
    let began = Instant::now();
    let counts = change(&mut files, &mut gateway, options.reloads, &callers)?;
    let took = began.elapsed();
    let calls = callers.end()?;
    let after = settled(&gateway, &counts.before)?;
    let ran = check_ledger(&ledger, &calls)?;
    let report = report(options.reloads, took, &counts, calls.answered, ran, &after);
    println!("{report}");
    if options.write {
        let path = place.root().join(REPORT);
        fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(|e| e.to_string())?;
        fs::write(&path, report).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    }
    match calls.failed.len() {
        0 => Ok(()),
        failed => Err(format!("{failed} call(s) failed; the first: {}", calls.failed.concat())),
    }
}

/// What became of the changes.
struct Counts {
    applied: u64,
    refused: u64,
    longest: Duration,
    before: Held,
}

fn change(files: &mut Files, gateway: &mut Watched, reloads: usize, callers: &Callers) -> Result<Counts, Failure> {
    let mut counts = Counts {
        applied: 0,
        refused: 0,
        longest: Duration::ZERO,
        before: gateway.held()?,
    };
    for number in 0..reloads {
        if number == WARM.min(reloads / 2) {
            counts.before = gateway.held()?;
        }
        let answered = callers.answered.load(Ordering::Relaxed);
        let (kind, start) = (files.change(number)?, Instant::now());
        match kind {
            Kind::Good => counts.applied += 1,
            Kind::Bad => counts.refused += 1,
        }
        let wanted = (counts.applied, counts.refused);
        gateway.wait_until(&format!("change {number}"), NOTICED_MAX, |status| {
            (status.applied, status.refused) == wanted
        })?;
        counts.longest = counts.longest.max(start.elapsed());
        // Calls must really run between any two changes.
        let start = Instant::now();
        while callers.answered.load(Ordering::Relaxed) < answered + CALLERS && start.elapsed() < NOTICED_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(counts)
}

/// What the gateway holds once everything that was left behind has had time to go.
fn settled(gateway: &Watched, before: &Held) -> Result<Held, Failure> {
    let start = Instant::now();
    loop {
        let now = gateway.held()?;
        let fits = now.children <= before.children
            && now.threads <= before.threads
            && now.descriptors <= before.descriptors + DESCRIPTORS_MORE
            && now.kib <= before.kib + KIB_MORE;
        if fits {
            return Ok(now);
        }
        if start.elapsed() > SETTLED_MAX {
            return Err(format!(
                "the gateway holds {now:?} after the soak and held {before:?} before it"
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The executions; each key exactly once, and every answered call among them.
fn check_ledger(ledger: &PathBuf, calls: &Calls) -> Result<usize, Failure> {
    let text = fs::read_to_string(ledger).map_err(|e| format!("cannot read {}: {e}", ledger.display()))?;
    let mut times: HashMap<&str, usize> = HashMap::new();
    for line in text.lines() {
        *times.entry(line).or_default() += 1;
    }
    if let Some((key, times)) = times.iter().find(|(_, times)| **times != 1) {
        return Err(format!("`{key}` ran {times} times"));
    }
    if times.len() != calls.answered {
        return Err(format!(
            "{} calls were answered and {} ran",
            calls.answered,
            times.len()
        ));
    }
    Ok(times.len())
}

/// Threads that call without a pause.
struct Callers {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

struct Calls {
    answered: usize,
    failed: Vec<String>,
}

impl Callers {
    fn start(authority: &str, token: &str) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let caller = |number: usize| {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (authority, token) = (authority.to_owned(), token.to_owned());
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let arguments = format!(r#"{{"key":"{number}-{turn}"}}"#);
                    let answer = http::call_tool(&authority, files::VIEW, Some(&token), "append", &arguments);
                    if answer.contains(&format!("appended {number}-{turn}")) {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed.push(answer);
                    }
                }
                failed
            })
        };
        let threads = (0..CALLERS).map(caller).collect();
        Self {
            stop,
            answered,
            threads,
        }
    }

    fn end(self) -> Result<Calls, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for thread in self.threads {
            failed.extend(thread.join().map_err(|_| "a caller's thread ended early")?);
        }
        Ok(Calls {
            answered: self.answered.load(Ordering::Relaxed),
            failed,
        })
    }
}

fn report(reloads: usize, took: Duration, counts: &Counts, answered: usize, ran: usize, after: &Held) -> String {
    let before = &counts.before;
    let row = |what: &str, before: usize, after: usize| format!("| {what} | {before} | {after} |\n");
    let mut text = format!(
        "# {reloads} reloads under calls\n\n<!-- Written by `cargo xtask soak reload --write`. -->\n\n\
         A running gateway in front of a server over stdio that writes down every execution; {CALLERS} callers without a \
         pause.\nThe mesh file is a link into a directory that a second link names. By turns the file is replaced by a \
         rename, and the\nsecond link is swapped; every second change is bad.\n\n\
         {} changes were applied and {} refused in {} s; the longest took {} ms to be noticed and decided.\n\
         {answered} calls were made and answered, 0 failed, {ran} ran, each exactly once.\n\n\
         | the gateway holds | before | after |\n|---|---|---|\n",
        counts.applied,
        counts.refused,
        took.as_secs(),
        counts.longest.as_millis(),
    );
    text.push_str(&row("descriptors", before.descriptors, after.descriptors));
    text.push_str(&row("threads", before.threads, after.threads));
    text.push_str(&row("descendants", before.children, after.children));
    text.push_str(&row("KiB of memory", before.kib, after.kib));
    text
}
