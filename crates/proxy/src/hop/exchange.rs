//! One request and its answer on one stream of a connection.
//!
//! A call must never run twice, so the one question here is whether the other end may have taken it. It has not when the
//! stream was never opened, when nothing has been written since, when the other end refused the stream, or when it said
//! goodbye before our stream (RFC 9113 §8.7): only then may the call go elsewhere. Everything else is `executed: unknown`.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason as Code, RecvStream};
use http::Request;
use http::response::Parts;
use tokio::time::{Instant, timeout_at};

use super::end::Ticket;
use crate::refusal::{Executed, Reason, Refusal};

/// How long a stream may take to end after its last message.
const TAIL_MAX: Duration = Duration::from_secs(2);

/// The rule of a call whose connection or stream was lost in the middle.
pub(super) const LOST: &str = "hop/lost";

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nobody has taken it: it may go elsewhere.
    Untaken(Refusal),
    /// The other end may have it.
    Taken(Refusal),
    /// There is no such request.
    Unmade(Refusal),
}

/// The body of an answer, as it comes.
pub struct Inbound {
    stream: RecvStream,
    /// Held until the answer is over.
    ticket: Ticket,
}

/// Sends a request and waits for the head of its answer. Dropping the future, or the body, cancels the stream. The request
/// is made when it can leave, so that nothing of it is kept while somebody waits.
pub(super) async fn exchange(
    ticket: Ticket,
    request: impl FnOnce(&Ticket) -> Result<Request<()>, Refusal>,
    body: &Bytes,
    until: Instant,
) -> Result<(Parts, Inbound), Failed> {
    let (written, response) = {
        let mut send = ticket.conn.send.clone();
        let over = |error| untaken(&ticket, &error, true);
        poll_fn(|cx| send.poll_ready(cx)).await.map_err(over)?;
        let request = request(&ticket).map_err(Failed::Unmade)?;
        let written = ticket.conn.written.count();
        (written, begun(&mut send, request, body).map_err(over)?)
    };
    let response = match timeout_at(until, response).await {
        Ok(Ok(response)) => response,
        // Nothing has left since: it was lost before.
        Ok(Err(error)) if ticket.conn.written.count() == written => return Err(untaken(&ticket, &error, true)),
        Ok(Err(error)) => return Err(failed(&ticket, &error)),
        Err(_) => {
            let text = "server did not answer before the deadline";
            return Err(Failed::Taken(Refusal::server(
                Reason::Deadline,
                Executed::Unknown,
                text,
            )));
        }
    };
    let (parts, stream) = response.into_parts();
    Ok((parts, Inbound { stream, ticket }))
}

fn begun(send: &mut SendRequest<Bytes>, request: Request<()>, body: &Bytes) -> Result<ResponseFuture, h2::Error> {
    let (response, mut outgoing) = send.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        // Kept by reference until it is sent. When the stream is over already, the answer says why.
        let _over = outgoing.send_data(body.clone(), true);
    }
    Ok(response)
}

/// Nobody has taken the call. A connection that takes none any more gets none any more; what is under way on it goes on.
fn untaken(ticket: &Ticket, error: &h2::Error, over: bool) -> Failed {
    tracing::debug!(%error, "a call was not taken");
    if over {
        ticket.end.spent(&ticket.conn);
    }
    let text = "server is away: the connection to it ended before the call was sent";
    Failed::Untaken(Refusal::server(Reason::ServerAway, Executed::No, text).rule("hop/untaken"))
}

fn failed(ticket: &Ticket, error: &h2::Error) -> Failed {
    let refused = error.is_reset() && error.reason() == Some(Code::REFUSED_STREAM);
    if error.is_remote() && (refused || error.is_go_away()) {
        return untaken(ticket, error, error.is_go_away());
    }
    Failed::Taken(lost(error))
}

/// The other end went away in the middle of a call.
fn lost(error: &h2::Error) -> Refusal {
    tracing::debug!(%error, "a call was broken off");
    let text = if error.is_reset() {
        "the part of the mesh in front of the server broke the call off"
    } else {
        "the connection to the part of the mesh in front of the server was lost in the middle of the call"
    };
    Refusal::server(Reason::ServerBroken, Executed::Unknown, text).rule(LOST)
}

impl Inbound {
    /// The next piece; none at the end. What is handed out makes room for more on the wire.
    pub fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(piece)) => {
                let _over = self.stream.flow_control().release_capacity(piece.len());
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(lost(&error)))),
            None => Poll::Ready(None),
        }
    }

    /// Nothing more is wanted, because what was said is complete. Whoever said it is about to end, and to break it off now
    /// would tell it that nobody wanted it: so the rest is waited for, for a moment, by somebody else.
    pub fn finish(mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(None | Some(Err(_))) = self.poll_piece(cx) {
            return;
        }
        let tasks = self.ticket.end.tasks();
        if let Some(tasks) = tasks {
            tasks.spawn(async move {
                let rest = async { while let Some(Ok(_)) = poll_fn(|cx| self.poll_piece(cx)).await {} };
                let _late = tokio::time::timeout(TAIL_MAX, rest).await;
            });
        }
    }

    /// The whole of it. One piece, as most answers are, is not copied.
    ///
    /// # Errors
    /// When it is longer than `bytes_max`, or breaks off.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Bytes, Refusal> {
        let mut held: Option<Bytes> = None;
        let mut more = BytesMut::new();
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx)).await {
            let piece = piece?;
            let length = held.as_ref().map_or(more.len(), Bytes::len) + piece.len();
            if length > bytes_max {
                return Err(too_large(bytes_max));
            }
            match held.take() {
                None if more.is_empty() => held = Some(piece),
                first => {
                    if let Some(first) = first {
                        more.extend_from_slice(&first);
                    }
                    more.extend_from_slice(&piece);
                }
            }
        }
        Ok(held.unwrap_or_else(|| more.freeze()))
    }
}

fn too_large(bytes_max: usize) -> Refusal {
    let text = format!("server answered with more than {bytes_max} bytes");
    Refusal::server(Reason::ServerBroken, Executed::Unknown, text).rule("limit/response")
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("ended", &self.stream.is_end_stream())
            .finish_non_exhaustive()
    }
}
