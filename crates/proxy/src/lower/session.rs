//! One legacy session's soft state: what its client said once and expects to be remembered.
//!
//! None of it proves anything: who may use a session was decided when its sealed id was opened. Losing it costs the
//! client a new `initialize`, as its revision demands.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use meshgate_bridge::lower::{Capabilities, Ending, Stamp};
use meshgate_mcp::{Kind, Message, Revision, Value};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::listening::Listening;
use super::outbox::Outbox;
use crate::call::Caller;

/// What never changes in a session.
#[derive(Debug)]
pub(super) struct Session {
    /// The sealed id, as its client sends it.
    pub(super) id: Arc<str>,
    pub(super) caller: Arc<Caller>,
    /// The name of the view that it is open at.
    pub(super) view: Arc<str>,
    pub(super) revision: &'static Revision,
    pub(super) capabilities: Capabilities,
    pub(super) capabilities_json: Bytes,
    pub(super) client_info: Option<Bytes>,
    pub(super) expires_s: u64,
    /// Cancelled when the session is over; everything that runs for it ends with it.
    pub(super) ended: CancellationToken,
    /// Cancelled when its caller may use it no longer, or when it is over: nothing more is told to it unasked.
    pub(super) silenced: CancellationToken,
    /// The stream of GET.
    pub(super) standalone: Arc<Outbox>,
    pub(super) listening: Listening,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    used: Instant,
    log_level: Option<Arc<str>>,
    calls: HashMap<CallId, Arc<Fate>>,
    questions: HashMap<String, mpsc::Sender<ClientAnswer>>,
    streams: VecDeque<Arc<Outbox>>,
    streams_made: u64,
}

/// A client's JSON-RPC id: `1` and `"1"` are two ids, `"a"` and `"\u0061"` are one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CallId {
    Text(String),
    Number(Vec<u8>),
}

impl CallId {
    pub(super) fn of(src: &[u8], id: &Value) -> Self {
        match id.str(src) {
            Some(text) if id.kind == Kind::String => Self::Text(text.into_owned()),
            _ => Self::Number(id.raw(src).to_vec()),
        }
    }
}

/// What the client answered to the question `id`.
#[derive(Debug)]
pub(super) struct ClientAnswer {
    pub(super) id: String,
    pub(super) body: Bytes,
    pub(super) message: Message,
}

/// Whether a call has to end, and why.
#[derive(Debug, Default)]
pub(super) struct Fate {
    sealed: CancellationToken,
    overdue: AtomicBool,
}

impl Fate {
    /// Nobody wants it any more: its client, or its session is over.
    pub(super) fn cancel(&self) {
        self.sealed.cancel();
    }

    /// Its time is over.
    pub(super) fn expire(&self) {
        self.overdue.store(true, Ordering::Release);
        self.sealed.cancel();
    }

    /// Resolves when it has to end.
    pub(super) async fn sealed(&self) {
        self.sealed.cancelled().await;
    }

    /// Why it has to end.
    pub(super) fn why(&self) -> Ending {
        if self.overdue.load(Ordering::Acquire) {
            Ending::Deadline
        } else {
            Ending::Cancelled
        }
    }
}

/// Why a call cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Busy {
    /// A call with this id is still running.
    SameId,
    /// The session runs as many calls as it may.
    Full,
}

/// What a session opens with.
pub(super) struct Beginning {
    pub(super) id: Arc<str>,
    pub(super) caller: Arc<Caller>,
    /// The name of the view that it is open at.
    pub(super) view: Arc<str>,
    pub(super) revision: &'static Revision,
    pub(super) capabilities: Capabilities,
    pub(super) capabilities_json: Bytes,
    pub(super) client_info: Option<Bytes>,
    pub(super) expires_s: u64,
    pub(super) standalone: Arc<Outbox>,
}

impl Session {
    pub(super) fn begin(with: Beginning) -> Self {
        let ended = CancellationToken::new();
        Self {
            id: with.id,
            caller: with.caller,
            view: with.view,
            revision: with.revision,
            capabilities: with.capabilities,
            capabilities_json: with.capabilities_json,
            client_info: with.client_info,
            expires_s: with.expires_s,
            silenced: ended.child_token(),
            ended,
            standalone: with.standalone,
            listening: Listening::default(),
            state: Mutex::new(State {
                used: Instant::now(),
                log_level: None,
                calls: HashMap::new(),
                questions: HashMap::new(),
                streams: VecDeque::new(),
                streams_made: 0,
            }),
        }
    }

