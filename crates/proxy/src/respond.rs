//! What a client gets: the one place where replies and refusals become HTTP.
//!
//! A modern answer stays JSON for as long as possible: the status can no longer change once a stream has begun, so the
//! first message is awaited before the form is chosen. A refusal becomes a status, a JSON-RPC error and a vendor member
//! of `error.data` that says who refused, by which rule and whether the call ran.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use meshgate_mcp::{codes, headers, json::push_quoted, message, meta};
use meshgate_telemetry::Hop;
use tokio::time::timeout;

use crate::call::{Answered, Telling, Told};
use crate::limit::Place;
use crate::observe::CallRecord;
use crate::refusal::{Executed, Reason, Refusal};

/// How often an answer stream that has nothing to say sends a comment, so that idle timers on the way do not end it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const ACCEL: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The chunks of a streamed body.
pub type Chunks = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// A call that is being made.
pub type Answering = Pin<Box<dyn Future<Output = Result<Answered, Refusal>> + Send>>;

/// The body of every answer of the gateway; keeps the call's record open until it is sent or given up.
pub struct ReplyBody {
    content: Content,
    record: Option<CallRecord>,
    place: Option<Place>,
    ended: bool,
}

enum Content {
    Full(Option<Bytes>),
    /// The next piece first, and how many bytes are left.
    Pieces(VecDeque<Bytes>, u64),
    Stream(Chunks),
}

impl ReplyBody {
    /// A whole body.
    pub fn full(bytes: Bytes) -> Self {
        Self::of(Content::Full(Some(bytes)))
    }

