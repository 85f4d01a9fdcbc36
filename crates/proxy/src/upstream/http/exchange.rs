//! One request and its answer on one connection, driven by the task that makes the call.
//!
//! A connection has no task of its own. Whoever makes the call polls it, so a call costs no hand-over between threads,
//! dropping the call closes the connection, and the moment before a request is written is a moment at which the
//! connection can be asked whether the server has hung up.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::wire::{Target, Wire};
use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::limits::{CONNECTIONS_MAX, TAIL_BYTES_MAX};

type Driver = Pin<Box<http1::Connection<TokioIo<Wire>, Full<Bytes>>>>;

/// An open connection to the server.
pub(super) struct Conn {
    sender: http1::SendRequest<Full<Bytes>>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    /// How long the server keeps an idle connection, if it said so.
    pub(super) keep: Option<Duration>,
    _slot: Slot,
}

/// One of the connections the server may have.
struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self(Arc::clone(open));
        // The count is raised first, so that a refused slot lowers it again when it is dropped.
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why a request has no answer.
pub(super) enum SendError {
    /// No byte of it was written: it may be sent again.
    Unsent(Box<Request<Full<Bytes>>>),
    /// Some of it may have arrived.
    Lost,
}

impl Conn {
    pub(super) async fn open(target: &Target, open: &Arc<AtomicUsize>) -> Result<Self, Refusal> {
        let slot = Slot::take(open).ok_or_else(|| {
            Refusal::new(
                Reason::Overloaded,
                "too many calls to this server are in flight; try again later",
            )
            .rule("upstream/connections")
            .retry(Duration::from_secs(1))
        })?;
        let wire = target.connect().await?;
        let shaken = http1::Builder::new().handshake(TokioIo::new(wire)).await;
        let (sender, connection) = shaken.map_err(|_| {
            Refusal::server(
                Reason::ServerAway,
                Executed::No,
                "server is away: the connection failed",
            )
        })?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection)),
            keep: None,
            _slot: slot,
        })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError> {
        let Self { sender, driver, .. } = self;
        let mut response = pin!(sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            drive(driver, cx);
            response.as_mut().poll(cx)
        });
        answer.await.map_err(|mut error| {
            error
                .take_message()
                .map_or(SendError::Lost, |whole| SendError::Unsent(Box::new(whole)))
        })
    }

    /// Looks whether the connection is open and idle, without waiting.
    pub(super) fn look(&mut self) -> bool {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_none() || self.sender.is_closed()
    }
}

/// Lets the connection read and write. A connection that has ended is dropped, which answers whatever waits on it.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if let Some(connection) = driver
        && connection.as_mut().poll(cx).is_ready()
    {
        *driver = None;
    }
}

/// An answer whose body is still on the wire.
pub(super) struct Exchange {
    conn: Conn,
    body: Incoming,
}

impl Exchange {
    pub(super) fn new(conn: Conn, body: Incoming) -> Self {
        Self { conn, body }
    }

    /// The length of the body, if the server announced it.
    pub(super) fn announced(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Whether the body has been read to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.body.is_end_stream()
    }

    /// The next piece of the body; `None` at its end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        if let Poll::Ready(data) = self.poll_received(cx) {
            return Poll::Ready(data);
        }
        drive(&mut self.conn.driver, cx);
        self.poll_received(cx)
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(()))),
                Some(Ok(frame)) => {
                    // Trailers say nothing that MCP knows.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    /// What remains when the caller has read all it wants.
    pub(super) fn into_rest(self) -> Rest {
        let tail = if self.body.is_end_stream() {
            None
        } else {
            Some(self.body)
        };
        Rest {
            conn: self.conn,
            tail,
            tail_bytes: 0,
        }
    }
}

/// A connection after its answer: idle, or about to be.
pub(super) struct Rest {
    pub(super) conn: Conn,
    tail: Option<Incoming>,
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
        let cx = &mut Context::from_waker(Waker::noop());
        drive(&mut self.conn.driver, cx);
        while let Some(tail) = &mut self.tail {
            match Pin::new(tail).poll_frame(cx) {
                Poll::Pending if self.conn.is_closed() => return Fitness::Gone,
                Poll::Pending => return Fitness::Later,
                Poll::Ready(None) => self.tail = None,
                Poll::Ready(Some(Err(_))) => return Fitness::Gone,
                Poll::Ready(Some(Ok(frame))) => {
                    self.tail_bytes += frame.data_ref().map_or(0, Bytes::len);
                    if self.tail_bytes > TAIL_BYTES_MAX {
                        return Fitness::Gone;
                    }
                    drive(&mut self.conn.driver, cx);
                }
            }
        }
        if self.conn.look() {
            Fitness::Ready
        } else if self.conn.is_closed() {
            Fitness::Gone
        } else {
            Fitness::Later
        }
    }
}