    pub(super) fn touch(&self) {
        self.state.lock().used = Instant::now();
    }

    /// When it was used last; `None` while a call runs or its GET stream is read.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        (state.calls.is_empty() && !self.standalone.has_reader()).then_some(state.used)
    }

    pub(super) fn set_log_level(&self, level: &str) {
        self.state.lock().log_level = Some(level.into());
    }

    /// Runs `with` over what this session adds to a request. A client that cannot read a stream cannot be asked.
    pub(super) fn stamped<T>(&self, can_ask: bool, with: impl FnOnce(&Stamp<'_>) -> T) -> T {
        let log_level = self.state.lock().log_level.clone();
        with(&Stamp {
            capabilities: if can_ask { &self.capabilities_json } else { b"{}" },
            client_info: self.client_info.as_deref(),
            log_level: log_level.as_deref(),
        })
    }

    /// Registers a running call; its fate ends it.
    pub(super) fn begin_call(&self, id: CallId, calls_max: usize) -> Result<Arc<Fate>, Busy> {
        let mut state = self.state.lock();
        state.used = Instant::now();
        if state.calls.contains_key(&id) {
            return Err(Busy::SameId);
        }
        if state.calls.len() >= calls_max {
            return Err(Busy::Full);
        }
        let fate = Arc::new(Fate::default());
        // The session is marked as ended before its calls are, so one of the two sees the other.
        if self.ended.is_cancelled() {
            fate.cancel();
        }
        state.calls.insert(id, Arc::clone(&fate));
        Ok(fate)
    }

    pub(super) fn end_call(&self, id: &CallId) {
        let mut state = self.state.lock();
        state.calls.remove(id);
        state.used = Instant::now();
    }

    /// The client no longer wants the call `id`.
    pub(super) fn cancel_call(&self, id: &CallId) {
        if let Some(call) = self.state.lock().calls.get(id) {
            call.cancel();
        }
    }

    pub(super) fn ask(&self, id: &str, answers: mpsc::Sender<ClientAnswer>) {
        self.state.lock().questions.insert(id.to_owned(), answers);
    }

    pub(super) fn forget_questions(&self, ids: &[String]) {
        let mut state = self.state.lock();
        for id in ids {
            state.questions.remove(id);
        }
    }

    /// Hands the client's answer to the call that asked. Each question takes one answer; a late one is dropped.
    pub(super) fn answer(&self, answer: ClientAnswer) {
        let waiting = self.state.lock().questions.remove(&answer.id);
        if let Some(waiting) = waiting {
            // The channel holds one place per open question, so a full or closed one means nobody waits any more.
            let _late = waiting.try_send(answer);
        }
    }

    pub(super) fn next_stream(&self) -> u64 {
        let mut state = self.state.lock();
        state.streams_made += 1;
        state.streams_made
    }

    /// Keeps a stream so that the client can come back to it.
    pub(super) fn keep_stream(&self, stream: Arc<Outbox>) {
        self.state.lock().streams.push_back(stream);
    }

    /// A stream has been closed: of those that are, the newest stay for clients that come back.
    pub(super) fn finished_stream(&self, finished_max: usize) {
        let mut state = self.state.lock();
        let mut over = state.streams.iter().filter(|s| s.is_closed()).count();
        if over > finished_max {
            state.streams.retain(|stream| {
                let goes = over > finished_max && stream.is_closed();
                over -= usize::from(goes);
                !goes
            });
        }
    }

    /// The stream with this number: 0 is the one of GET.
    pub(super) fn stream(&self, number: u64) -> Option<Arc<Outbox>> {
        if number == self.standalone.number() {
            return Some(Arc::clone(&self.standalone));
        }
        self.state.lock().streams.iter().find(|s| s.number() == number).cloned()
    }

    /// Its caller may use it no longer: it hears nothing more and is asked nothing more, but calls that run go on.
    pub(super) fn revoke(&self) {
        self.silenced.cancel();
        self.standalone.close();
        self.state.lock().questions.clear();
    }

    /// Ends everything that runs for the session.
    pub(super) fn end(&self) {
        self.ended.cancel();
        self.standalone.close();
        let mut state = self.state.lock();
        state.questions.clear();
        for call in state.calls.values() {
            call.cancel();
        }
        for stream in state.streams.drain(..) {
            stream.close();
        }
    }
}
