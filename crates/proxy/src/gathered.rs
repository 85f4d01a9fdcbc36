//! Many calls, one write: what the calls of one HTTP/2 connection say within a turn of its task leaves together.
//!
//! A call that has something to say wakes the task of its connection, and left to themselves the two run in turn: each
//! message becomes a TLS record, a system call and a wake-up of whoever reads it of its own, which together cost more than
//! everything else that is done for a small call. So the task of a connection on which more than one call is under way first
//! lets those run that are ready to, and what HTTP/2 then writes is held until its turn is over. Nobody waits for a timer:
//! when no other call is under way nothing is put off, and when the turn is over everything goes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one turn may hold, in bytes. Enough for a few answers of usual length; HTTP/2 waits when it is full.
const HELD_BYTES_MAX: usize = 64 << 10;
/// Room that is kept from turn to turn.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// The writing end of a connection as HTTP/2 sees it. Nothing leaves before [`Turns`] lets it, unless the socket takes no
/// more: then it is like any other socket that takes no more, and whoever looks for readers that have stopped sees one.
pub(crate) struct Gathered<T>(Arc<Mutex<Held<T>>>);

/// Lets the connection run that writes to a [`Gathered`].
pub(crate) struct Turns<C, T> {
    /// The connection.
    pub(crate) connection: C,
    held: Arc<Mutex<Held<T>>>,
    /// Calls that are under way.
    calls: Arc<AtomicUsize>,
    let_others: bool,
}

struct Held<T> {
    io: T,
    bytes: Vec<u8>,
    /// How many of the bytes have left.
    left: usize,
    /// The socket has not taken everything.
    blocked: bool,
    /// What a write came to that nobody has heard of.
    broken: Option<io::Error>,
}

/// The writing end of a connection over `io`, and what [`Turns`] needs of it.
pub(crate) fn gathered<T>(io: T) -> (Gathered<T>, Outlet<T>) {
    let held = Arc::new(Mutex::new(Held {
        io,
        bytes: Vec::new(),
        left: 0,
        blocked: false,
        broken: None,
    }));
    (Gathered(Arc::clone(&held)), Outlet(held))
}

/// Lets out what is held.
pub(crate) struct Outlet<T>(Arc<Mutex<Held<T>>>);

impl<T> Outlet<T> {
    /// Lets `connection` run in turns; `calls` counts those that are under way on it.
    pub(crate) fn turns<C>(self, connection: C, calls: Arc<AtomicUsize>) -> Turns<C, T> {
        Turns {
            connection,
            held: self.0,
            calls,
            let_others: true,
        }
    }
}

impl<T: AsyncWrite + Unpin> Held<T> {
    /// Writes all that is held.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let out = self.poll_write_out(cx);
        self.blocked = out.is_pending();
        out
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.left..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.left += n,
            }
        }
        self.left = 0;
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

impl<T> Held<T> {
    fn heard(&mut self) -> io::Result<()> {
        self.broken.take().map_or(Ok(()), Err)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gathered<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        held.heard()?;
        Pin::new(&mut held.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gathered<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut held = self.0.lock();
        held.heard()?;
        if held.blocked || held.bytes.len() >= HELD_BYTES_MAX {
            ready!(held.poll_out(cx))?;
        }
        let room = HELD_BYTES_MAX.saturating_sub(held.bytes.len()).min(buf.len());
        held.bytes.extend_from_slice(buf.get(..room).unwrap_or_default());
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        held.heard()?;
        if held.blocked {
            return held.poll_out(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.0.lock();
        held.heard()?;
        ready!(held.poll_out(cx))?;
        Pin::new(&mut held.io).poll_shutdown(cx)
    }
}

impl<C, T> Future for Turns<C, T>
where
    C: Future + Unpin,
    T: AsyncWrite + Unpin,
{
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        // A task that wakes itself runs after all those that are ready.
        if std::mem::replace(&mut this.let_others, false) && this.calls.load(Ordering::Relaxed) > 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.let_others = true;
        loop {
            let ended = Pin::new(&mut this.connection).poll(cx);
            let mut held = this.held.lock();
            let blocked = held.blocked;
            let out = held.poll_out(cx);
            // Whoever writes must hear of it: of an error, and of a socket that takes no more.
            let news = match out {
                Poll::Ready(Ok(())) => false,
                Poll::Ready(Err(error)) => {
                    held.bytes.clear();
                    held.left = 0;
                    held.broken = Some(error);
                    true
                }
                Poll::Pending => !blocked,
            };
            if ended.is_ready() || !news {
                return ended;
            }
        }
    }
}

#[cfg(test)]
mod tests;
