//! What a call wants besides its answer, and what a client hears between calls.

use std::{
    net::{Shutdown, TcpStream},
    sync::mpsc::Receiver,
    time::Instant,
};

use serde_json::{Value, json};

use crate::{Failure, wire::SILENCE_MAX};

/// What a call wants besides its answer.
pub(crate) struct Wish<'a> {
    /// Progress under this token.
    pub(crate) token: Option<&'a str>,
    /// Log messages from this level on; before 2026-07-28 the session says so.
    pub(crate) level: Option<&'a str>,
    /// The answer to a question, given as method and parameters.
    pub(crate) answer: &'a dyn Fn(&Value) -> Value,
}

impl Wish<'_> {
    /// Nothing besides the answer.
    pub(crate) fn none() -> Wish<'static> {
        Wish {
            token: None,
            level: None,
            answer: &|_| json!({"action": "cancel"}),
        }
    }
}

/// A stream that tells of changes. It ends with this value.
pub(crate) struct Changes {
    hear: Receiver<Value>,
    stream: TcpStream,
}

impl Changes {
    pub(super) fn new(hear: Receiver<Value>, stream: TcpStream) -> Self {
        Self { hear, stream }
    }

    /// Waits for the next notification of this method; others are passed over.
    pub(crate) fn wait(&self, method: &str) -> Result<Value, Failure> {
        let end = Instant::now() + SILENCE_MAX;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let message = self
                .hear
                .recv_timeout(left)
                .map_err(|_| format!("the client never heard {method}"))?;
            if message.get("method").and_then(Value::as_str) == Some(method) {
                return Ok(message);
            }
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        // The other side may have ended it already.
        let _gone = self.stream.shutdown(Shutdown::Both);
    }
}
