#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::mpsc;
use std::time::Instant;

use super::*;

/// Gives what it is given, and waits for a go-ahead before each write.
struct Gate {
    go: Option<mpsc::Receiver<()>>,
    out: mpsc::Sender<String>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(go) = &self.go {
            let _ = go.recv();
        }
        let _ = self.out.send(String::from_utf8(bytes.to_vec()).unwrap());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn say(queue: &Queue, text: &str) {
    queue.make_writer().write_all(text.as_bytes()).unwrap();
}

#[test]
fn lines_come_out_whole_in_order_and_the_last_before_the_end() {
    let (out, lines) = mpsc::channel();
    let (log, queue) = queue(Gate { go: None, out }, true);
    (0..100).for_each(|n| say(&queue, &format!("{n}\n")));
    drop(log);
    assert_eq!(
        lines.try_iter().collect::<Vec<_>>(),
        (0..100).map(|n| format!("{n}\n")).collect::<Vec<_>>()
    );
}

#[test]
fn a_reader_that_stalls_costs_lines_and_never_time() {
    let (go, gate) = mpsc::channel();
    let (out, lines) = mpsc::channel();
    let (log, queue) = queue(Gate { go: Some(gate), out }, true);
    let began = Instant::now();
    (0..LINES_MAX * 2).for_each(|n| say(&queue, &format!("{n}\n")));
    assert!(began.elapsed() < Duration::from_secs(5));
    drop(go);
    drop(queue);
    drop(log);
    let all: Vec<_> = lines.iter().collect();
    assert!(
        all.iter().any(|line| line.contains("log lines were lost")),
        "{} lines",
        all.len()
    );
}

#[test]
fn d37_a_json_line_stays_one_line_everywhere() {
    let line = escaped("{\"m\":\"a\u{2028}b\u{85}c\u{202e}d é 🦀\"}\n".as_bytes().to_vec());
    let text = String::from_utf8(line).unwrap();
    assert_eq!(text, "{\"m\":\"a\\u2028b\\u0085c\\u202ed é 🦀\"}\n");
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["m"], "a\u{2028}b\u{85}c\u{202e}d é 🦀");
}
