//! The way to a server over HTTP, of any era.
//!
//! A call must never run twice, so this file is careful about one moment: the one at which the first byte of a request
//! is written. Before it, a refusal says `executed: no`, and a pooled connection that turns out to be dead is replaced
//! by another. After it, everything that goes wrong is `executed: unknown`, and nothing is repeated.
//!
//! What is promised beside that: sizes have limits, an answer is never decompressed, a redirect is never followed, and
//! an answer that is not waited for any more closes its connection. What an answer means is left to the callers.

mod allowance;
mod body;
mod events;
mod exchange;
mod fields;
mod head;
mod pool;
mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use rustls::ClientConfig;

pub(in crate::upstream) use self::allowance::Allowance;
pub(crate) use self::allowance::Pace;
pub use self::events::Events;
use self::exchange::{Exchange, ReadError, Request, SendError};
pub(super) use self::fields::Fields;
use self::fields::Prepared;
use self::head::{Head, Kind};
use self::pool::Pool;
use self::wire::Target;
pub use self::wire::client_config;
use super::limits::{READ_BYTES, WireLimits};
use crate::refusal::{Executed, Reason, Refusal};

/// How many pooled connections a request tries before it opens its own.
const REUSE_ATTEMPTS_MAX: usize = 3;

/// Headers that belong to this hop: an operator's extra headers may not set them.
const RESERVED: [HeaderName; 12] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::ACCEPT,
    header::ACCEPT_ENCODING,
];

/// One server over HTTP, for one identity: its connections are shared by nobody else.
pub struct HttpLink {
    pool: Arc<Pool>,
    prepared: Prepared,
    limits: WireLimits,
    allowance: Arc<Allowance>,
}

/// What came back. Of its headers only those that a caller may ask for: `Mcp-Session-Id` and `Retry-After`.
#[derive(Debug)]
pub enum HttpAnswer {
    /// No body.
    Empty {
        /// HTTP status.
        status: StatusCode,
        /// Response headers.
        headers: HeaderMap,
    },
    /// A whole body that is not an event stream.
    One {
        /// HTTP status.
        status: StatusCode,
        /// Response headers.
        headers: HeaderMap,
        /// Whether the body is declared as JSON.
        json: bool,
        /// The body.
        body: Bytes,
    },
    /// An event stream.
    Stream {
        /// HTTP status.
        status: StatusCode,
        /// Response headers.
        headers: HeaderMap,
        /// Its events.
        events: Events,
    },
}

impl HttpAnswer {
    /// The status and headers.
    pub fn head(&self) -> (StatusCode, &HeaderMap) {
        match self {
            Self::Empty { status, headers }
            | Self::One { status, headers, .. }
            | Self::Stream { status, headers, .. } => (*status, headers),
        }
    }
}

impl HttpLink {
    /// A link to `url` that adds `headers` to every request. `tls` replaces the public roots.
    pub fn new(
        url: &str,
        headers: HeaderMap,
        limits: WireLimits,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Refusal> {
        if let Some(name) = RESERVED.iter().find(|name| headers.contains_key(*name)) {
            let message =
                format!("server header `{name}` is set by the gateway itself; remove it from the configuration");
            return Err(Refusal::new(Reason::Internal, message));
        }
        let target = Target::parse(url, tls)?;
        Ok(Self {
            prepared: Prepared::new(&target, headers),
            pool: Arc::new(Pool::new(target)),
            limits,
            allowance: Arc::default(),
        })
    }

    /// A link to a server to which there are others: calls on all of them share one allowance of events.
    pub(in crate::upstream) fn sharing(mut self, allowance: &Arc<Allowance>) -> Self {
        self.allowance = Arc::clone(allowance);
        self
    }

    /// The header fields of a POST, for the caller to add its own.
    pub(super) fn fields(&self) -> Fields<'_> {
        self.prepared.post()
    }

    /// Posts a JSON body. The deadline covers all but the events of a stream. Dropping the future closes the connection.
    pub async fn post(&self, headers: HeaderMap, body: Bytes, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        self.post_fields(self.fields().all(&headers), body, deadline).await
    }

    /// Like [`Self::post`], with fields that were written where they were made.
    pub(super) async fn post_fields(
        &self,
        fields: Fields<'_>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<HttpAnswer, Refusal> {
        let shares = Some(&self.allowance);
        self.exchange(Request::new(fields.end_with(body.len()), body), shares, deadline)
            .await
    }

    /// Opens the standalone stream of a legacy server, which comes at a pace of its own.
    pub async fn get(&self, headers: HeaderMap, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        let fields = self.prepared.bodiless(&Method::GET).all(&headers);
        self.exchange(Request::new(fields.end(), Bytes::new()), None, deadline)
            .await
    }

