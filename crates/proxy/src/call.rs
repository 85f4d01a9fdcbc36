//! The types that carry a call: who calls, what goes to a server, what comes back.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use meshgate_mcp::Method;
use meshgate_telemetry::Traceparent;

use crate::refusal::Refusal;

mod context;

/// Who calls: the application and the person it acts for, or a gateway on its own behalf.
///
/// Two callers are the same when application and user are. What a user may do, and so its groups and scopes, may change
/// between two requests of one call, and it is still the same caller that goes on with it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The application's name; `None` on a view that is open to anonymous calls, and for a gateway.
    pub application: Option<Arc<str>>,
    /// The person that the application acts for, as its issuer names it.
    pub user: Option<Arc<str>>,
    /// The groups of that person.
    pub groups: Vec<Arc<str>>,
    /// What the credential of this request is good for.
    pub scopes: Vec<Arc<str>>,
    /// The gateway that asks for itself: for lists and changes, never for a call.
    gateway: bool,
    binding: Box<[u8]>,
}

impl Caller {
    /// An application, and the person it acts for. Without either: anybody.
    pub fn new(application: Option<Arc<str>>, user: Option<Arc<str>>) -> Self {
        // No name of an application holds a zero byte, so what comes after the first one cannot be taken for another.
        let mut binding = application
            .as_deref()
            .map_or(b"\0anonymous".to_vec(), |name| name.as_bytes().to_vec());
        if let Some(user) = &user {
            binding.push(0);
            binding.extend_from_slice(user.as_bytes());
        }
        Self {
            application,
            user,
            groups: Vec::new(),
            scopes: Vec::new(),
            gateway: false,
            binding: binding.into(),
        }
    }

    /// Anybody.
    pub fn anonymous() -> Self {
        Self::new(None, None)
    }

    /// A gateway on its own behalf, by its SPIFFE ID.
    pub fn gateway(id: &str) -> Self {
        Self {
            gateway: true,
            binding: [b"\0gateway\0", id.as_bytes()].concat().into(),
            ..Self::anonymous()
        }
    }

    /// Whether a gateway asks for itself.
    pub fn is_gateway(&self) -> bool {
        self.gateway
    }

    /// A byte string that is equal for equal callers and for no others; binds sealed state to its caller.
    pub fn binding(&self) -> &[u8] {
        &self.binding
    }
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.binding == other.binding
    }
}

impl Eq for Caller {}

impl Hash for Caller {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.binding.hash(state);
    }
}

/// A request on its way to one server: always MCP 2026-07-28, already in that server's own names.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The JSON-RPC id on this hop, unique in this process; `body` carries it, and so do progress tokens
    /// (`_meta.progressToken` is this same number whenever the caller wants progress).
    pub id: u64,
    /// Who holds what the call goes on with; none for a call of its own.
    pub owner: Option<u64>,
    /// The method.
    pub method: Method,
    /// The method's name as text, for methods that are not in the table.
    pub method_name: Cow<'static, str>,
    /// What `Mcp-Name` mirrors, decoded: tool, prompt, URI or task id of the server itself.
    pub name: Option<Arc<str>>,
    /// `Mcp-Param-*` headers as (full header name, encoded value).
    pub param_headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The whole JSON-RPC request.
    pub body: Bytes,
    /// When the caller stops waiting (hard deadline).
    pub deadline: Instant,
    /// `traceparent` for the HTTP hop, equal to the one in `_meta`.
    pub traceparent: Option<Traceparent>,
    /// Whose call it is, for taking turns at a busy server; `None` for the gateway's own, which never waits.
    pub caller: Option<Arc<Caller>>,
    /// The view that it came through, by which a sidecar decides once more; `None` for the gateway's own.
    pub view: Option<Arc<str>>,
}

/// Messages of one answer, in order: notifications, then exactly one response with the request's id, then the end.
/// Each item is one whole JSON-RPC message. Dropping the stream cancels the call by the rule of the server's era.
pub type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Refusal>> + Send>>;

/// What comes back: one message, or a stream of them.
pub enum Reply {
    /// The response alone.
    One(Bytes),
    /// Notifications and then the response.
    Stream(Messages),
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::One(bytes) => f.debug_tuple("One").field(&bytes.len()).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// A message in the words of its caller, with what it is: whoever made it knew, so nobody has to read it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A notification; more follows.
    Notice(Bytes),
    /// The response, a result.
    Result(Bytes),
    /// The response, a long result in pieces: what is shared with others, or stays as it came, is not copied.
    Pieces(Vec<Bytes>),
    /// The response, an error with this code.
    Error(Bytes, i64),
    /// The response, a result in the words of the legacy revision that it was asked for, in pieces.
    Lowered(Vec<Bytes>),
}

impl Told {
    /// Its bytes.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Notice(bytes) | Self::Result(bytes) | Self::Error(bytes, _) => bytes,
            Self::Pieces(pieces) | Self::Lowered(pieces) => joined(pieces),
        }
    }
}

fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([whole]) => whole,
        Err(pieces) => Bytes::from(pieces.concat()),
    }
}

/// Messages in the words of their caller, in the order of [`Messages`].
pub type Telling = Pin<Box<dyn Stream<Item = Result<Told, Refusal>> + Send>>;

/// What a caller gets: a [`Reply`] whose messages are known for what they are.
pub enum Answered {
    /// The response alone.
    One(Told),
    /// Notifications and then the response.
    Stream(Telling),
}

impl From<Answered> for Reply {
    fn from(answered: Answered) -> Self {
        match answered {
            Answered::One(told) => Self::One(told.into_bytes()),
            Answered::Stream(telling) => Self::Stream(Box::pin(telling.map(|told| told.map(Told::into_bytes)))),
        }
    }
}

#[cfg(test)]
mod tests;
