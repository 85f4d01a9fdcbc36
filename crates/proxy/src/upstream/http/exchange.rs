//! One request and its answer on one connection, driven by the task that makes the call.
//!
//! A connection has no task of its own. Whoever makes the call reads and writes it, so a call costs no hand-over between
//! threads, dropping the call closes the connection, and the moment before a request is written is a moment at which
//! the connection can be asked whether the server has hung up. It holds no buffer either: bytes are read into room that
//! all connections of a thread share, and only what outlives the moment is copied out of it. Only one thing is ever done by
//! another task: a short request that stands in a row with others may be written by the call that stands first in it.

mod sending;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use self::sending::Sending;
use super::body::Body;
use super::head::{self, Framing, Head};
use super::wire::{Target, Wire};
use crate::refusal::{Reason, Refusal};
use crate::row::Standing;
use crate::upstream::limits::{CONNECTIONS_MAX, INTERIM_ANSWERS_MAX, READ_BYTES, TAIL_BYTES_MAX};

/// Longest body that is copied behind its head.
const COPIED_BYTES_MAX: usize = 4 << 10;

thread_local! {
    /// Where bytes are read to, for all connections of a thread.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// A request as it is written.
pub(super) struct Request {
    head: Vec<u8>,
    body: Bytes,
    /// How much of both has been written.
    written: usize,
    /// The head has been handed over to the connection, and stands in a row.
    stands: bool,
}

impl Request {
    pub(super) fn new(mut head: Vec<u8>, mut body: Bytes) -> Self {
        // One piece is written faster than two, and copying a small one costs less than the difference.
        if body.len() <= COPIED_BYTES_MAX {
            head.extend_from_slice(&body);
            body.clear();
        }
        Self {
            head,
            body,
            written: 0,
            stands: false,
        }
    }
}

/// An open connection to the server.
pub(super) struct Conn {
    wire: Wire,
    /// The request, until all of it is written.
    outgoing: Option<Request>,
    /// Read and not taken: a part of a head, or what came with a head.
    held: BytesMut,
    reusable: bool,
    /// How long the server keeps an idle connection, if it said so.
    pub(super) keep: Option<Duration>,
    slot: Slot,
}

/// What is counted of all connections to a server.
#[derive(Default)]
pub(super) struct Counts {
    open: AtomicUsize,
    /// Requests that wait for the head of their answer.
    asked: AtomicUsize,
}

/// One of the connections the server may have.
struct Slot(Arc<Counts>);

impl Slot {
    fn take(counts: &Arc<Counts>) -> Option<Self> {
        let slot = Self(Arc::clone(counts));
        // The count is raised first, so that a refused slot lowers it again when it is dropped.
        (counts.open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request has no answer.
pub(super) enum SendError {
    /// No byte of it was written: it may be sent again.
    Unsent(Box<Request>),
    /// Some of it may have arrived.
    Sent(ReadError),
}

/// Why an answer cannot be read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// The connection ended too early.
    Lost,
    /// The server broke HTTP; the text says how.
    Broken(&'static str),
}

impl Conn {
    /// A new connection; on the heap, because each call moves it from hand to hand.
    pub(super) async fn open(target: &Target, counts: &Arc<Counts>) -> Result<Box<Self>, Refusal> {
        let slot = Slot::take(counts).ok_or_else(|| {
            Refusal::new(
                Reason::Overloaded,
                "too many calls to this server are in flight; try again later",
            )
            .rule("upstream/connections")
            .retry(Duration::from_secs(1))
        })?;
        Ok(Box::new(Self {
            wire: target.connect().await?,
            outgoing: None,
            held: BytesMut::new(),
            reusable: false,
            keep: None,
            slot,
        }))
    }

    /// Sends a request and waits for the head of its answer. `sent` becomes true when the first byte may be written.
    pub(super) async fn send(&mut self, request: Request, sent: &mut bool) -> Result<Head, SendError> {
        self.outgoing = Some(request);
        let mut sending = Sending::new(self, sent);
        let head = poll_fn(|cx| sending.poll(cx)).await?;
        drop(sending);
        self.reusable = head.reusable;
        self.keep = head.keep;
        Ok(head)
    }

    /// Writes what is left of the request. A server may answer and hang up before it has read all of it, so a failure
    /// behind the first byte is left to whoever reads.
    fn write_on(&mut self, cx: &mut Context<'_>, sent: &mut bool) -> Result<(), SendError> {
        let Some(mut request) = self.outgoing.take() else {
            return Ok(());
        };
        if request.stands {
            match self.wire.standing() {
                Standing::InRow => {
                    self.outgoing = Some(request);
                    return Ok(());
                }
                Standing::Nowhere => {
                    *sent = true;
                    return Ok(());
                }
                Standing::Back(_) => request.come_back(&self.wire, sent),
            }
        }
        match self.poll_write(&mut request, cx, sent) {
            Poll::Ready(Ok(())) => return Ok(()),
            Poll::Ready(Err(_)) if !*sent => return Err(SendError::Unsent(Box::new(request))),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        self.outgoing = Some(request);
        Ok(())
    }

    fn poll_write(&mut self, request: &mut Request, cx: &mut Context<'_>, sent: &mut bool) -> Poll<io::Result<()>> {
        let Request {
            head, body, written, ..
        } = request;
        let mut wire = Pin::new(&mut self.wire);
        // TLS may have sent a part of what it then calls a failure.
        *sent |= wire.is_tls();
        while *written < head.len() + body.len() {
            let begin = head.get(*written..).unwrap_or_default();
            let rest = body.get(written.saturating_sub(head.len())..).unwrap_or_default();
            let pieces = [IoSlice::new(begin), IoSlice::new(rest)];
            let count = if rest.is_empty() {
                ready!(wire.as_mut().poll_write(cx, begin))?
            } else {
                ready!(wire.as_mut().poll_write_vectored(cx, &pieces))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *sent = true;
            *written += count;
        }
        wire.poll_flush(cx)
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, interim: &mut usize) -> Poll<Result<Head, ReadError>> {
        loop {
            let taken = ROOM.with_borrow_mut(|room| {
                let came = match ready!(poll_read(&mut self.wire, cx, room)) {
                    Ok([]) | Err(_) => return Poll::Ready(Err(ReadError::Lost)),
                    Ok(came) => came,
                };
                Poll::Ready(if self.held.is_empty() {
                    self.take_head(came, interim)
                } else {
                    let mut all = std::mem::take(&mut self.held);
                    all.extend_from_slice(came);
                    self.take_head(&all, interim)
                })
            });
            if let Some(head) = ready!(taken)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// Takes the head from all that came for it; what came behind it, or a part of it, is held.
    fn take_head(&mut self, mut bytes: &[u8], interim: &mut usize) -> Result<Option<Head>, ReadError> {
        loop {
            let Some((head, length)) = head::read(bytes).map_err(ReadError::Broken)? else {
                self.held = BytesMut::from(bytes);
                return Ok(None);
            };
            bytes = bytes.get(length..).unwrap_or_default();
            if !head.status.is_informational() {
                self.hold(bytes, head.framing);
                return Ok(Some(head));
            }
            *interim += 1;
            if head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                return Err(ReadError::Broken("it switches the protocol though nobody asked"));
            }
            if *interim > INTERIM_ANSWERS_MAX {
                return Err(ReadError::Broken("it announces answers without end"));
            }
        }
    }

    /// Keeps what came behind a head. Where the whole body fits into one read, this is the memory it is handed on in.
    fn hold(&mut self, came: &[u8], framing: Framing) {
        if came.is_empty() {
            return;
        }
        let announced = match framing {
            Framing::Length(length) => usize::try_from(length).unwrap_or(READ_BYTES).min(READ_BYTES),
            Framing::Chunked | Framing::Close => 0,
        };
        self.held = BytesMut::with_capacity(announced.max(came.len()));
        self.held.extend_from_slice(came);
    }
}

fn poll_read<'a>(wire: &mut Wire, cx: &mut Context<'_>, room: &'a mut [u8]) -> Poll<io::Result<&'a [u8]>> {
    let mut into = ReadBuf::new(room);
    ready!(Pin::new(wire).poll_read(cx, &mut into))?;
    let count = into.filled().len();
    Poll::Ready(Ok(room.get(..count).unwrap_or_default()))
}

/// An answer whose body is still on the wire.
pub(super) struct Exchange {
    conn: Box<Conn>,
    body: Body,
}

impl Exchange {
    pub(super) fn new(conn: Box<Conn>, framing: Framing) -> Self {
        Self {
            conn,
            body: Body::new(framing),
        }
    }

    /// The length of the body, if the server announced it.
    pub(super) fn announced(&self) -> Option<u64> {
        match self.body {
            Body::Done => Some(0),
            Body::Length(length) => Some(length),
            Body::Chunks(_) | Body::Close => None,
        }
    }

    /// Hands the next pieces of the body to `sink`, read from at most `most` bytes; `false` at its end.
    pub(super) fn poll_pieces(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<bool, ReadError>> {
        let Self { conn, body } = self;
        // What cannot be written any more is found out by reading.
        let _ = conn.write_on(cx, &mut true);
        if !conn.held.is_empty() {
            let held = std::mem::take(&mut conn.held);
            let taken = body.follow(&held, sink).map_err(ReadError::Broken)?;
            conn.reusable &= taken == held.len();
            return Poll::Ready(Ok(true));
        }
        if body.is_done() {
            return Poll::Ready(Ok(false));
        }
        ROOM.with_borrow_mut(|room| {
            let end = most.min(room.len());
            match ready!(poll_read(&mut conn.wire, cx, room.get_mut(..end).unwrap_or_default())) {
                Ok([]) if *body == Body::Close => {
                    *body = Body::Done;
                    Poll::Ready(Ok(false))
                }
                Ok([]) | Err(_) => Poll::Ready(Err(ReadError::Lost)),
                Ok(came) => {
                    let taken = body.follow(came, sink).map_err(ReadError::Broken)?;
                    // Whoever says more than the answer does not know where answers end.
                    conn.reusable &= taken == came.len();
                    Poll::Ready(Ok(true))
                }
            }
        })
    }

    /// Reads a body of this length straight into the memory it is handed on in.
    pub(super) async fn read_announced(&mut self, length: usize) -> Result<Bytes, ReadError> {
        let Self { conn, body } = self;
        let mut whole = std::mem::take(&mut conn.held);
        if whole.capacity() < length {
            let came = std::mem::replace(&mut whole, BytesMut::with_capacity(length));
            whole.extend_from_slice(&came);
        }
        if whole.len() > length {
            conn.reusable = false;
            whole.truncate(length);
        }
        while whole.len() < length {
            let left = length - whole.len();
            let count = poll_fn(|cx| {
                let _ = conn.write_on(cx, &mut true);
                let mut into = (&mut whole).limit(left);
                pin!(conn.wire.read_buf(&mut into)).poll(cx)
            });
            if !matches!(count.await, Ok(1..)) {
                return Err(ReadError::Lost);
            }
        }
        *body = Body::Done;
        Ok(whole.freeze())
    }

    /// What remains when the caller has read all it wants.
    pub(super) fn into_rest(self) -> Rest {
        Rest {
            exchange: self,
            tail_bytes: 0,
        }
    }
}

/// A connection after its answer: idle, or about to be.
pub(super) struct Rest {
    exchange: Exchange,
    tail_bytes: usize,
}

/// Whether a connection can carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    /// Now.
    Ready,
    /// Perhaps soon: the end of the last answer has not come yet.
    Later,
    /// Never again.
    Gone,
}

impl Rest {
    /// Looks at the connection without waiting.
    pub(super) fn look(&mut self) -> Fitness {
        let Self { exchange, tail_bytes } = self;
        let cx = &mut Context::from_waker(Waker::noop());
        while !exchange.body.is_done() {
            match exchange.poll_pieces(cx, READ_BYTES, &mut |piece| *tail_bytes += piece.len()) {
                Poll::Pending => return Fitness::Later,
                Poll::Ready(Ok(_)) if *tail_bytes <= TAIL_BYTES_MAX => {}
                Poll::Ready(_) => return Fitness::Gone,
            }
        }
        if self.may_be_used_again() && self.exchange.conn.wire.is_quiet() {
            Fitness::Ready
        } else {
            Fitness::Gone
        }
    }

    /// Whether the last exchange has left the connection clean, as far as is known without looking at it.
    pub(super) fn may_be_used_again(&self) -> bool {
        let conn = &self.exchange.conn;
        conn.reusable && conn.outgoing.is_none() && (conn.held.is_empty() || !self.exchange.body.is_done())
    }

    /// How long the server keeps an idle connection, if it said so.
    pub(super) fn keep(&self) -> Option<Duration> {
        self.exchange.conn.keep
    }

    pub(super) fn into_conn(self) -> Box<Conn> {
        self.exchange.conn
    }
}

#[cfg(test)]
mod tests;
