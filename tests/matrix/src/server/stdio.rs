//! The server as a child process: one message a line.

use std::{
    io::{BufRead, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Arrival, Out, Peer, error};
use crate::Failure;

/// Everything goes out on one pipe.
struct Pipe(Mutex<std::io::Stdout>);

impl Out for Pipe {
    fn send(&self, message: &Value) -> Result<(), Failure> {
        let mut pipe = self.0.lock();
        let written = pipe.write_all(format!("{message}\n").as_bytes());
        written.and_then(|()| pipe.flush()).map_err(|e| e.to_string())
    }

    fn closed(&self) -> bool {
        false
    }
}

/// Serves until the input ends.
pub(crate) fn serve(peer: &Arc<Peer>) -> Result<(), Failure> {
    let out: Arc<dyn Out> = Arc::new(Pipe(Mutex::new(std::io::stdout())));
    let at = format!("process {}", std::process::id());
    if !peer.is_modern() {
        peer.attach(&at, None, Value::Null, &out);
    }
    let mut is_open = peer.is_modern();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        let message: Value = serde_json::from_str(&line).map_err(|e| format!("a line that is not JSON: {e}"))?;
        peer.note(&at, json!({"message": message}));
        let arrival = Arrival {
            at: at.clone(),
            message,
        };
        let method = arrival.message.get("method").and_then(Value::as_str);
        if method.is_none() || arrival.message.get("id").is_none() {
            peer.take(&arrival);
            continue;
        }
        is_open |= method == Some("initialize");
        if !is_open {
            let id = arrival.message.get("id").cloned().unwrap_or_default();
            out.send(&error(&id, -32601, "initialize first"))?;
            continue;
        }
        let (peer, out) = (Arc::clone(peer), Arc::clone(&out));
        // A call may wait for an answer, which arrives on the pipe that this loop reads. All end with the process.
        std::thread::spawn(move || {
            if let Some(answer) = peer.answer(&arrival, &out) {
                let _gone = out.send(&answer);
            }
        });
    }
    Ok(())
}
