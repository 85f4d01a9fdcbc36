//! A call to a server that speaks what we speak inside.
//!
//! The request goes out as it is. Over HTTP its routing headers are made from the request itself, never copied from a
//! client. An HTTP status decides nothing as long as the body is a JSON-RPC message, because servers disagree about
//! statuses; without such a body the status becomes a refusal of ours, so that no challenge or error page of a server
//! ever reaches a client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, RETRY_AFTER};
use meshgate_mcp::{Envelope, MODERN, Message, Method, Rules, Splice, SseEvent, codes, headers, meta, scan};
use tokio::time::timeout_at;

use super::http::{Events, Fields, HttpAnswer, HttpLink, broken, cut_off};
use super::limits::EVENTS_IN_A_ROW;
use super::pace::after_the_others;
use super::patience::{self, Patience, too_late};
use super::stale::Stale;
use super::stdio::{Received, StdioLink};
use super::turns::Turn;
use crate::call::{Outbound, Reply};
use crate::hop;
use crate::refusal::{Executed, Reason, Refusal};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const VERSION: &[u8] = MODERN.name.as_bytes();

/// Makes a call over HTTP.
///
/// A single JSON answer with a success status is passed on unscanned: whoever reads it next scans it anyway.
pub(super) async fn call_http(
    link: &HttpLink,
    out: &Outbound,
    patience: Patience,
    turn: Turn,
    stale: &Stale,
) -> Result<Reply, Refusal> {
    let fields = routing_fields(link, out)?;
    let answer = link
        .post_fields(fields, out.body.clone(), patience.until().into_std())
        .await?;
    match answer {
        HttpAnswer::One {
            status,
            json: true,
            body,
            ..
        } if status.is_success() => Ok(Reply::One(body)),
        HttpAnswer::One {
            status, headers, body, ..
        } => error_body(out.id, status, &headers, body, stale),
        HttpAnswer::Empty { status, headers } => Err(refused_by_status(status, &headers)),
        HttpAnswer::Stream { events, .. } => {
            let events = match out.method {
                Method::Listen => events.apart(),
                _ => events,
            };
            let source = EventMessages::new(events.into(), out.id);
            Box::pin(patience::reply(source, patience, turn)).await
        }
    }
}

/// Makes a call over a pipe.
pub(super) async fn call_stdio(
    link: &Arc<StdioLink>,
    out: &Outbound,
    patience: Patience,
    turn: Turn,
) -> Result<Reply, Refusal> {
    // Where the text is only part of an argument, the caller's own answer is where unasked logs are dropped.
    let wants_logs = memchr::memmem::find(&out.body, meta::LOG_LEVEL.as_bytes()).is_some();
    let opened = timeout_at(
        patience.until(),
        link.call_logging(out.id, out.body.clone(), wants_logs),
    )
    .await;
    let call = opened.map_err(|_| too_late(Executed::No))??;
    patience::reply(call, patience, turn).await
}

/// The header fields that mirror the request.
pub(super) fn routing_fields<'a>(link: &'a HttpLink, out: &Outbound) -> Result<Fields<'a>, Refusal> {
    let mut fields = link.fields();
    fields.add(&PROTOCOL_VERSION, VERSION);
    let method = match out.method {
        Method::Other => &out.method_name,
        known => known.as_str(),
    };
    if !(method.is_ascii() && fields.add(&METHOD, method.as_bytes())) {
        return Err(Refusal::new(
            Reason::MethodNotFound,
            "method cannot be sent as a header",
        ));
    }
    if let Some(name) = &out.name
        && !fields.add(&NAME, headers::encode(name).as_bytes())
    {
        return Err(Refusal::new(Reason::InvalidParams, "name cannot be sent as a header"));
    }
    if let Some(traceparent) = &out.traceparent {
        fields.add(&TRACEPARENT, traceparent.as_bytes());
    }
    for (name, value) in &out.param_headers {
        fields.add(name, value.as_bytes());
    }
    Ok(fields)
}

/// A body that came with an error status or without the right type: a JSON-RPC response all the same, or a refusal.
pub(super) fn error_body(
    id: u64,
    status: StatusCode,
    headers: &HeaderMap,
    body: Bytes,
    stale: &Stale,
) -> Result<Reply, Refusal> {
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(refused_by_status(status, headers));
    }
    match scan(&body, &Rules::SERVER) {
        Ok(message) if message.is_response() => {
            if message.error_code(&body) == Some(codes::HEADER_MISMATCH) {
                stale.tell();
            }
            Ok(Reply::One(with_id(id, body, &message)))
        }
        _ => Err(refused_by_status(status, headers)),
    }
}

/// The response under the id of its request. Errors may come without one, or with one that nobody used.
fn with_id(id: u64, body: Bytes, message: &Message) -> Bytes {
    if message.id.and_then(|found| found.u64(&body)) == Some(id) {
        return body;
    }
    let mut splice = Splice::new(&body);
    match &message.id {
        Some(found) => splice.replace(found.span, id.to_string().into_bytes()),
        None => splice.insert(&message.root, "id", id.to_string().into_bytes()),
    }
    splice.finish().into()
}

