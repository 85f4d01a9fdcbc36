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

/// The last lines of a child.
#[derive(Clone, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The kept lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().iter().cloned().collect()
    }

    pub(super) fn last(&self) -> Option<String> {
        self.0.lock().back().cloned()
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
    use super::readable;

    #[test]
    fn d37_control_characters_are_escaped_and_secrets_blotted_out() {
        let secrets = vec!["hunter2hunter2".to_owned()];
        assert_eq!(readable(b"\x1b[31mred\r\n", &secrets), "\\u{1b}[31mred");
        assert_eq!(readable(b"key=hunter2hunter2\xff", &secrets), "key=[secret]\u{fffd}");
        assert_eq!(readable("a\u{2028}b\0".as_bytes(), &[]), "a\\u{2028}b\\u{0}");
    }
}
