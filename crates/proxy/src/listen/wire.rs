//! The wire guard (in the making).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::limits::Limits;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Reads until the HTTP version is certain. `None` when the client closed before it said anything.
///
/// # Errors
/// When reading fails.
pub async fn sniff<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Option<(Version, BytesMut)>> {
    let mut first = BytesMut::with_capacity(1024);
    loop {
        if io.read_buf(&mut first).await? == 0 {
            return Ok((!first.is_empty()).then_some((Version::Http1, first)));
        }
        if first.starts_with(PREFACE) {
            return Ok(Some((Version::Http2, first)));
        }
        if !PREFACE.starts_with(&first) {
            return Ok(Some((Version::Http1, first)));
        }
    }
}

/// The guard around a connection's bytes.
pub struct Guard<T> {
    io: T,
    held: BytesMut,
}

impl<T> Guard<T> {
    /// Guards `io`, of which `first` has been read already.
    pub fn new(io: T, _version: Version, first: BytesMut, _limits: &Limits) -> Self {
        Self { io, held: first }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.held.len().min(buf.remaining());
        buf.put_slice(&self.held.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
