//! What a client gets: the one place where replies and refusals become HTTP.
//!
//! A modern answer stays JSON for as long as possible: the status can no longer change once a stream has begun, so the
//! first message is awaited before the form is chosen. A refusal becomes a status, a JSON-RPC error and a vendor member
//! of `error.data` that says who refused, by which rule and whether the call ran.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use meshgate_mcp::{codes, json, message, meta};

use crate::call::{Messages, Reply};
use crate::observe::CallRecord;
use crate::refusal::{By, Executed, Reason, Refusal};

/// How often an answer stream that has nothing to say sends a comment, so that idle timers on the way do not end it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The chunks of a streamed body.
pub type Chunks = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of every answer of the gateway; keeps the call's record open until it is sent or given up.
pub struct ReplyBody {
    content: Content,
    record: Option<CallRecord>,
    ended: bool,
}

enum Content {
    Full(Option<Bytes>),
    Stream(Chunks),
}

impl ReplyBody {
    /// A whole body.
    pub fn full(bytes: Bytes) -> Self {
        Self {
            content: Content::Full(Some(bytes)),
            record: None,
            ended: false,
        }
    }

    /// No body.
    pub fn empty() -> Self {
        Self {
            content: Content::Full(None),
            record: None,
            ended: false,
        }
    }

    /// A body that comes in pieces; dropping it cancels what feeds it.
    pub fn stream(chunks: Chunks) -> Self {
        Self {
            content: Content::Stream(chunks),
            record: None,
            ended: false,
        }
    }

    /// Counts the body's bytes in a record and keeps it open.
    #[must_use]
    pub fn recorded(mut self, record: CallRecord) -> Self {
        self.record = Some(record);
        self
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        // Only a stream can be given up half way; a whole body is handed over at once.
        if let (Content::Stream(_), false, Some(record)) = (&self.content, self.ended, &self.record) {
            record.note(|r| r.cancelled = true);
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let chunk = match &mut this.content {
            Content::Full(bytes) => bytes.take(),
            Content::Stream(chunks) => match chunks.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(chunk) => chunk,
            },
        };
        match (&chunk, &this.record) {
            (Some(chunk), Some(record)) => {
                record.first_byte();
                record.note(|r| r.bytes_out += chunk.len() as u64);
            }
            (None, _) => this.ended = true,
            _ => {}
        }
        Poll::Ready(chunk.map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer with a whole JSON body.
pub fn json_answer(status: StatusCode, body: Bytes) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CACHE_CONTROL, NO_STORE);
    response
}

/// An answer without a body.
pub fn empty_answer(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::empty());
    *response.status_mut() = status;
    response
}

/// An event stream of chunks that are framed already.
pub fn event_answer(chunks: Chunks) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::stream(chunks));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENT_STREAM);
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(ACCEL, HeaderValue::from_static("no"));
    response
}

/// The status that a modern response goes out with: errors of the envelope have one of their own, all else is 200.
pub fn modern_status(error_code: Option<i64>) -> StatusCode {
    match error_code {
        Some(codes::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Some(codes::HEADER_MISMATCH | codes::MISSING_CAPABILITY | codes::UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

/// Sends a modern reply: one message as JSON, several as events. `id` is the caller's raw JSON-RPC id, for the error
/// that ends a stream which broke.
pub async fn modern(id: Bytes, reply: Reply) -> Result<Response<ReplyBody>, Refusal> {
    let (first, rest) = match reply {
        Reply::One(body) => return Ok(json_answer(status_of(&body), body)),
        Reply::Stream(mut messages) => match messages.next().await {
            None => return Err(broken_off()),
            Some(first) => (first?, messages),
        },
    };
    if is_response(&first) {
        return Ok(json_answer(status_of(&first), first));
    }
    Ok(event_answer(frame_events(id, first, rest)))
}

fn broken_off() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "the server ended its answer without a response",
    )
}

/// Frames modern messages as events, with comments while nothing happens, and an error event where the stream breaks.
fn frame_events(id: Bytes, first: Bytes, rest: Messages) -> Chunks {
    struct State {
        id: Bytes,
        first: Option<Bytes>,
        rest: Messages,
        done: bool,
    }
    let state = State {
        id,
        first: Some(first),
        rest,
        done: false,
    };
    Box::pin(futures_util::stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        let next = match state.first.take() {
            Some(first) => Some(Ok(first)),
            None => match tokio::time::timeout(KEEP_ALIVE, state.rest.next()).await {
                Err(_elapsed) => return Some((Bytes::from_static(b":\n\n"), state)),
                Ok(next) => next,
            },
        };
        let body = match next {
            Some(Ok(body)) => {
                state.done = is_response(&body);
                body
            }
            Some(Err(refusal)) => {
                state.done = true;
                Bytes::from(error_body(Some(&state.id), &refusal))
            }
            None => {
                state.done = true;
                Bytes::from(error_body(Some(&state.id), &broken_off()))
            }
        };
        let mut event = Vec::with_capacity(body.len() + 32);
        meshgate_mcp::encode_sse(&mut event, None, &body);
        Some((Bytes::from(event), state))
    }))
}