    /// Ends a legacy session.
    pub async fn delete(&self, headers: HeaderMap, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        let fields = self.prepared.bodiless(&Method::DELETE).all(&headers);
        self.exchange(Request::new(fields.end(), Bytes::new()), None, deadline)
            .await
    }

    /// Drops idle connections that are closed or too old.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    async fn exchange(
        &self,
        request: Request,
        shares: Option<&Arc<Allowance>>,
        deadline: Instant,
    ) -> Result<HttpAnswer, Refusal> {
        let mut sent = false;
        let answer = tokio::time::timeout_at(deadline.into(), self.send(request, shares, &mut sent)).await;
        answer.unwrap_or_else(|_| {
            let executed = if sent { Executed::Unknown } else { Executed::No };
            Err(Refusal::server(
                Reason::Deadline,
                executed,
                "server did not answer before the deadline",
            ))
        })
    }

    async fn send(
        &self,
        mut request: Request,
        shares: Option<&Arc<Allowance>>,
        sent: &mut bool,
    ) -> Result<HttpAnswer, Refusal> {
        let mut reused = 0;
        loop {
            let pooled = if reused < REUSE_ATTEMPTS_MAX {
                self.pool.take()
            } else {
                None
            };
            let fresh = pooled.is_none();
            let mut conn = match pooled {
                Some(conn) => conn,
                // Rare, and with its TLS handshake many times the size of everything else here.
                None => Box::pin(self.pool.open()).await?,
            };
            match conn.send(request, sent).await {
                Ok(head) => {
                    let mut exchange = Exchange::new(conn, head.framing);
                    if head.encoded {
                        return Err(broken(
                            "server compressed its answer though nothing else than plain bytes was accepted",
                        ));
                    }
                    if head.kind == Kind::Events {
                        return Ok(self.events(head, exchange, shares));
                    }
                    let body = read_body(&mut exchange, self.limits.response_bytes_max).await?;
                    self.pool.put(exchange);
                    return Ok(whole(head, body));
                }
                // The request came back whole: not a byte of it was written.
                Err(SendError::Unsent(whole)) if !fresh => {
                    request = *whole;
                    reused += 1;
                }
                Err(SendError::Unsent(_)) => {
                    return Err(Refusal::server(
                        Reason::ServerAway,
                        Executed::No,
                        "server is away: it closed the connection at once",
                    ));
                }
                Err(SendError::Sent(error)) => return Err(error.into()),
            }
        }
    }

    fn events(&self, head: Head, exchange: Exchange, shares: Option<&Arc<Allowance>>) -> HttpAnswer {
        let pool = Arc::clone(&self.pool);
        let events = Events::new(exchange, pool, self.limits.event_bytes_max, Pace::new(shares));
        HttpAnswer::Stream {
            status: head.status,
            headers: head.fields,
            events,
        }
    }
}

fn whole(head: Head, body: Bytes) -> HttpAnswer {
    let (status, headers) = (head.status, head.fields);
    if body.is_empty() {
        return HttpAnswer::Empty { status, headers };
    }
    let json = head.kind == Kind::Json;
    HttpAnswer::One {
        status,
        headers,
        json,
        body,
    }
}

impl std::fmt::Debug for HttpLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpLink")
            .field("host", &self.pool.target.authority)
            .finish_non_exhaustive()
    }
}

/// Reads a body of at most `bytes_max`.
async fn read_body(exchange: &mut Exchange, bytes_max: usize) -> Result<Bytes, Refusal> {
    if let Some(length) = exchange.announced() {
        let length = usize::try_from(length).ok().filter(|length| *length <= bytes_max);
        let length = length.ok_or_else(|| too_large(bytes_max))?;
        return Ok(exchange.read_announced(length).await?);
    }
    let mut whole = BytesMut::new();
    loop {
        let more = poll_fn(|cx| exchange.poll_pieces(cx, READ_BYTES, &mut |piece| whole.extend_from_slice(piece)));
        if !more.await? {
            return Ok(whole.freeze());
        }
        if whole.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Lost => cut_off(),
            ReadError::Broken(how) => broken(format!("server broke http in its answer: {how}")),
        }
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    broken(format!("server answered with more than {bytes_max} bytes")).rule("limit/response")
}

/// The server broke the protocol after the call had reached it.
pub(super) fn broken(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::server(Reason::ServerBroken, Executed::Unknown, message)
}

pub(super) fn cut_off() -> Refusal {
    broken("server closed the connection before its answer was complete")
}
