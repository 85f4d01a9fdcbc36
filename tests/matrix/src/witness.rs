//! What the servers saw, as it came to them: the other end of every exchange.
//!
//! A server notes each message before it does anything about it. Servers over HTTP are in this process; those over stdio
//! are children of the gateway and send their notes over a socket. Waiting is for a note, never for a time.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    time::Instant,
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use crate::{Failure, wire::SILENCE_MAX};

/// One note.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// The server's name.
    pub(crate) server: String,
    /// Which of its processes or sessions.
    pub(crate) at: String,
    /// What came: `message` holds JSON-RPC, `event` what is none, `version` the header it came with.
    pub(crate) saw: Value,
}

impl Note {
    /// The message, when it has this method.
    pub(crate) fn is(&self, method: &str) -> bool {
        self.saw.pointer("/message/method").and_then(Value::as_str) == Some(method)
    }

    /// A part of the message.
    pub(crate) fn message(&self, pointer: &str) -> Option<&Value> {
        self.saw.pointer(&format!("/message{pointer}"))
    }
}

/// Everything that was noted.
#[derive(Default)]
pub(crate) struct Witness {
    notes: Mutex<Vec<Note>>,
    more: Condvar,
}

impl Witness {
    /// Notes something.
    pub(crate) fn note(&self, server: &str, at: &str, saw: Value) {
        self.notes.lock().push(Note {
            server: server.to_owned(),
            at: at.to_owned(),
            saw,
        });
        self.more.notify_all();
    }

    /// The place of the next note.
    pub(crate) fn now(&self) -> usize {
        self.notes.lock().len()
    }

    /// The notes of a server from a place on that fit.
    pub(crate) fn seen(&self, server: &str, since: usize, fits: &dyn Fn(&Note) -> bool) -> Vec<Note> {
        let notes = self.notes.lock();
        let found = notes.iter().skip(since);
        found
            .filter(|note| note.server == server && fits(note))
            .cloned()
            .collect()
    }

    /// Waits for the first such note.
    pub(crate) fn wait(
        &self,
        server: &str,
        since: usize,
        what: &str,
        fits: &dyn Fn(&Note) -> bool,
    ) -> Result<Note, Failure> {
        let end = Instant::now() + SILENCE_MAX;
        let mut notes = self.notes.lock();
        let mut from = since;
        loop {
            if let Some(found) = notes.iter().skip(from).find(|note| note.server == server && fits(note)) {
                return Ok(found.clone());
            }
            from = notes.len().max(since);
            if self.more.wait_until(&mut notes, end).timed_out() {
                let saw: Vec<String> = notes
                    .iter()
                    .skip(since)
                    .filter(|n| n.server == server)
                    .map(|n| n.saw.to_string())
                    .collect();
                return Err(format!("the server never saw {what}; it saw {}", saw.join("\n    ")));
            }
        }
    }

    /// Takes notes from servers that are other processes. Answers where they send them.
    pub(crate) fn listen(self: &Arc<Self>) -> Result<String, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("cannot listen: {e}"))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?.to_string();
        let witness = Arc::clone(self);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let witness = Arc::clone(&witness);
                std::thread::spawn(move || witness.take(stream));
            }
        });
        Ok(address)
    }

    fn take(&self, stream: TcpStream) {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Ok(note) = serde_json::from_str::<Value>(&line) else {
                continue;
            };
            let text = |name: &str| note.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let saw = note.get("saw").cloned().unwrap_or_default();
            self.note(&text("server"), &text("at"), saw);
        }
    }
}

/// Where a server sends its notes.
pub(crate) enum Notes {
    /// Into this process.
    Here(Arc<Witness>),
    /// Over a socket.
    There(Mutex<TcpStream>),
}

impl Notes {
    /// A way to the witness that listens there.
    pub(crate) fn there(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).map_err(|e| format!("cannot reach the witness: {e}"))?;
        Ok(Self::There(Mutex::new(stream)))
    }

    /// Notes something before anything is done about it.
    pub(crate) fn note(&self, server: &str, at: &str, saw: Value) {
        match self {
            Self::Here(witness) => witness.note(server, at, saw),
            Self::There(stream) => {
                let line = format!("{}\n", json!({"server": server, "at": at, "saw": saw}));
                // Without its witness a server goes on; the cell that waits for the note fails.
                let _lost = stream.lock().write_all(line.as_bytes());
            }
        }
    }
}
