//! The way to a server over HTTP, of any era.
//!
//! A call must never run twice, so this file is careful about one moment: the one at which the first byte of a request
//! is written. Before it, a refusal says `executed: no`, and a pooled connection that turns out to be dead is replaced
//! by another. After it, everything that goes wrong is `executed: unknown`, and nothing is repeated.
//!
//! What is promised beside that: sizes have limits, an answer is never decompressed, a redirect is never followed, and
//! an answer that is not waited for any more closes its connection. What an answer means is left to the callers.

mod events;
mod exchange;
mod pool;
mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use rustls::ClientConfig;

pub use self::events::Events;
use self::exchange::{Exchange, SendError};
use self::pool::Pool;
use self::wire::Target;
pub use self::wire::client_config;
use super::limits::WireLimits;
use crate::refusal::{Executed, Reason, Refusal};

/// `application/json`.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Both answer types, which every POST accepts.
pub const JSON_OR_EVENTS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
/// `text/event-stream`.
pub const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

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
    headers: HeaderMap,
    limits: WireLimits,
}

/// What came back.
#[derive(Debug)]
pub enum HttpAnswer {
    /// No body.
    Empty {
        /// HTTP status.
        status: StatusCode,
        /// Response headers.
        headers: HeaderMap,
    },
    /// A whole body that is not an event stream; see [`is_json`].
    One {
        /// HTTP status.
        status: StatusCode,
        /// Response headers.
        headers: HeaderMap,
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

/// How far a request has come; decides what a refusal says about the call.
#[derive(Clone, Copy)]
enum Stage {
    Unsent,
    Sent,
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
        let mut all = headers;
        all.insert(header::HOST, target.authority.clone());
        Ok(Self {
            pool: Arc::new(Pool::new(target)),
            headers: all,
            limits,
        })
    }

    /// Posts a JSON body. The deadline covers all but the events of a stream. Dropping the future closes the connection.
    pub async fn post(&self, headers: HeaderMap, body: Bytes, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        let mut request = self.request(Method::POST, headers, body);
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        request.headers_mut().insert(header::ACCEPT, JSON_OR_EVENTS);
        self.exchange(request, deadline).await
    }

    /// Opens the standalone stream of a legacy server.
    pub async fn get(&self, headers: HeaderMap, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        let mut request = self.request(Method::GET, headers, Bytes::new());
        request.headers_mut().insert(header::ACCEPT, EVENTS);
        self.exchange(request, deadline).await
    }

    /// Ends a legacy session.
    pub async fn delete(&self, headers: HeaderMap, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        self.exchange(self.request(Method::DELETE, headers, Bytes::new()), deadline)
            .await
    }

    /// Drops idle connections that are closed or too old.
    pub fn sweep(&self) {
        self.pool.sweep();
    }

    fn request(&self, method: Method, mut headers: HeaderMap, body: Bytes) -> Request<Full<Bytes>> {
        headers.reserve(self.headers.len() + 2);
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.pool.target.path.clone();
        *request.headers_mut() = headers;
        request
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, deadline: Instant) -> Result<HttpAnswer, Refusal> {
        let mut stage = Stage::Unsent;
        let answer = tokio::time::timeout_at(deadline.into(), self.send(request, &mut stage)).await;
        answer.unwrap_or_else(|_| {
            let executed = match stage {
                Stage::Unsent => Executed::No,
                Stage::Sent => Executed::Unknown,
            };
            Err(Refusal::server(
                Reason::Deadline,
                executed,
                "server did not answer before the deadline",
            ))
        })
    }

    async fn send(&self, mut request: Request<Full<Bytes>>, stage: &mut Stage) -> Result<HttpAnswer, Refusal> {
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
            *stage = Stage::Sent;
            match conn.send(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    conn.keep = keep_alive(&head.headers);
                    return self.answer(head, Exchange::new(conn, body)).await;
                }
                // The request came back whole: not a byte of it was written.
                Err(SendError::Unsent(whole)) if !fresh => {
                    *stage = Stage::Unsent;
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
                Err(SendError::Lost) => return Err(cut_off()),
            }
        }
    }

    async fn answer(&self, head: http::response::Parts, mut exchange: Exchange) -> Result<HttpAnswer, Refusal> {
        let (status, headers) = (head.status, head.headers);
        if headers
            .get(header::CONTENT_ENCODING)
            .is_some_and(|value| value != "identity")
        {
            return Err(broken(
                "server compressed its answer though nothing else than plain bytes was accepted",
            ));
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(broken("server switched the protocol though nobody asked"));
        }
        if has_type(&headers, "text/event-stream") {
            let events = Events::new(exchange, Arc::clone(&self.pool), self.limits.event_bytes_max);
            return Ok(HttpAnswer::Stream {
                status,
                headers,
                events,
            });
        }
        let body = read_body(&mut exchange, self.limits.response_bytes_max).await?;
        self.pool.put(exchange);
        if body.is_empty() {
            return Ok(HttpAnswer::Empty { status, headers });
        }
        Ok(HttpAnswer::One { status, headers, body })
    }
}

impl std::fmt::Debug for HttpLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpLink")
            .field("host", &self.pool.target.authority)
            .finish_non_exhaustive()
    }
}

/// Whether the body is declared as JSON.
pub fn is_json(headers: &HeaderMap) -> bool {
    has_type(headers, "application/json")
}

fn has_type(headers: &HeaderMap, wanted: &str) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let media = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
    })
}

/// `Keep-Alive: timeout=5`.
fn keep_alive(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// Reads a body of at most `bytes_max`; one that arrives in one piece is not copied.
async fn read_body(exchange: &mut Exchange, bytes_max: usize) -> Result<Bytes, Refusal> {
    let announced = exchange
        .announced()
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while !exchange.is_complete() {
        let Some(data) = poll_fn(|cx| exchange.poll_data(cx)).await else {
            break;
        };
        let data = data.map_err(|()| cut_off())?;
        if first.len() + rest.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        if first.is_empty() && rest.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(announced.unwrap_or(first.len() + data.len()));
            rest.extend_from_slice(&std::mem::take(&mut first));
        }
        rest.extend_from_slice(&data);
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
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
