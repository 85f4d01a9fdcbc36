//! One message to a legacy server and what comes back, whichever way it goes.
//!
//! Everything that HTTP adds to a session lives here: its headers, what a status means for a call, and streams that the
//! server lets go and wants asked for again. What the messages say is for others.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use meshgate_mcp::{Message, Rules, scan};

use super::Link;
use super::limits::{RESUME_PAUSE, RESUME_PAUSE_MAX, RESUME_PAUSE_MIN, RESUMES_FRUITLESS_MAX};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::http::{Events, HttpAnswer, HttpLink, Pace};
use crate::upstream::stdio::{PipeCall, Received};

pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The server does not know the session: the request did not run.
    SessionLost,
    /// The server answered with a status and no message: nothing more will come, so there is nothing to cancel.
    Status(Refusal),
    /// Anything else.
    Refused(Refusal),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What comes back: frames, each one message or (2025-03-26) an array of them.
pub(super) enum Source {
    /// One frame.
    Whole(Option<Bytes>),
    /// An event stream.
    Events(Box<Resumable>),
    /// A call on a pipe.
    Pipe(PipeCall),
    /// A request whose answer has not begun.
    Opening(Opening),
}

type Opening = Pin<Box<dyn Future<Output = Result<(Source, HeaderMap), Fault>> + Send>>;

/// Sends a request. `named` says whether the session has an id that the server can have lost.
pub(super) async fn request(
    link: &Link,
    headers: HeaderMap,
    named: bool,
    (id, body): (u64, Bytes),
    deadline: Instant,
) -> Result<(Source, HeaderMap), Fault> {
    let http = match link {
        Link::Stdio(link) => return Ok((Source::Pipe(link.call(id, body).await?), HeaderMap::new())),
        Link::Http(link) => link,
    };
    match http.post(headers.clone(), body, deadline).await? {
        HttpAnswer::Stream {
            status,
            headers: answered,
            events,
        } if status.is_success() => Ok((
            Source::Events(Box::new(Resumable::new(http, headers, events, deadline))),
            answered,
        )),
        HttpAnswer::One {
            status,
            headers: answered,
            body,
            ..
        } => match judge(status, &answered, (id, &body), named) {
            None => Ok((Source::Whole(Some(body)), answered)),
            Some(fault) => Err(fault),
        },
        HttpAnswer::Empty { status, headers } | HttpAnswer::Stream { status, headers, .. } => {
            Err(judge(status, &headers, (id, b""), named).unwrap_or_else(|| Fault::Status(unanswered())))
        }
    }
}

/// Sends a request on a session that no other call uses meanwhile: questions and other messages without a sign of their
/// call come with it, also before the server has begun to answer. The server is not told when the answer is not read to
/// its end; that is for the holder of the session.
pub(super) async fn request_alone(
    link: &Link,
    headers: HeaderMap,
    named: bool,
    (id, body): (u64, Bytes),
    deadline: Instant,
) -> Result<Source, Refusal> {
    if let Link::Stdio(pipe) = link {
        return Ok(Source::Pipe(pipe.call_alone(id, body).await?.silent()));
    }
    let link = link.clone();
    Ok(Source::Opening(Box::pin(async move {
        request(&link, headers, named, (id, body), deadline).await
    })))
}

/// Sends a notification or an answer; what the server says to it does not matter.
pub(super) async fn notify(link: &Link, headers: HeaderMap, body: Bytes, deadline: Instant) -> Result<(), Refusal> {
    match link {
        Link::Stdio(link) => link.send(body).await,
        Link::Http(link) => link.post(headers, body, deadline).await.map(drop),
    }
}

impl Source {
    /// The next frame; nothing after the last.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        if let Self::Opening(opening) = self {
            match opening.await {
                Ok((source, _)) => *self = source,
                Err(fault) => {
                    *self = Self::Whole(None);
                    return Some(Err(fault));
                }
            }
        }
        let next = match self {
            Self::Whole(frame) => frame.take().map(Ok),
            Self::Events(events) => events.next().await,
            Self::Pipe(call) => call.next().await.map(|received| {
                received.map(|received| match received {
                    Received::Notice(message) | Received::Response(message) => message,
                })
            }),
            Self::Opening(_) => None,
        };
        next.map(|frame| frame.map_err(Fault::from))
    }

    /// Says that the response has been read, so that the connection can serve somebody else.
    pub(super) fn finish(self) {
        if let Self::Events(events) = self {
            events.finish();
        }
    }
}

/// An event stream that is asked for again where the server dropped it.
pub(super) struct Resumable {
    link: Arc<HttpLink>,
    headers: HeaderMap,
    events: Option<Events>,
    /// Of the stream that ended: a server does not get a new allowance by letting go.
    pace: Option<Box<Pace>>,
    last_id: Option<HeaderValue>,
    pause: Duration,
    /// The request for the rest of the stream. It is kept here because whoever waits for the next frame may look away.
    resuming: Option<Resuming>,
    /// Resumptions in a row that failed or brought nothing at all. An event without a message counts: it says "not yet".
    fruitless: u32,
    deadline: Instant,
}

type Resuming = Pin<Box<dyn Future<Output = Result<HttpAnswer, Refusal>> + Send>>;

