//! Legacy clients at the edge: sessions in front of an inside that has none.
//!
//! Clients of 2025-11-25 and older open a session, hold a stream, answer questions in the middle of a call and expect to
//! find everything again after a lost connection. [`Lower`] gives them that. What travels is a sealed session id
//! ([`claims`]): it opens for one caller at one view and for nobody else, and an id that does not open looks like one
//! that never was. What cannot travel is soft state in this process, the session's *home* ([`session`], [`table`]),
//! every part of it bounded ([`limits`]).
//!
//! A request of a session is stamped modern and dispatched; what comes back is lowered by [`meshgate_bridge::lower`].
//! The response is JSON when the answer is all there is to say, and a stream as soon as something must be said before
//! it ([`running`], [`outbox`]). Changed lists and updated resources come from one modern subscription inside
//! ([`listening`]).
//!
//! Security posture: fed by untrusted clients; every message was scanned strictly before, and every caller is known.

mod batch;
mod claims;
mod edge;
mod errors;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod limits;
mod listening;
mod outbox;
mod requests;
mod running;
mod session;
mod table;
mod underway;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use meshgate_bridge::lower::Mint;
use meshgate_identity::keys::KeyRing;
use meshgate_mcp::{Message, Revision};
use tokio_util::task::TaskTracker;

pub use batch::Taken;
pub use limits::SessionLimits;

use self::claims::Claims;
use self::outbox::{Outbox, Reader, ShelfLimits, Shelving};
use self::table::Table;
use crate::call::{Answered, Caller};
use crate::observe::CallRecord;
use crate::refusal::Refusal;

/// The session header, in the answer to `initialize` and in every request after it.
pub const SESSION_ID: header::HeaderName = header::HeaderName::from_static("mcp-session-id");

/// A request on its way inside.
#[derive(Debug)]
pub struct Inward {
    /// A modern request, made here of messages that were scanned.
    pub body: Bytes,
    /// The revision of the session: a complete result may come back in its words.
    pub revision: &'static Revision,
    /// Whether the request may hold a name that a URI can stand under.
    pub uris: bool,
}

/// Sends a request inside, in the caller's exposed names. Kept for as long as a session listens, so it should hold no
/// more than it needs.
pub type Dispatch = Arc<dyn Fn(Inward) -> BoxFuture<'static, Result<Answered, Refusal>> + Send + Sync>;

/// Events of an SSE body; each item is whole events.
pub type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// What a legacy client gets.
pub enum Answer {
    /// One JSON body.
    Json {
        /// The HTTP status.
        status: StatusCode,
        /// Headers beside the content type.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
    /// A stream of events, status 200.
    Sse {
        /// Headers beside the content type.
        headers: HeaderMap,
        /// The body. Dropping it does not cancel the call.
        events: Events,
    },
    /// No body.
    Empty {
        /// The HTTP status.
        status: StatusCode,
        /// Headers.
        headers: HeaderMap,
    },
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Json { status, body, .. } => write!(f, "Json({status}, {} bytes)", body.len()),
            Self::Sse { .. } => f.write_str("Sse"),
            Self::Empty { status, .. } => write!(f, "Empty({status})"),
        }
    }
}

/// What the view offers to a session: the members of its discovery answer, as raw JSON.
#[derive(Clone, Debug)]
pub struct Offered {
    /// The view's name or path; a session is bound to it.
    pub view: Arc<str>,
    /// The modern `capabilities` object.
    pub capabilities: Bytes,
    /// The `serverInfo` object.
    pub server_info: Bytes,
    /// Instructions for the model.
    pub instructions: Option<Arc<str>>,
    /// Whether the caller's own session limit is lifted.
    pub limits_lifted: bool,
}

/// One HTTP request of a legacy client, as far as it is known before its body is looked at.
#[derive(Clone)]
pub struct Edge<'a> {
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// Who calls.
    pub caller: &'a Arc<Caller>,
    /// What the view offers.
    pub offered: &'a Offered,
    /// The way inside.
    pub dispatch: Dispatch,
    /// The access record, for refusals that a legacy client gets inside a response that is itself fine.
    pub record: Option<&'a CallRecord>,
}

/// One message of a batch: a request of its own, but for the response.
pub struct Part<'a> {
    /// What it came with, and its own way inside.
    pub edge: Edge<'a>,
    /// Its bytes.
    pub body: &'a Bytes,
    /// What they were scanned to.
    pub message: &'a Message,
}

/// Tells seconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Fills with cryptographic randomness; `false` when there is none.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> bool + Send + Sync>;

/// The clock and the randomness of the outside, so that tests can hold both.
#[derive(Clone)]
pub struct Seams {
    /// Wall time, because the expiry in a sealed id must outlive the process.
    pub now_s: Clock,
    /// For session nonces, elicitation ids and the name of the home.
    pub fill: Entropy,
}

impl Seams {
    /// The system's clock and entropy.
    pub fn system() -> Self {
        Self {
            now_s: Arc::new(|| {
                let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
                since.unwrap_or(Duration::ZERO).as_secs()
            }),
            fill: Arc::new(|bytes| getrandom::fill(bytes).is_ok()),
        }
    }
}

