//! What a child says beside its messages.
//!
//! Its standard error is always read, because a child that cannot write stands still. What it says is text from outside:
//! control characters are escaped, lines are cut, secrets we gave it are blotted out, and no more than a few lines a
//! second reach our own log. The last lines are kept for the status.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use crate::upstream::limits::{STDERR_LINE_BYTES_MAX, STDERR_LINES_KEPT, STDERR_LINES_PER_SECOND};

/// A tab as [`readable`] writes it.
const TAB: &str = "\\u{9}";

/// The last lines of a child.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The kept lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }

    /// The last line that says something by itself. A stack trace or a printed object ends in indented lines and brackets,
    /// and Node.js signs off with its version; the error stands before them.
    pub(super) fn last(&self) -> Option<String> {
        let lines = self.0.lock();
        let telling = |line: &&String| {
            let indented = line.starts_with(' ') || line.starts_with(TAB);
            !indented && !line.starts_with("Node.js v") && line.chars().any(char::is_alphanumeric)
        };
        lines.iter().rev().find(telling).or_else(|| lines.back()).cloned()
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock();
        if lines.len() >= STDERR_LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Reads until the child's end of the pipe is closed.
pub(super) async fn drain(mut from: impl AsyncRead + Unpin, server: Arc<str>, secrets: Vec<String>, tail: Tail) {
    let mut log = Log {
        server,
        secrets,
        tail,
        window: Instant::now(),
        logged: 0,
        suppressed: 0,
    };
    let mut line = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        for part in buffer
            .get(..count)
            .unwrap_or_default()
            .split_inclusive(|byte| *byte == b'\n')
        {
            let room = STDERR_LINE_BYTES_MAX.saturating_sub(line.len());
            line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            if part.ends_with(b"\n") {
                log.line(&line);
                line.clear();
            }
        }
    }
    log.line(&line);
    log.report_suppressed();
}

struct Log {
    server: Arc<str>,
    secrets: Vec<String>,
    tail: Tail,
    window: Instant,
    logged: u32,
    suppressed: u64,
}

impl Log {
    fn line(&mut self, bytes: &[u8]) {
        let text = readable(bytes, &self.secrets);
        if text.is_empty() {
            return;
        }
        if self.window.elapsed() >= Duration::from_secs(1) {
            self.report_suppressed();
            (self.window, self.logged) = (Instant::now(), 0);
        }
        if self.logged < STDERR_LINES_PER_SECOND {
            self.logged += 1;
            tracing::info!(server = &*self.server, line = text, "server stderr");
        } else {
            self.suppressed += 1;
        }
        self.tail.push(text);
    }

    fn report_suppressed(&mut self) {
        if self.suppressed > 0 {
            tracing::info!(
                server = &*self.server,
                lines = self.suppressed,
                "server stderr: more lines than are logged"
            );
            self.suppressed = 0;
        }
    }
}

/// Text that is safe in a log: no secrets, no control characters, no invalid UTF-8.
fn readable(bytes: &[u8], secrets: &[String]) -> String {
    let mut text = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
    for secret in secrets {
        text = text.replace(secret, "[secret]");
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control()
            || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            // Writing to a string cannot fail.
            let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{Tail, readable};

    #[test]
    fn d37_control_characters_are_escaped_and_secrets_blotted_out() {
        let secrets = vec!["hunter2hunter2".to_owned()];
        assert_eq!(readable(b"\x1b[31mred\r\n", &secrets), "\\u{1b}[31mred");
        assert_eq!(readable(b"key=hunter2hunter2\xff", &secrets), "key=[secret]\u{fffd}");
        assert_eq!(readable("a\u{2028}b\0".as_bytes(), &[]), "a\\u{2028}b\\u{0}");
    }
    #[test]
    fn the_last_line_that_tells_something_is_what_a_child_died_of() {
        let last = |lines: &[&str]| {
            let tail = Tail::default();
            lines.iter().for_each(|line| tail.push(readable(line.as_bytes(), &[])));
            tail.last()
        };
        let object = [
            "Fatal error: Error: no such file",
            "    at connect (x.js:1:2) {",
            "  errcode: 14",
            "}",
        ];
        assert_eq!(last(&object).as_deref(), Some(object[0]));
        let thrown = ["Error: no such file", "\tat connect (x.js:1:2)", "Node.js v22.23.3"];
        assert_eq!(last(&thrown).as_deref(), Some(thrown[0]));
        assert_eq!(
            last(&["Traceback:", "  File x", "ValueError: no"]).as_deref(),
            Some("ValueError: no")
        );
        assert_eq!(last(&["  indented"]).as_deref(), Some("  indented"));
        assert_eq!(last(&[]), None);
    }
}
