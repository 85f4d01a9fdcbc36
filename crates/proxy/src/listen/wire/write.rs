//! The guard's other half: writing, and closing.
//!
//! Nothing of what we write is checked; but a client that does not read must not hold an answer for ever, and a
//! connection that closes must not take its last answer with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::http1::Place;
use super::{Breach, End, Guard, Machine, Shutdown};

impl<T: AsyncWrite + Unpin> Guard<T> {
    /// What a write came to; fails when the client has not read for too long, or trickles for too long.
    fn wrote<R>(&mut self, cx: &mut Context<'_>, wrote: Poll<io::Result<R>>, bytes: usize) -> Poll<io::Result<R>> {
        if wrote.is_ready() {
            self.stalled.stop();
            self.reading.came_if_waited(bytes);
            return wrote;
        }
        let until = match self.stalled.until() {
            Some(until) => until,
            None => self.reading.stalled_at(&self.times.answer, Instant::now()),
        };
        ready!(self.stalled.poll(until, cx));
        let breach = Breach::Slow("an answer is not read");
        self.count(breach);
        Poll::Ready(Err(breach.into()))
    }
}

impl<T> Guard<T> {
    /// Follows the first `n` bytes of what is written.
    fn follow_sent(&mut self, bufs: &[IoSlice<'_>], mut n: usize) {
        let Machine::Http2(machine) = &mut self.machine else {
            return;
        };
        for buf in bufs {
            let sent = buf.get(..n.min(buf.len())).unwrap_or_default();
            n -= sent.len();
            let parts = machine.follow_sent(sent);
            if parts > 0 {
                self.sent.fetch_add(parts, Ordering::Relaxed);
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, buf);
        let sent = if let Poll::Ready(Ok(n)) = wrote { n } else { 0 };
        self.follow_sent(&[IoSlice::new(buf)], sent);
        self.wrote(cx, wrote, sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        let sent = if let Poll::Ready(Ok(n)) = wrote { n } else { 0 };
        self.follow_sent(bufs, sent);
        self.wrote(cx, wrote, sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(cx, flushed, 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match this.shutdown {
                Shutdown::Open => {
                    this.waiting.stop();
                    this.shutdown = Shutdown::Closing;
                }
                Shutdown::Closing => {
                    let closed = Pin::new(&mut this.io).poll_shutdown(cx);
                    ready!(this.wrote(cx, closed, 0))?;
                    this.shutdown = Shutdown::Lingering(this.times.linger_bytes);
                }
                Shutdown::Lingering(left) => match this.poll_discard(cx, left) {
                    Poll::Ready(0) => this.shutdown = Shutdown::Done,
                    Poll::Ready(n) => this.shutdown = Shutdown::Lingering(left.saturating_sub(n)),
                    Poll::Pending => return Poll::Pending,
                },
                Shutdown::Done => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// A socket that closes with unread bytes resets its connection, and the client may lose the answer that says why.
    /// So a connection that does not end between two messages reads on for a little while.
    fn poll_discard(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<usize> {
        let mut scratch = [0; 2048];
        let mut buf = ReadBuf::new(&mut scratch);
        if left == 0 {
            return Poll::Ready(0);
        }
        match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => {
                self.end.get_or_insert(End::Eof);
                Poll::Ready(buf.filled().len())
            }
            Poll::Ready(Err(_)) => Poll::Ready(0),
            Poll::Pending => {
                let between = self.end.is_none() && self.held.is_empty() && self.machine.place() == Place::Head;
                if between {
                    return Poll::Ready(0);
                }
                let until = self
                    .waiting
                    .until()
                    .unwrap_or_else(|| Instant::now() + self.times.linger);
                ready!(self.waiting.poll(until, cx));
                Poll::Ready(0)
            }
        }
    }
}
