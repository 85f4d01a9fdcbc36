//! Which era a server speaks.
//!
//! The question is `server/discover`, because no server of either era does anything by being asked it. A modern server
//! must answer it. What a legacy server answers depends on its make, so everything that is not the answer of a modern
//! one means legacy, and no single error code decides. A network that fails says nothing about the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode};
use meshgate_mcp::{
    Envelope, Kind, MODERN, Message, Method, Revision, Rules, codes, elements, lookup, message, meta, scan,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::http::{HttpAnswer, HttpLink};
use super::limits::PROBE_MAX;
use super::modern::{self, EventMessages, refused_by_status};
use super::stdio::{Received, StdioLink};
use crate::call::Outbound;
use crate::refusal::{Executed, Reason, Refusal};

/// What a server turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answered; this is its `DiscoverResult`.
    Modern(Bytes),
    /// It must be greeted with `initialize`.
    Legacy,
}

/// Ids of our own requests: above all ids of calls, below what a JSON number carries exactly everywhere.
pub fn own_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 52);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A `server/discover` of our own.
pub(super) fn discover_request(within: Duration) -> Outbound {
    let id = own_id();
    let params = format!(
        r#"{{"_meta":{{"{}":"{}","{}":{{"name":"meshgate","version":"{}"}},"{}":{{}}}}}}"#,
        meta::PROTOCOL_VERSION,
        MODERN.name,
        meta::CLIENT_INFO,
        env!("CARGO_PKG_VERSION"),
        meta::CLIENT_CAPABILITIES,
    );
    let body = message::request(id.to_string().as_bytes(), Method::Discover.as_str(), params.as_bytes());
    Outbound {
        id,
        owner: None,
        method: Method::Discover,
        method_name: Method::Discover.as_str().into(),
        name: None,
        param_headers: Vec::new(),
        body: body.into(),
        deadline: (Instant::now() + within).into_std(),
        traceparent: None,
        caller: None,
        view: None,
    }
}

/// Asks a server over HTTP. An error means that there is no verdict.
pub(super) async fn ask_http(link: &HttpLink) -> Result<Verdict, Refusal> {
    let out = discover_request(PROBE_MAX);
    let deadline = Instant::from_std(out.deadline);
    let fields = modern::routing_fields(link, &out)?;
    match link.post_fields(fields, out.body, out.deadline).await? {
        HttpAnswer::Empty { status, headers } => judge_status(status, &headers),
        HttpAnswer::One {
            status, headers, body, ..
        } => match scan(&body, &Rules::SERVER) {
            Ok(found) if found.is_response() && !is_credential(status) => judge(&body, &found),
            _ => judge_status(status, &headers),
        },
        HttpAnswer::Stream { events, .. } => {
            let mut messages = EventMessages::new(events.into(), out.id);
            let response = timeout_at(deadline, async {
                loop {
                    match messages.next().await {
                        Some(Ok(Received::Response(message))) => return Some(message),
                        Some(Ok(Received::Notice(_))) => {}
                        Some(Err(_)) | None => return None,
                    }
                }
            });
            match response.await {
                Ok(Some(body)) => judge_bytes(&body),
                Ok(None) => Ok(Verdict::Legacy),
                Err(_) => Err(no_verdict("server did not answer `server/discover` in time")),
            }
        }
    }
}

/// Asks a child. Silence means legacy; the child's end means nothing.
pub(super) async fn ask_stdio(link: &Arc<StdioLink>) -> Result<Verdict, Refusal> {
    let out = discover_request(PROBE_MAX);
    // A legacy server before its handshake may be confused by a cancellation as well.
    let mut call = link.call(out.id, out.body).await?.silent();
    let response = timeout(PROBE_MAX, async {
        loop {
            match call.next().await {
                Some(Ok(Received::Response(message))) => return Ok(message),
                Some(Ok(Received::Notice(_))) => {}
                Some(Err(refusal)) => return Err(refusal),
                None => return Err(no_verdict("server ended before it answered")),
            }
        }
    });
    match response.await {
        Ok(Ok(body)) => judge_bytes(&body),
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Ok(Verdict::Legacy),
    }
}

/// A status without a JSON-RPC message. What says nothing about the server itself gives no verdict.
fn judge_status(status: StatusCode, headers: &HeaderMap) -> Result<Verdict, Refusal> {
    let silent = is_credential(status)
        || status.is_redirection()
        || matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504);
    if silent {
        Err(Refusal {
            executed: Executed::No,
            ..refused_by_status(status, headers)
        })
    } else {
        Ok(Verdict::Legacy)
    }
}

fn is_credential(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

fn judge_bytes(body: &[u8]) -> Result<Verdict, Refusal> {
    match scan(body, &Rules::SERVER) {
        Ok(found) => judge(body, &found),
        Err(_) => Ok(Verdict::Legacy),
    }
}

fn judge(body: &[u8], found: &Message) -> Result<Verdict, Refusal> {
    if found.envelope == Envelope::Result {
        let versions = Versions::read(body, found, &["supportedVersions"]);
        return Ok(match (&found.body, versions.modern) {
            (Some(result), true) => Verdict::Modern(Bytes::copy_from_slice(result.span.of(body))),
            _ => Verdict::Legacy,
        });
    }
    match found.error_code(body) {
        Some(codes::UNSUPPORTED_VERSION) => {
            let versions = Versions::read(body, found, &["data", "supported"]);
            if versions.legacy {
                Ok(Verdict::Legacy)
            } else {
                Err(no_verdict("server speaks no protocol version that the gateway speaks"))
            }
        }
        Some(codes::HEADER_MISMATCH | codes::MISSING_CAPABILITY) => {
            Err(no_verdict("server is modern, but refuses `server/discover`"))
        }
        _ => Ok(Verdict::Legacy),
    }
}

/// Which of our versions a list names.
#[derive(Default)]
struct Versions {
    modern: bool,
    legacy: bool,
}

impl Versions {
    fn read(body: &[u8], found: &Message, path: &[&str]) -> Self {
        let mut versions = Self::default();
        let list = found.body.as_ref().and_then(|object| lookup(body, object.span, path));
        let Some(list) = list.filter(|list| list.kind == Kind::Array) else {
            return versions;
        };
        for name in elements(body, list.span) {
            let Some(name) = name.str(body) else { continue };
            versions.modern |= name == MODERN.name;
            versions.legacy |= name != MODERN.name && Revision::find(&name).is_some();
        }
        versions
    }
}

fn no_verdict(message: &'static str) -> Refusal {
    Refusal::server(Reason::ServerAway, Executed::No, message)
}
