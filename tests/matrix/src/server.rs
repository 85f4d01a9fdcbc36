//! A server of one revision, spelled by hand: what it answers is JSON as that revision's specification shows it.
//!
//! It checks what a peer of that revision may check (handshake, session, headers, `_meta`), and notes every message
//! before it does anything about it. Its tools do one thing each that a cell of the matrix looks at. It asks its
//! questions also where its client did not declare them: whether that reaches a client is what the cell is about.

mod answers;
pub(crate) mod http;
mod questions;
mod several;
pub(crate) mod stdio;
mod tools;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{Failure, witness::Notes};

/// Prompts besides the one that is used: enough for two pages of the gateway and three of this server.
pub(crate) const PROMPTS: usize = 1_050;
/// Prompts on one page of this server.
pub(crate) const PROMPTS_ON_PAGE: usize = 400;

/// Where messages for the client go.
pub(crate) trait Out: Send + Sync {
    /// Sends one message; a failure means that nobody is there any more.
    fn send(&self, message: &Value) -> Result<(), Failure>;
    /// Waits until the client has left; at once where its leaving cannot be seen.
    fn closed(&self) -> bool;
}

/// One server.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) revision: String,
    pub(crate) notes: Notes,
    state: Mutex<State>,
    numbers: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Tools that came later.
    grown: Vec<String>,
    listeners: Vec<Listener>,
    /// Calls that wait for an answer, by the id of the question.
    asked: HashMap<String, mpsc::Sender<Value>>,
    /// Calls that wait for their end, by session and id.
    held: HashMap<(String, String), mpsc::Sender<()>>,
    /// Resources somebody subscribed to, by session.
    subscribed: Vec<(String, String)>,
    /// Pages the user has opened, by the words of the call.
    opened: Vec<String>,
}

/// Somebody who hears of changes.
struct Listener {
    at: String,
    /// The id of the listen, in 2026-07-28.
    id: Option<Value>,
    filter: Value,
    out: Arc<dyn Out>,
}

/// A message and where it came from.
pub(crate) struct Arrival {
    /// The session or process.
    pub(crate) at: String,
    pub(crate) message: Value,
}

impl Peer {
    pub(crate) fn new(name: String, revision: String, notes: Notes) -> Arc<Self> {
        Arc::new(Self {
            name,
            revision,
            notes,
            state: Mutex::default(),
            numbers: AtomicU64::new(1),
        })
    }

    pub(crate) fn is_modern(&self) -> bool {
        self.has("2026-07-28")
    }

    /// Whether the server's revision is this one or later.
    fn has(&self, revision: &str) -> bool {
        self.revision.as_str() >= revision
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn note(&self, at: &str, saw: Value) {
        self.notes.note(&self.name, at, saw);
    }

    /// Takes a message that wants no answer of ours: a notification, or the answer to a question.
    pub(crate) fn take(&self, arrival: &Arrival) {
        let message = &arrival.message;
        let text = |pointer: &str| message.pointer(pointer).map(Value::to_string).unwrap_or_default();
        match message.get("method").and_then(Value::as_str) {
            None => {
                let waiting = self.state.lock().asked.remove(&text("/id"));
                if let Some(waiting) = waiting {
                    let _gone = waiting.send(message.clone());
                }
            }
            Some("notifications/cancelled") => {
                let of = (arrival.at.clone(), text("/params/requestId"));
                let mut state = self.state.lock();
                state.held.remove(&of);
                let id = message.pointer("/params/requestId").cloned();
                state.listeners.retain(|one| one.id.is_none() || one.id != id);
            }
            Some(_) => {}
        }
    }

    /// Answers a request; nothing when the client has taken it back.
    pub(crate) fn answer(&self, arrival: &Arrival, out: &Arc<dyn Out>) -> Option<Value> {
        let id = arrival.message.get("id").cloned().unwrap_or_default();
        let method = arrival
            .message
            .get("method")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let params = arrival.message.get("params").cloned().unwrap_or_else(|| json!({}));
        if self.is_modern() {
            let version = params.pointer("/_meta/io.modelcontextprotocol~1protocolVersion");
            let capabilities = params.pointer("/_meta/io.modelcontextprotocol~1clientCapabilities");
            if version.and_then(Value::as_str) != Some(&self.revision) || !capabilities.is_some_and(Value::is_object) {
                return Some(error(&id, -32602, "the required _meta members are missing"));
            }
        }
        match method {
            "tools/call" => self.call(arrival, &id, &params, out),
            "prompts/get" | "resources/read" if tools::asks(&params) => self.ask(&id, method, &params, out),
            "subscriptions/listen" if self.is_modern() => self.listen(arrival, &id, &params, out),
            _ => Some(self.plain(arrival, &id, method, &params)),
        }
    }

    /// A listen of 2026-07-28 is acknowledged, and then held until the client leaves.
    fn listen(&self, arrival: &Arrival, id: &Value, params: &Value, out: &Arc<dyn Out>) -> Option<Value> {
        let filter = params.get("notifications").cloned().unwrap_or_default();
        let acknowledged = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {
            "_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": filter}});
        // Attached first, so that whoever has read the acknowledgement hears of everything that follows.
        self.attach(&arrival.at, Some(id.clone()), filter, out);
        out.send(&acknowledged).ok()?;
        if out.closed() {
            self.state.lock().listeners.retain(|one| one.id.as_ref() != Some(id));
        }
        None
    }

    /// Tells of changes there from now on.
    pub(crate) fn attach(&self, at: &str, id: Option<Value>, filter: Value, out: &Arc<dyn Out>) {
        let listener = Listener {
            at: at.to_owned(),
            id,
            filter: filter.clone(),
            out: Arc::clone(out),
        };
        self.state.lock().listeners.push(listener);
        self.note(at, json!({"event": "attached", "filter": filter}));
    }

    /// A session is over.
    pub(crate) fn detach(&self, at: &str) {
        let mut state = self.state.lock();
        state.listeners.retain(|one| one.at != at);
        state.subscribed.retain(|(session, _)| session != at);
    }

    /// Tells everybody who listens for it.
    fn tell(&self, method: &str, flag: &str, uri: Option<&str>) {
        let mut state = self.state.lock();
        let subscribed = std::mem::take(&mut state.subscribed);
        state.listeners.retain(|one| {
            let wants = match (&one.id, uri) {
                (None, None) => true,
                (None, Some(uri)) => subscribed.iter().any(|(at, of)| *at == one.at && of == uri),
                (Some(_), None) => one.filter.get(flag) == Some(&json!(true)),
                (Some(_), Some(uri)) => one
                    .filter
                    .get(flag)
                    .and_then(Value::as_array)
                    .is_some_and(|all| all.contains(&json!(uri))),
            };
            let mut params = json!({});
            if let (Some(id), Some(params)) = (&one.id, params.as_object_mut()) {
                params.insert("_meta".into(), json!({"io.modelcontextprotocol/subscriptionId": id}));
            }
            if let (Some(uri), Some(params)) = (uri, params.as_object_mut()) {
                params.insert("uri".into(), json!(uri));
            }
            let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
            !wants || one.out.send(&message).is_ok()
        });
        state.subscribed = subscribed;
    }
}

pub(crate) fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
