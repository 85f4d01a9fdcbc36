#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use super::*;
use crate::trace::TraceContext;

/// A sink that passes on what it is given, and waits for a go-ahead before each write.
struct Gate {
    go: mpsc::Receiver<()>,
    out: mpsc::Sender<String>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.go.recv();
        let _ = self.out.send(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn record(number: u64) -> Box<AccessRecord> {
    Box::new(AccessRecord {
        method: "tools/call".into(),
        ..AccessRecord::new(SystemTime::UNIX_EPOCH, root(), number)
    })
}

fn root() -> TraceContext {
    TraceContext::root([3; 24])
}

fn counted(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.encode();
    text.lines()
        .filter(|l| l.starts_with(name))
        .map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn a_full_ring_drops_and_counts_instead_of_growing_or_waiting() {
    let records = Records::new(3);
    (0..10).for_each(|n| records.push(record(n)));
    assert_eq!(records.waiting.lock().len(), 3);
    assert_eq!(records.dropped(), 7);
}

#[test]
fn the_room_of_a_rush_is_let_go_and_room_that_is_used_is_kept() {
    let room = |capacity: usize, used: usize| {
        let mut room: Vec<u64> = Vec::with_capacity(capacity);
        let_go(&mut room, used, 100);
        room.capacity()
    };
    assert_eq!(room(8_000, 999), 100, "less than an eighth was used");
    assert_eq!(room(8_000, 1_000), 8_000);
    assert_eq!(room(100, 0), 100, "what is kept is not looked at");
}

#[tokio::test]
async fn every_record_becomes_a_line_in_order_and_the_last_ones_are_written_at_the_end() {
    let directory = tempdir();
    let path = directory.join("access.log");
    let (records, metrics) = (Arc::new(Records::default()), Arc::new(Metrics::new()));
    let sink = AccessLog::File(path.clone()).open().unwrap();
    let (close, closing) = oneshot::channel::<()>();
    let task = tokio::spawn(records.clone().run(metrics.clone(), sink, async move {
        let _ = closing.await;
    }));
    for number in 0..50 {
        records.push(record(number));
        if number == 25 {
            tokio::time::sleep(DRAIN_INTERVAL * 2).await;
        }
    }
    close.send(()).unwrap();
    task.await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let numbers: Vec<u64> = text
        .lines()
        .map(|l| {
            serde_json::from_str::<serde_json::Value>(l).unwrap()["snapshot"]
                .as_u64()
                .unwrap()
        })
        .collect();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    assert_eq!(counted(&metrics, "meshgate_calls_total{"), 50);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn a_sink_that_stalls_costs_lines_and_no_count() {
    let (records, metrics) = (Arc::new(Records::new(100_000)), Arc::new(Metrics::new()));
    let (go, gate) = mpsc::channel();
    let (out, lines) = mpsc::channel();
    let (close, closing) = oneshot::channel::<()>();
    let task = tokio::spawn(
        records
            .clone()
            .run(metrics.clone(), Some(Box::new(Gate { go: gate, out })), async move {
                let _ = closing.await;
            }),
    );
    records.push(record(0));
    tokio::time::sleep(DRAIN_INTERVAL * 2).await;
    let wide: Arc<str> = "w".repeat(1_000).into();
    for number in 1..=6_000 {
        records.push(Box::new(AccessRecord {
            view: Some(wide.clone()),
            ..*record(number)
        }));
    }
    tokio::time::sleep(DRAIN_INTERVAL * 4).await;
    assert_eq!(counted(&metrics, "meshgate_calls_total{"), 6_001);
    let dropped = records.dropped();
    assert!(dropped > 1_000, "only {dropped} lines dropped");
    assert_eq!(counted(&metrics, "meshgate_records_dropped"), dropped);
    go.send(()).unwrap();
    go.send(()).unwrap();
    close.send(()).unwrap();
    task.await.unwrap();
    let written: usize = lines.try_iter().map(|text| text.lines().count()).sum();
    assert_eq!(written as u64 + dropped, 6_001);
}

#[tokio::test]
async fn a_sink_that_never_returns_does_not_hold_the_end_up() {
    let (records, metrics) = (Arc::new(Records::default()), Arc::new(Metrics::new()));
    let (go, gate) = mpsc::channel();
    let (out, _lines) = mpsc::channel();
    records.push(record(0));
    let run = records.run(metrics, Some(Box::new(Gate { go: gate, out })), async {});
    tokio::time::timeout(LAST_WRITE_TIME_MAX + Duration::from_secs(2), run)
        .await
        .expect("the end waited");
    drop(go);
}

#[tokio::test]
async fn without_a_sink_calls_are_counted_and_nothing_is_lost() {
    let (records, metrics) = (Arc::new(Records::default()), Arc::new(Metrics::new()));
    (0..5).for_each(|n| records.push(record(n)));
    records
        .clone()
        .run(metrics.clone(), AccessLog::Off.open().unwrap(), async {})
        .await;
    assert_eq!((counted(&metrics, "meshgate_calls_total{"), records.dropped()), (5, 0));
}

fn tempdir() -> PathBuf {
    let path = std::env::temp_dir().join(format!("meshgate-telemetry-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}
