//! The program's own log: standard error, text on a terminal and JSON lines elsewhere.
//!
//! Threads that serve calls log too, and nobody promises that standard error is being read. So lines go through a bounded
//! queue to a thread that writes them; when it is full, lines are lost and counted, and no call waits.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;

/// The variable that sets what is logged, in the syntax of `tracing` (`info`, `meshgate_proxy=debug`).
pub const FILTER: &str = "MESHGATE_LOG";
/// On a terminal, a server that comes or goes is told in a friendlier way.
const DEFAULT_TERMINAL: &str = "warn,meshgate=info,meshgate_proxy=info,meshgate_proxy::upstream::keep=error";
const DEFAULT: &str = "warn,meshgate=info,meshgate_proxy=info";
/// Lines that wait for the thread.
const LINES_MAX: usize = 4 * 1024;
/// How long the last lines may take.
const LAST_WRITE_TIME: Duration = Duration::from_millis(500);

/// Writes the last lines when dropped.
#[derive(Debug)]
#[must_use]
pub struct Log {
    lines: SyncSender<Entry>,
}

#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    Written(SyncSender<()>),
}

impl Drop for Log {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Entry::Written(done)).is_ok() {
            // Nobody reads any more; the lines are lost.
            let _ = written.recv_timeout(LAST_WRITE_TIME);
        }
    }
}

/// Starts logging. A filter that cannot be read is named and replaced by the default.
pub fn start() -> Log {
    let terminal = io::stderr().is_terminal();
    let default = if terminal { DEFAULT_TERMINAL } else { DEFAULT };
    let wanted = std::env::var(FILTER).unwrap_or_else(|_| default.to_owned());
    let (filter, refused) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(default), Some(error)),
    };
    let (log, queue) = queue(io::stderr(), !terminal);
    let builder = fmt().with_env_filter(filter).with_writer(queue).with_ansi(terminal);
    // A second start in one process (tests) keeps the first logger.
    let _ = if terminal {
        builder.with_target(false).try_init()
    } else {
        builder.json().try_init()
    };
    if let Some(error) = refused {
        tracing::warn!(%error, "{FILTER} cannot be read; the default filter is used");
    }
    log
}

/// A queue and the thread that empties it. The thread ends with the last sender.
fn queue(to: impl Write + Send + 'static, json: bool) -> (Log, Queue) {
    let (lines, entries) = sync_channel(LINES_MAX);
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Queue {
        lines: lines.clone(),
        lost: lost.clone(),
        json,
    };
    // Without a thread nothing is logged, and the gateway works.
    let _ = std::thread::Builder::new()
        .name("meshgate-log".into())
        .spawn(move || write_all(&entries, &lost, to));
    (Log { lines }, queue)
}

fn write_all(entries: &Receiver<Entry>, lost: &AtomicU64, mut to: impl Write) {
    for entry in entries {
        let lost = lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(
                to,
                r#"{{"level":"WARN","fields":{{"message":"log lines were lost","lines":{lost}}}}}"#
            );
        }
        match entry {
            Entry::Line(line) => {
                let _ = to.write_all(&line);
            }
            Entry::Written(done) => {
                let _ = to.flush();
                let _ = done.try_send(());
            }
        }
    }
}

/// Makes one writer per line.
struct Queue {
    lines: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
    json: bool,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            queue: self,
            bytes: Vec::new(),
        }
    }
}

/// One line; it leaves whole when dropped.
struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let line = if self.queue.json { escaped(bytes) } else { bytes };
        if self.queue.lines.try_send(Entry::Line(line)).is_err() {
            self.queue.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// JSON leaves characters in its strings that end lines or reorder text elsewhere; they only ever stand in strings.
fn escaped(line: Vec<u8>) -> Vec<u8> {
    if line.is_ascii() {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in String::from_utf8_lossy(&line).chars() {
        let evil = matches!(c, '\u{7f}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if evil {
            out.push_str(&format!("\\u{:04x}", u32::from(c)))
        } else {
            out.push(c)
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests;
