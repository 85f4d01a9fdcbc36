//! One stream of a connection: a client that stops reading one answer loses that answer, not its neighbours'.
//!
//! The watch over a connection sees whether anything moves on it; a client that lets ninety-nine streams move and holds
//! the window of the hundredth shut would keep that answer in our memory for as long as the connection lives. hyper gives
//! no way to see this from outside: what it has taken from a body waits in a buffer of its own. So a large answer is
//! handed over in pieces, each only when the client has made room for it; and the task that runs a stream ends it when
//! a piece waits for too long. Ended, the stream is reset, and what it held is freed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, InFlight};
use super::refused::Refused;
use super::wire::{Timer, Version};
use crate::limits::Limits;

tokio::task_local! {
    /// What waits on the stream that this task runs.
    static HELD: Arc<Held>;
}

/// What one stream of HTTP/2 has to send and is not asked for.
#[derive(Debug, Default)]
struct Held {
    waits: AtomicBool,
    /// Pieces handed over so far.
    pieces: AtomicU64,
}

/// Runs the streams of one HTTP/2 connection: each task is waited for by the listener, and ends with its connection.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) tasks: TaskTracker,
    pub(super) gone: CancellationToken,
    pub(super) stall_time: Duration,
    pub(super) refused: Arc<Refused>,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let Self {
            gone,
            stall_time,
            refused,
            ..
        } = self.clone();
        let held = Arc::<Held>::default();
        // On the heap before anything else: a task is moved several times before and after it runs, and a future keeps room
        // for each place that what it waits for is moved to.
        let watched = unless_stalled(Box::pin(stream), Arc::clone(&held), stall_time, refused);
        self.tasks.spawn(HELD.scope(held, async move {
            gone.run_until_cancelled(watched).await;
        }));
    }
}

/// Runs a stream until its end, or until a piece of its answer has waited for the client for `stall_time`.
fn unless_stalled<F>(
    stream: Pin<Box<F>>,
    held: Arc<Held>,
    stall_time: Duration,
    refused: Arc<Refused>,
) -> UnlessStalled<F> {
    UnlessStalled {
        stream,
        held,
        stall_time,
        refused,
        stalled: Timer::default(),
        seen: 0,
    }
}

struct UnlessStalled<F> {
    stream: Pin<Box<F>>,
    held: Arc<Held>,
    stall_time: Duration,
    refused: Arc<Refused>,
    stalled: Timer,
    /// The pieces that had been handed over when the stream was last looked at.
    seen: u64,
}

impl<F> Future for UnlessStalled<F>
where
    F: Future<Output = ()>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !this.held.waits.load(Ordering::Relaxed) {
            this.stalled.stop();
            return Poll::Pending;
        }
        let pieces = this.held.pieces.load(Ordering::Relaxed);
        let until = match this.stalled.until() {
            Some(until) if pieces == this.seen => until,
            _ => Instant::now() + this.stall_time,
        };
        this.seen = pieces;
        std::task::ready!(this.stalled.poll(until, cx));
        tracing::debug!("a stream is ended: its client does not read it");
        Refused::one(&this.refused.slow);
        Poll::Ready(())
    }
}

/// A response body that keeps its request in flight until it has ended, and is handed over in pieces.
pub(super) struct Tracked<B> {
    body: B,
    /// What is left of a part of the body that is larger than a piece.
    rest: Bytes,
    piece_bytes: usize,
    in_flight: InFlight,
    held: Option<Arc<Held>>,
}

impl<B> Tracked<B> {
    /// To be made in the task that sends the body.
    pub(super) fn new(body: B, connection: &Connection, in_flight: InFlight, limits: &Limits) -> Self {
        let (piece_bytes, held) = match connection.version() {
            Version::Http1 => (limits.stream_buffer_bytes, None),
            Version::Http2 => (limits.h2_piece_bytes, HELD.try_with(Arc::clone).ok()),
        };
        let mut tracked = Self {
            body,
            rest: Bytes::new(),
            piece_bytes,
            in_flight,
            held,
        };
        tracked.offer(true);
        tracked
    }

    fn offer(&mut self, offered: bool) {
        self.in_flight.offer(offered);
        if let Some(held) = &self.held {
            held.waits.store(offered, Ordering::Relaxed);
            held.pieces.fetch_add(u64::from(offered), Ordering::Relaxed);
        }
    }

    /// As much of `bytes` as goes at once; the rest waits.
    fn piece(&mut self, mut bytes: Bytes) -> Bytes {
        if bytes.len() > self.piece_bytes {
            self.rest = bytes.split_off(self.piece_bytes);
        }
        bytes
    }
}

impl<B> Body for Tracked<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            let piece = this.piece(rest);
            this.offer(true);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.offer(matches!(frame, Poll::Ready(Some(Ok(_)))));
        frame.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(|bytes| this.piece(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() {
            self.body.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests;
