//! The writing end of a client's HTTP/1.1 connection: short answers stand in a row while other calls are under way.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::row::{Lead, Outlet, Standing};

/// Who is being answered.
pub(super) struct Calls {
    /// Calls that are under way at all connections of a listener.
    pub(super) all: Arc<AtomicUsize>,
    /// Those of this connection.
    pub(super) own: Arc<AtomicUsize>,
}

/// A connection as HTTP/1.1 sees it.
pub(super) struct Together<T> {
    outlet: Arc<Outlet<T>>,
    calls: Calls,
    leads: Leads,
}

/// Lets the connection run that writes to a [`Together`].
pub(super) struct Led<C> {
    pub(super) connection: C,
    leads: Leads,
}

/// The row that this connection lets go when its turn comes again. Dropped with the connection, the row goes at once.
type Leads = Arc<Mutex<Option<Lead>>>;

impl Calls {
    fn has_others(&self) -> bool {
        self.all.load(Ordering::Relaxed) > self.own.load(Ordering::Relaxed)
    }
}

impl<T: AsyncWrite + Unpin + Send + 'static> Together<T> {
    /// The connection that `connection` makes of what writes to `io`.
    pub(super) fn run<C>(io: T, calls: Calls, connection: impl FnOnce(Self) -> C) -> Led<C> {
        let leads = Leads::default();
        let own = Self {
            outlet: Outlet::new(io),
            calls,
            leads: Arc::clone(&leads),
        };
        Led {
            connection: connection(own),
            leads,
        }
    }

    /// Takes `count` bytes, which `copy` appends, and lets them leave with the row; says no where they have to be written
    /// at once, and then holds nothing that must leave before them.
    fn poll_hold(&self, cx: &mut Context<'_>, count: usize, copy: impl FnOnce(&mut Vec<u8>)) -> Poll<io::Result<bool>> {
        let mut held = self.outlet.lock();
        if held.standing() == Standing::InRow && held.has_room(count) {
            held.add(copy);
            return Poll::Ready(Ok(true));
        }
        ready!(held.poll_out(cx))?;
        if !held.has_room(count) || !self.calls.has_others() {
            return Poll::Ready(Ok(false));
        }
        drop(held);
        let mut bytes = Vec::with_capacity(count);
        copy(&mut bytes);
        let lead = self.outlet.stand(cx, bytes);
        if lead.is_some() {
            *self.leads.lock() = lead;
        }
        Poll::Ready(Ok(true))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Together<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outlet.lock().io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin + Send + 'static> AsyncWrite for Together<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if ready!(self.poll_hold(cx, buf.len(), |bytes| bytes.extend_from_slice(buf)))? {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.outlet.lock().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = bufs.iter().map(|buf| buf.len()).sum();
        let copy = |bytes: &mut Vec<u8>| bufs.iter().for_each(|buf| bytes.extend_from_slice(buf));
        if ready!(self.poll_hold(cx, count, copy))? {
            return Poll::Ready(Ok(count));
        }
        Pin::new(&mut self.outlet.lock().io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.outlet.lock().io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.outlet.lock();
        match held.standing() {
            Standing::InRow => Poll::Ready(Ok(())),
            Standing::Back(_) => held.poll_out(cx),
            Standing::Nowhere => Pin::new(&mut held.io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut held = self.outlet.lock();
        ready!(held.poll_out(cx))?;
        Pin::new(&mut held.io).poll_shutdown(cx)
    }
}

impl<C: Future + Unpin> Future for Led<C> {
    type Output = C::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<C::Output> {
        let this = self.get_mut();
        let lead = this.leads.lock().take();
        drop(lead);
        Pin::new(&mut this.connection).poll(cx)
    }
}

#[cfg(test)]
mod tests;
