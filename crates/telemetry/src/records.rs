//! From a call to a line: the ring, and the task that drains it.
//!
//! A channel would wake the reader once per call, and those wake-ups land in the tail of other calls. So the ring has no
//! waker: a call pushes under a lock that is held for one move, and the task looks ten times per second, takes the whole
//! batch by swapping two buffers, counts it, formats it and hands it to a blocking thread. A sink that stalls (a full
//! pipe, a slow disk) costs lines, which are counted; metrics stay exact.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::limits::{
    DRAIN_INTERVAL, LAST_WRITE_TIME_MAX, LINES_KEPT_BYTES_MAX, LINES_WAITING_BYTES_MAX, RECORDS_KEPT_MAX,
    RECORDS_WAITING_MAX,
};
use crate::metrics::Metrics;
use crate::record::{AccessRecord, Clock};
use crate::spans::Spans;

#[cfg(test)]
mod tests;

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere; calls are only counted.
    Off,
    /// The standard error stream.
    #[default]
    Stderr,
    /// The end of a file, made with mode 0600 when it is missing.
    File(PathBuf),
}

impl AccessLog {
    /// Opens the sink.
    pub fn open(&self) -> io::Result<Option<Box<dyn Write + Send>>> {
        Ok(match self {
            Self::Off => None,
            Self::Stderr => Some(Box::new(io::stderr())),
            Self::File(path) => Some(Box::new(open_append(path)?)),
        })
    }
}

fn open_append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// A record that waits. Boxed since its call began, so that neither the calls nor the ring move half a kilobyte.
type Waiting = Box<AccessRecord>;

/// The ring between calls and the task that writes them down.
#[derive(Debug)]
pub struct Records {
    waiting: Mutex<Vec<Waiting>>,
    waiting_max: usize,
    dropped: AtomicU64,
    spans: Option<Arc<Spans>>,
}

impl Default for Records {
    fn default() -> Self {
        Self::new(RECORDS_WAITING_MAX)
    }
}

impl Records {
    /// A ring that holds at most `waiting_max` records.
    pub fn new(waiting_max: usize) -> Self {
        Self {
            waiting: Mutex::new(Vec::new()),
            waiting_max,
            dropped: AtomicU64::new(0),
            spans: None,
        }
    }

    /// A ring whose records become spans as well.
    #[must_use]
    pub fn with_spans(mut self, spans: Arc<Spans>) -> Self {
        self.spans = Some(spans);
        self
    }

    /// Hands a record over, boxed, because it is half a kilobyte and many hands pass it on. Never waits; a full ring drops the
    /// record and counts it.
    pub fn push(&self, record: Box<AccessRecord>) {
        let mut waiting = self.waiting.lock();
        if waiting.len() < self.waiting_max {
            waiting.push(record);
        } else {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were lost because the ring was full, and lines that were lost because the sink stalled.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Whether what is pushed also becomes spans, so that it is worth knowing what only they tell.
    pub fn spans(&self) -> Option<&Arc<Spans>> {
        self.spans.as_ref()
    }

    /// Drains the ring until `closing` ends, then once more. To be owned by the keep runtime.
    pub async fn run(
        self: Arc<Self>,
        metrics: Arc<Metrics>,
        sink: Option<Box<dyn Write + Send>>,
        closing: impl Future<Output = ()>,
    ) {
        let mut writer = Writer::new(sink);
        let mut batch = Vec::new();
        let mut tick = interval(DRAIN_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = pin!(closing);
        loop {
            let last = tokio::select! {
                () = &mut closing => true,
                _ = tick.tick() => false,
            };
            std::mem::swap(&mut *self.waiting.lock(), &mut batch);
            let lost = self.settle(&mut batch, &metrics, &mut writer).await;
            self.dropped.fetch_add(lost, Ordering::Relaxed);
            metrics.records_dropped(self.dropped());
            if last {
                writer.finish().await;
                return;
            }
        }
    }

    /// Counts and formats a batch; returns how many lines the sink had no room for.
    async fn settle(&self, batch: &mut Vec<Waiting>, metrics: &Metrics, writer: &mut Writer) -> u64 {
        writer.collect().await;
        let (mut lost, came) = (0, batch.len());
        for record in batch.drain(..) {
            metrics.observe(&record);
            if let Some(spans) = &self.spans {
                spans.take(&record);
            }
            if writer.has_room() {
                record.push_line(&mut writer.lines, &mut writer.clock);
            } else if writer.wanted {
                lost += 1;
            }
        }
        let_go(batch, came, RECORDS_KEPT_MAX);
        let formatted = writer.lines.len();
        let_go(&mut writer.lines, formatted, LINES_KEPT_BYTES_MAX);
        writer.begin();
        lost
    }
}

/// Lets go of the room of a rush, of which only `used` was needed this time: ten thousand clients that leave at once leave
/// as many records. What is used again and again keeps its room.
fn let_go<T>(room: &mut Vec<T>, used: usize, kept: usize) {
    if used < room.capacity() / 8 {
        room.shrink_to(kept);
    }
}

/// Where lines go.
type Sink = Box<dyn Write + Send>;

/// One write in flight at a time, on a blocking thread; lines gather meanwhile.
struct Writer {
    wanted: bool,
    sink: Option<Sink>,
    writing: Option<JoinHandle<(Sink, Vec<u8>)>>,
    lines: Vec<u8>,
    clock: Clock,
}

impl Writer {
    fn new(sink: Option<Box<dyn Write + Send>>) -> Self {
        Self {
            wanted: sink.is_some(),
            sink,
            writing: None,
            lines: Vec::new(),
            clock: Clock::default(),
        }
    }

    fn has_room(&self) -> bool {
        self.wanted && self.lines.len() < LINES_WAITING_BYTES_MAX
    }

    /// Takes the sink back when the write in flight has ended.
    async fn collect(&mut self) {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join().await;
        }
    }

    async fn join(&mut self) {
        if let Some(writing) = self.writing.take() {
            match writing.await {
                Ok((sink, mut spent)) => {
                    self.sink = Some(sink);
                    if self.lines.is_empty() {
                        spent.clear();
                        self.lines = spent;
                    }
                }
                Err(_) => self.wanted = false,
            }
        }
    }

    fn begin(&mut self) {
        if self.lines.is_empty() || self.writing.is_some() {
            return;
        }
        if let Some(mut sink) = self.sink.take() {
            let lines = std::mem::take(&mut self.lines);
            self.writing = Some(tokio::task::spawn_blocking(move || {
                // A sink that fails (a closed pipe, a full disk) loses this batch; the next one tries again.
                let _ = sink.write_all(&lines).and_then(|()| sink.flush());
                (sink, lines)
            }));
        }
    }

    /// Writes what is left, within a second: a stalled sink must not keep the process alive.
    async fn finish(mut self) {
        let _ = timeout(LAST_WRITE_TIME_MAX, async {
            self.join().await;
            self.begin();
            self.join().await;
        })
        .await;
    }
}