/// Whether a message that the mesh made or checked is a response (as against a notification).
pub fn is_response(body: &[u8]) -> bool {
    let rules = meshgate_mcp::Rules::SERVER;
    meshgate_mcp::scan(body, &rules).is_ok_and(|m| {
        matches!(
            m.envelope,
            meshgate_mcp::Envelope::Result | meshgate_mcp::Envelope::Error
        )
    })
}

fn status_of(body: &[u8]) -> StatusCode {
    // Only an error can need another status, and the mesh's own splices leave `"error"` spelled out.
    if memchr::memmem::find(body.get(..body.len().min(4096)).unwrap_or(body), b"\"error\"").is_none() {
        return StatusCode::OK;
    }
    modern_status(error_code(body))
}

/// The code of an error response; `None` for everything else.
pub fn error_code(body: &[u8]) -> Option<i64> {
    let message = meshgate_mcp::scan(body, &meshgate_mcp::Rules::SERVER).ok()?;
    if message.envelope != meshgate_mcp::Envelope::Error {
        return None;
    }
    message.body.as_ref()?.get(body, "code")?.i64(body)
}

/// The JSON-RPC error of a refusal; `id` is the caller's raw id, absent when it could not be read.
pub fn error_body(id: Option<&[u8]>, refusal: &Refusal) -> Vec<u8> {
    let (_, code, reason) = refusal.reason.row();
    let by = match refusal.by {
        By::Gateway => "gateway",
        By::Server => "server",
    };
    let executed = match refusal.executed {
        Executed::No => "no",
        Executed::Unknown => "unknown",
    };
    let mut data = match &refusal.data {
        Some(members) if members.len() > 2 => {
            let mut data = members.get(..members.len() - 1).unwrap_or_default().to_vec();
            data.push(b',');
            data
        }
        _ => vec![b'{'],
    };
    json::push_quoted(&mut data, meta::VENDOR_REFUSAL);
    data.extend_from_slice(
        format!(":{{\"by\":\"{by}\",\"reason\":\"{reason}\",\"executed\":\"{executed}\"").as_bytes(),
    );
    if let Some(rule) = &refusal.rule {
        data.extend_from_slice(b",\"rule\":");
        json::push_quoted(&mut data, rule);
    }
    if let Some(after) = refusal.retry {
        data.extend_from_slice(format!(",\"retryAfterMs\":{}", after.as_millis()).as_bytes());
    }
    data.extend_from_slice(b"}}");
    message::error(id, code, &refusal.message, Some(&data))
}

/// A refusal as a whole HTTP answer of the modern face.
pub fn refused(id: Option<&[u8]>, refusal: &Refusal) -> Response<ReplyBody> {
    let (status, ..) = refusal.reason.row();
    refused_as(status, id, refusal)
}

/// A refusal with a status of the caller's choice (legacy clients get 200 with errors of the protocol).
pub fn refused_as(status: StatusCode, id: Option<&[u8]>, refusal: &Refusal) -> Response<ReplyBody> {
    let mut response = json_answer(status, Bytes::from(error_body(id, refusal)));
    if let Some((name, value)) = &refusal.header {
        response.headers_mut().insert(name, value.clone());
    }
    if let Some(after) = refusal.retry {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}