impl Resumable {
    fn new(link: &Arc<HttpLink>, headers: HeaderMap, events: Events, deadline: Instant) -> Self {
        Self {
            link: Arc::clone(link),
            headers,
            events: Some(events),
            pace: None,
            last_id: None,
            pause: RESUME_PAUSE,
            resuming: None,
            fruitless: 0,
            deadline,
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, Refusal>> {
        loop {
            let why = match &mut self.events {
                None => match self.resume().await {
                    Ok(()) => continue,
                    Err(refusal) => return Some(Err(refusal)),
                },
                Some(events) => match events.next().await {
                    Some(Ok(event)) => {
                        self.note(event.id, event.retry);
                        let ours = event.event.is_none_or(|kind| kind == "message");
                        if !ours || event.data.is_empty() {
                            continue;
                        }
                        return Some(Ok(event.data.into()));
                    }
                    Some(Err(refusal)) => refusal,
                    None => cut_off(),
                },
            };
            self.pace = self.events.take().map(Events::into_pace);
            if self.last_id.is_none() {
                return Some(Err(why));
            }
        }
    }

    fn note(&mut self, id: Option<String>, retry_ms: Option<u64>) {
        self.fruitless = 0;
        if let Some(id) = id.and_then(|id| HeaderValue::from_str(&id).ok()) {
            self.last_id = Some(id);
        }
        if let Some(retry_ms) = retry_ms {
            self.pause = Duration::from_millis(retry_ms).clamp(RESUME_PAUSE_MIN, RESUME_PAUSE_MAX);
        }
    }

    /// Waits as long as the server wished and asks for what came after the last event. Nothing is sent twice by this:
    /// a stream is read on, not a request repeated.
    async fn resume(&mut self) -> Result<(), Refusal> {
        if self.resuming.is_none() {
            if self.fruitless >= RESUMES_FRUITLESS_MAX {
                return Err(cut_off());
            }
            let mut headers = self.headers.clone();
            if let Some(last_id) = &self.last_id {
                headers.insert(LAST_EVENT_ID, last_id.clone());
            }
            let (link, pause, deadline) = (Arc::clone(&self.link), self.pause, self.deadline);
            self.resuming = Some(Box::pin(async move {
                tokio::time::sleep(pause).await;
                link.get(headers, deadline).await
            }));
            self.fruitless += 1;
        }
        let Some(resuming) = &mut self.resuming else {
            return Ok(());
        };
        let answer = resuming.await;
        self.resuming = None;
        match answer {
            Ok(HttpAnswer::Stream { status, events, .. }) if status.is_success() => {
                self.events = Some(match self.pace.take() {
                    Some(pace) => events.at_pace(pace),
                    None => events,
                });
            }
            Ok(answer) if answer.head().0.is_client_error() => return Err(cut_off()),
            Ok(_) | Err(_) => self.pause = self.pause.max(RESUME_PAUSE),
        }
        Ok(())
    }

    fn finish(self) {
        if let Some(events) = self.events {
            events.finish();
        }
    }
}

/// What a status means when there is a body that may be an answer. Nothing: the body is the answer.
fn judge(status: StatusCode, headers: &HeaderMap, (id, body): (u64, &[u8]), named: bool) -> Option<Fault> {
    if status.is_success() {
        return body.is_empty().then(|| Fault::Status(unanswered()));
    }
    // What a server says about the gateway's own credentials is not for its callers.
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Some(Fault::Status(refused_by_status(status, headers)));
    }
    // Errors of the protocol ride on any status; what the server says to this very request is more than a number.
    let answer = scan(body, &Rules::SERVER).ok().filter(|answer| answer.is_response());
    let answered = answer
        .as_ref()
        .and_then(|message| message.id)
        .is_some_and(|ours| ours.u64(body) == Some(id));
    if answered {
        return None;
    }
    if named && (status == StatusCode::NOT_FOUND || says_session_unknown(status, body, answer.as_deref())) {
        return Some(Fault::SessionLost);
    }
    match answer {
        Some(_) => None,
        None => Some(Fault::Status(refused_by_status(status, headers))),
    }
}

/// Common servers answer a session they have forgotten with 400 and an error that belongs to no request.
fn says_session_unknown(status: StatusCode, body: &[u8], answer: Option<&Message>) -> bool {
    let words = answer.and_then(|message| message.body_value(body, "message")?.str(body));
    status == StatusCode::BAD_REQUEST && words.is_some_and(|words| words.to_ascii_lowercase().contains("session"))
}

fn refused_by_status(status: StatusCode, headers: &HeaderMap) -> Refusal {
    let (reason, executed) = match status.as_u16() {
        401 | 403 => (Reason::ServerBroken, Executed::No),
        404 | 405 | 406 | 413 | 415 => (Reason::ServerBroken, Executed::No),
        429 => (Reason::ServerAway, Executed::No),
        503 => (Reason::ServerAway, Executed::Unknown),
        _ => (Reason::ServerBroken, Executed::Unknown),
    };
    let message = match status.as_u16() {
        401 | 403 => format!("server refused the gateway's own credentials with HTTP status {status}"),
        _ => format!("server answered with HTTP status {status} instead of a message"),
    };
    let refusal = Refusal::server(reason, executed, message);
    let after = headers
        .get(header::RETRY_AFTER)
        .and_then(|after| after.to_str().ok()?.trim().parse().ok());
    match after {
        Some(seconds) if reason == Reason::ServerAway => refusal.retry(Duration::from_secs(seconds)),
        _ => refusal,
    }
}

fn unanswered() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "server accepted the request and did not answer it",
    )
}

/// The stream ended before the response.
pub(super) fn cut_off() -> Refusal {
    Refusal::server(
        Reason::ServerBroken,
        Executed::Unknown,
        "server closed the stream before its answer was complete",
    )
}