/// What an HTTP status means that came without a JSON-RPC message. The call may have run in any case.
pub(super) fn refused_by_status(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let code = status.as_u16();
    let refuse = |reason, message: String| {
        Refusal::server(reason, Executed::Unknown, message).rule(format!("upstream/http-{code}"))
    };
    let refusal = match code {
        401 | 403 => refuse(
            Reason::ServerAway,
            format!("server refused the gateway's own credential (http {code}); its operator must correct it"),
        ),
        429 => refuse(Reason::RateLimited, "server has too many calls (http 429)".to_owned()),
        503 => refuse(Reason::ServerAway, "server is away (http 503)".to_owned()),
        502 | 504 => refuse(
            Reason::ServerAway,
            format!("server cannot be reached behind its own proxy (http {code})"),
        ),
        300..=399 => refuse(
            Reason::ServerBroken,
            format!("server answered with a redirect (http {code}); correct its url"),
        ),
        200..=299 => refuse(
            Reason::ServerBroken,
            "server answered without a json-rpc message".to_owned(),
        ),
        _ => refuse(
            Reason::ServerBroken,
            format!("server answered http {code} without a json-rpc message"),
        ),
    };
    match retry_after(headers) {
        Some(after) => refusal.retry(after),
        None => refusal,
    }
}

fn retry_after(headers: &HeaderMap) -> Option<std::time::Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(std::time::Duration::from_secs(seconds.min(3600)))
}

/// Whether an answer makes it doubtful that the server is modern at all.
pub(super) fn casts_doubt(refusal: &Refusal) -> bool {
    let rule = refusal.rule.as_deref().unwrap_or_default();
    matches!(
        rule,
        "upstream/http-400" | "upstream/http-404" | "upstream/http-405" | "upstream/http-406" | "upstream/http-415"
    )
}

/// Where the events of an answer come from.
pub(super) enum Source {
    /// The server itself.
    Http(Events),
    /// Its sidecar.
    Mesh(hop::Events),
}

impl From<Events> for Source {
    fn from(events: Events) -> Self {
        Self::Http(events)
    }
}

impl From<hop::Events> for Source {
    fn from(events: hop::Events) -> Self {
        Self::Mesh(events)
    }
}

impl Source {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<SseEvent, Refusal>>> {
        match self {
            Self::Http(events) => Pin::new(events).poll_next(cx),
            Self::Mesh(events) => Pin::new(events).poll_next(cx),
        }
    }

    /// What a sidecar says itself, and not for its server.
    fn refusal(&self, event: &SseEvent) -> Option<Refusal> {
        let refused = matches!(self, Self::Mesh(_)) && event.event.as_deref() == Some(hop::words::REFUSED_EVENT);
        refused.then(|| hop::taken_over(&event.data))
    }

    /// Nothing more is wanted, because the answer is complete.
    fn finish(self) {
        match self {
            Self::Http(events) => events.finish(),
            Self::Mesh(events) => events.finish(),
        }
    }
}

/// The messages of an event stream.
pub(super) struct EventMessages {
    /// `None` once the response has been read.
    events: Option<Source>,
    id: u64,
    /// Events since others last had their turn.
    in_a_row: u32,
}

impl EventMessages {
    pub(super) fn new(events: Source, id: u64) -> Self {
        Self {
            events: Some(events),
            id,
            in_a_row: 0,
        }
    }

    /// What an event holds; `None` for keep-alives and for requests, which a modern server may not send.
    fn message(&mut self, data: Vec<u8>) -> Option<Result<Received, Refusal>> {
        if data.is_empty() {
            return None;
        }
        let data = Bytes::from(data);
        let Ok(message) = scan(&data, &Rules::SERVER) else {
            self.events = None;
            return Some(Err(broken("server sent an event that is no json-rpc message")));
        };
        match message.envelope {
            Envelope::Notification => Some(Ok(Received::Notice(data))),
            Envelope::Request => None,
            Envelope::Result | Envelope::Error => {
                let response = with_id(self.id, data, &message);
                if let Some(events) = self.events.take() {
                    events.finish();
                }
                Some(Ok(Received::Response(response)))
            }
        }
    }
}

impl Stream for EventMessages {
    type Item = Result<Received, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            // What comes in one piece is read in one go, and hundreds of events fit into a piece.
            if self.in_a_row >= EVENTS_IN_A_ROW {
                self.in_a_row = 0;
                after_the_others(cx);
                return Poll::Pending;
            }
            let Some(events) = &mut self.events else {
                return Poll::Ready(None);
            };
            match ready!(events.poll_next(cx)) {
                Some(Ok(event)) => {
                    if let Some(refusal) = events.refusal(&event) {
                        self.events = None;
                        return Poll::Ready(Some(Err(refusal)));
                    }
                    self.in_a_row += 1;
                    if let Some(message) = self.message(event.data) {
                        return Poll::Ready(Some(message));
                    }
                }
                Some(Err(refusal)) => {
                    self.events = None;
                    return Poll::Ready(Some(Err(refusal)));
                }
                None => {
                    self.events = None;
                    return Poll::Ready(Some(Err(cut_off())));
                }
            }
        }
    }
}