/// The legacy face of the gateway. A clone is the same face.
#[derive(Clone)]
pub struct Lower {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Arc<KeyRing>,
    limits: Arc<SessionLimits>,
    /// In place of the limit of the same name, because a configuration may change it.
    sessions_per_caller_max: AtomicUsize,
    seams: Seams,
    /// This process, in session ids and in the ids of questions.
    home: [u8; 8],
    table: Table,
    shelving: Arc<Shelving>,
    tasks: TaskTracker,
    questions: AtomicU64,
}

impl Lower {
    /// A face without sessions yet. Session ids are sealed with `keys`.
    pub fn new(keys: Arc<KeyRing>, limits: SessionLimits, seams: Seams) -> Self {
        let mut home = [0; 8];
        (seams.fill)(&mut home);
        Self::at(u64::from_be_bytes(home), keys, limits, seams)
    }

    /// The same, at the home of this number: by it the other replicas of the gateway find its sessions.
    pub fn at(home: u64, keys: Arc<KeyRing>, limits: SessionLimits, seams: Seams) -> Self {
        let home = home.to_be_bytes();
        let shelving = Arc::new(Shelving::new(limits.replay_bytes_total_max));
        Self {
            inner: Arc::new(Inner {
                keys,
                sessions_per_caller_max: AtomicUsize::new(limits.sessions_per_caller_max),
                limits: Arc::new(limits),
                seams,
                home,
                table: Table::default(),
                shelving,
                tasks: TaskTracker::new(),
                questions: AtomicU64::new(0),
            }),
        }
    }

    /// The revision of the session that these headers name, when it is one of this caller at this view.
    pub fn revision(&self, headers: &HeaderMap, caller: &Caller, view: &str) -> Option<&'static Revision> {
        let id = headers.get(SESSION_ID)?.to_str().ok()?;
        Some(self.inner.table.get(id, caller, view)?.revision)
    }

    /// The home of the session that these headers name, when it is one of this caller at this view and lives elsewhere.
    pub fn home_elsewhere(&self, headers: &HeaderMap, caller: &Caller, view: &str) -> Option<u64> {
        let mut ids = headers.get_all(SESSION_ID).iter();
        let (Some(id), None) = (ids.next(), ids.next()) else {
            return None;
        };
        let id = id.to_str().ok()?;
        if self.inner.table.get(id, caller, view).is_some() {
            return None;
        }
        let claims = Claims::open(&self.inner.keys, caller, view, id)?;
        let elsewhere = claims.home != self.inner.home && claims.expires_s > (self.inner.seams.now_s)();
        elsewhere.then(|| u64::from_be_bytes(claims.home))
    }

    /// Sessions that are open.
    pub fn sessions(&self) -> usize {
        self.inner.table.len()
    }

    /// Bytes of events kept for clients that may come back.
    #[cfg(test)]
    fn replay_bytes(&self) -> usize {
        self.inner.shelving.held()
    }

    /// Ends sessions that nobody uses any more. To be called from time to time.
    pub fn sweep(&self) {
        self.inner
            .table
            .sweep(self.inner.limits.idle_max, (self.inner.seams.now_s)());
    }

    /// So many sessions for each caller from now on; open ones stay until room must be made.
    pub fn set_sessions_per_caller(&self, max: usize) {
        self.inner.sessions_per_caller_max.store(max, Ordering::Relaxed);
    }

    /// Ends the sessions of callers that may no longer use their view, as `may` says of a caller and a view's name. Their
    /// streams end now, calls that run go on.
    pub fn keep_only(&self, may: impl Fn(&Caller, &str) -> bool) {
        self.inner.table.revoke(|session| !may(&session.caller, &session.view));
    }

    /// Lets go of GET streams, which would otherwise never end; running calls go on.
    pub fn drain(&self) {
        for session in self.inner.table.all() {
            session.standalone.close();
        }
    }

    /// Ends every session and waits for what runs in them.
    pub async fn close(&self) {
        for session in self.inner.table.all() {
            self.inner.table.end(&session.id);
        }
        for session in self.inner.table.revoked() {
            session.end();
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    fn new_stream(&self, number: u64, revision: &Revision) -> Arc<Outbox> {
        let limits = ShelfLimits {
            events_max: self.limits.replay_events_max,
            bytes_max: self.limits.replay_bytes_max,
            keep_alive: self.limits.keep_alive,
            stall_max: self.limits.stall_max,
            priming_retry_ms: revision.sse_priming.then_some(self.limits.retry_ms),
        };
        Outbox::new(number, limits, Arc::clone(&self.shelving))
    }

    fn random<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.seams.fill)(&mut bytes).then_some(bytes)
    }
}

/// Gives ids to what the gateway asks on behalf of a server.
struct Ids(Arc<Inner>);

impl Mint for Ids {
    fn question(&mut self) -> String {
        let number = self.0.questions.fetch_add(1, Ordering::Relaxed);
        format!("meshgate-{}-{number}", hex(&self.0.home))
    }

    fn elicitation(&mut self) -> String {
        hex(&self.0.random::<16>().unwrap_or_default())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json(body: impl Into<Bytes>) -> Answer {
    Answer::Json {
        status: StatusCode::OK,
        headers: content("application/json"),
        body: body.into(),
    }
}

fn sse(reader: Reader) -> Answer {
    Answer::Sse {
        headers: content("text/event-stream"),
        events: Box::pin(reader.into_stream()),
    }
}

fn empty(status: StatusCode) -> Answer {
    Answer::Empty {
        status,
        headers: HeaderMap::new(),
    }
}

fn content(kind: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    headers
}