    /// A whole body in pieces.
    pub fn pieces(pieces: Vec<Bytes>) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::of(Content::Pieces(pieces.into(), left))
    }

    fn of(content: Content) -> Self {
        Self {
            content,
            record: None,
            place: None,
            ended: false,
        }
    }

    /// No body.
    pub fn empty() -> Self {
        Self::of(Content::Full(None))
    }

    /// A body that comes in pieces; dropping it cancels what feeds it.
    pub fn stream(chunks: Chunks) -> Self {
        Self::of(Content::Stream(chunks))
    }

    /// Counts the call as in flight until its answer is handed over, or given up.
    #[must_use]
    pub fn holding(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
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
        let given_up = match self.content {
            // Handed over at once.
            Content::Full(_) => false,
            Content::Pieces(_, left) => left > 0,
            Content::Stream(_) => !self.ended,
        };
        if let (true, Some(record)) = (given_up, &self.record) {
            record.left();
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
            Content::Pieces(pieces, left) => {
                let piece = pieces.pop_front();
                *left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
                piece
            }
            Content::Stream(chunks) => match chunks.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(chunk) => chunk,
            },
        };
        match (&chunk, &this.record) {
            (Some(chunk), Some(record)) => {
                record.leaves(chunk.len());
            }
            (None, _) => this.ended = true,
            _ => {}
        }
        Poll::Ready(chunk.map(|b| Ok(Frame::data(b))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Full(None) | Content::Pieces(_, 0))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Content::Pieces(_, left) => SizeHint::with_exact(*left),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer with a whole JSON body.
pub fn json_answer(status: StatusCode, body: Bytes) -> Response<ReplyBody> {
    json(status, ReplyBody::full(body), Hop::Gateway)
}

/// Between parts of the mesh there is nobody who keeps answers, and each field is one more that both ends spell.
fn json(status: StatusCode, body: ReplyBody, hop: Hop) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if hop == Hop::Gateway {
        headers.insert(CACHE_CONTROL, NO_STORE);
    }
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

/// The status that a modern error goes out with: those of the envelope have one of their own, all others have 200.
pub fn modern_status(error_code: i64) -> StatusCode {
    match error_code {
        codes::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        codes::HEADER_MISMATCH | codes::MISSING_CAPABILITY | codes::UNSUPPORTED_VERSION => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

/// Sends a modern answer: one message as JSON, several as events, and events as well once the call has been silent for
/// long, because whoever sits between ends connections on which nothing happens. `id` is the caller's raw JSON-RPC id,
/// for the error that ends a stream which broke; a sidecar says of such an error that it is its own (`hop`).
pub async fn modern(id: Bytes, answering: Answering, hop: Hop) -> Result<Response<ReplyBody>, Refusal> {
    let mut saying = Saying::Nothing(answering);
    let first = match timeout(KEEP_ALIVE, saying.next()).await {
        Err(_silent) => return Ok(event_answer(frame_events(&id, None, saying, hop))),
        Ok(None) => return Err(broken_off()),
        Ok(Some(first)) => first?,
    };
    Ok(match first {
        Told::Notice(notice) => event_answer(frame_events(&id, Some(notice), saying, hop)),
        Told::Result(body) => json(StatusCode::OK, ReplyBody::full(body), hop),
        Told::Pieces(pieces) | Told::Lowered(pieces) => json(StatusCode::OK, ReplyBody::pieces(pieces), hop),
        Told::Error(body, code) => json(modern_status(code), ReplyBody::full(body), hop),
    })
}

/// What a call has said so far.
enum Saying {
    /// Nothing.
    Nothing(Answering),
    /// Something, and it goes on.
    More(Telling),
    /// Everything.
    All,
}

impl Saying {
    /// The next message. Giving up waiting loses nothing.
    async fn next(&mut self) -> Option<Result<Told, Refusal>> {
        if let Self::Nothing(answering) = self {
            match answering.await {
                Ok(Answered::Stream(telling)) => *self = Self::More(telling),
                Ok(Answered::One(told)) => {
                    *self = Self::All;
                    return Some(Ok(told));
                }
                Err(refusal) => {
                    *self = Self::All;
                    return Some(Err(refusal));
                }
            }
        }
        match self {
            Self::More(telling) => telling.next().await,
            Self::Nothing(_) | Self::All => None,
        }
    }
}

/// Ends a call that panics, and nothing else: every other call of the process goes on.
///
/// No `async fn`, because that would keep room for the work twice: as it is given, and as it runs.
pub fn caught<T>(work: impl Future<Output = Result<T, Refusal>>) -> impl Future<Output = Result<T, Refusal>> {
    let caught = AssertUnwindSafe(work).catch_unwind();
    caught.map(|ended| ended.unwrap_or_else(|_| Err(fault())))
}

/// The refusal of a call that met a fault of ours.
pub fn fault() -> Refusal {
    tracing::error!("a call has panicked; this is a fault of the gateway");
    let text = "the gateway failed on this call; its operator finds the fault in the log";
    Refusal {
        executed: Executed::Unknown,
        ..Refusal::new(Reason::Internal, text).rule("gateway/fault")
    }
}

fn broken_off() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "the server ended its answer without a response",
    )
}

/// Frames modern messages as events, with comments while nothing happens, and an error event where the stream breaks.
fn frame_events(id: &[u8], first: Option<Bytes>, rest: Saying, hop: Hop) -> Chunks {
    struct State {
        id: Bytes,
        first: Option<Bytes>,
        rest: Saying,
        hop: Hop,
        done: bool,
    }
    let state = State {
        // A copy, because the id would keep the whole request, and the buffer that it was read into, as long as the stream.
        id: Bytes::copy_from_slice(id),
        first,
        rest,
        hop,
        done: false,
    };
    Box::pin(futures_util::stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        let next = match state.first.take() {
            Some(first) => Some(Ok(Told::Notice(first))),
            None => match timeout(KEEP_ALIVE, state.rest.next()).await {
                Err(_silent) => return Some((Bytes::from_static(b":\n\n"), state)),
                Ok(next) => next,
            },
        };
        state.done = !matches!(next, Some(Ok(Told::Notice(_))));
        let refused = match next {
            Some(Ok(told)) => {
                let body = told.into_bytes();
                let mut event = Vec::with_capacity(body.len() + 32);
                meshgate_mcp::encode_sse(&mut event, None, &body);
                return Some((Bytes::from(event), state));
            }
            Some(Err(refusal)) => refusal,
            None => broken_off(),
        };
        let body = error_body(Some(&state.id), &refused);
        let mut event = Vec::new();
        match state.hop {
            Hop::Gateway => meshgate_mcp::encode_sse(&mut event, None, &body),
            Hop::Sidecar => meshgate_mcp::encode_sse_typed(&mut event, headers::REFUSED_EVENT, &body),
        }
        Some((Bytes::from(event), state))
    }))
}

/// The JSON-RPC error of a refusal; `id` is the caller's raw id, absent when it could not be read.
pub fn error_body(id: Option<&[u8]>, refusal: &Refusal) -> Vec<u8> {
    let (_, code, reason) = refusal.reason.row();
    let by = refusal.by.as_str();
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
    push_quoted(&mut data, meta::VENDOR_REFUSAL);
    data.extend_from_slice(
        format!(":{{\"by\":\"{by}\",\"reason\":\"{reason}\",\"executed\":\"{executed}\"").as_bytes(),
    );
    if let Some(rule) = &refusal.rule {
        data.extend_from_slice(b",\"rule\":");
        push_quoted(&mut data, rule);
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
    if let Some((name, value)) = refusal.header.as_deref() {
        response.headers_mut().insert(name, value.clone());
    }
    if let Some(after) = refusal.retry {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

/// Says of an answer inside the mesh that it is the refusal of the part that sent it.
pub fn own_refusal(mut response: Response<ReplyBody>) -> Response<ReplyBody> {
    let says = HeaderName::from_static(headers::REFUSED);
    response.headers_mut().insert(says, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests;
