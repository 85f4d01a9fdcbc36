//! A server on a pipe: lines in, lines out, and a death that closes both.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::sync::mpsc;

use crate::server::Server;

/// What a pipe holds; more has to wait.
const PIPE_BYTES: usize = 64 << 10;

/// Starts a process of a server: what the gateway reads and writes.
pub(crate) fn start(server: &Arc<Server>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let session = server.open();
    let (out, mut lines) = mpsc::unbounded_channel::<Value>();
    tokio::spawn(async move {
        let (from, mut to) = tokio::io::split(ours);
        let mut from = BufReader::new(from).lines();
        let over = session.over.clone();
        loop {
            tokio::select! {
                biased;
                () = over.cancelled() => break,
                Some(line) = lines.recv() => {
                    if to.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                        break;
                    }
                }
                line = from.next_line() => match line {
                    Ok(Some(line)) => {
                        if let Ok(message) = serde_json::from_str(&line) {
                            session.receive(message, &out);
                        }
                    }
                    // The end of its input asks a process to end.
                    _ => break,
                },
            }
        }
        session.end();
    });
    theirs
}
