//! The types that carry a call: who calls, what goes to a server, what comes back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_core::Stream;
use meshgate_mcp::Method;

use crate::refusal::Refusal;

/// Who calls: the application and, later, the person it acts for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The application's name; `None` on a view that is open to anonymous calls.
    pub application: Option<Arc<str>>,
}

impl Caller {
    /// A byte string that is equal for equal callers and for no others; binds sealed state to its caller.
    pub fn binding(&self) -> &[u8] {
        self.application.as_deref().map_or(b"\0anonymous", str::as_bytes)
    }
}

/// A request on its way to one server: always MCP 2026-07-28, already in that server's own names.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The JSON-RPC id on this hop, unique in this process; `body` carries it, and so do progress tokens
    /// (`_meta.progressToken` is this same number whenever the caller wants progress).
    pub id: u64,
    /// The method.
    pub method: Method,
    /// The method's name as text, for methods that are not in the table.
    pub method_name: Arc<str>,
    /// What `Mcp-Name` mirrors, decoded: tool, prompt, URI or task id of the server itself.
    pub name: Option<Arc<str>>,
    /// `Mcp-Param-*` headers as (full header name, encoded value).
    pub param_headers: Vec<(http::HeaderName, http::HeaderValue)>,
    /// The whole JSON-RPC request.
    pub body: Bytes,
    /// When the caller stops waiting (hard deadline).
    pub deadline: Instant,
    /// `traceparent` for the HTTP hop, equal to the one in `_meta`.
    pub traceparent: Option<http::HeaderValue>,
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
