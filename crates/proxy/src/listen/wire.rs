//! The wire guard: what stands between the socket and hyper.
//!
//! hyper is made to get along: it takes a request with both a content length and chunks, two equal lengths, bare line
//! feeds, several hosts, and waits for a head for ever. At the edge of a company each of these is an attack, because the
//! proxy before us or the server behind us may read the same bytes another way. Forking hyper would be the end of its
//! updates. So every byte passes this guard first, which follows the framing (`http1`, `http2`) and lets hyper see
//! only what hyper cannot misread:
//!
//! - A head passes when it is whole and right. Instead of a bad one hyper is given a line that no parser takes, so it
//!   answers 400 (or 431) *after* the answers to what came before, and closes.
//! - A chunk that breaks its framing becomes an error of the body, which the service answers with 400.
//! - A flood of HTTP/2 frames is replaced by a frame that makes h2 say GOAWAY and close.
//!
//! Bytes that pass are read straight into hyper's own buffer; only the part of a head that came in pieces is kept here.
//! The guard also owns the timers of reading and writing, for it alone knows what is being waited for.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head;
mod http1;
mod http2;
mod pace;
mod write;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

use self::http1::{Http1, Place, Seen};
use self::http2::Http2;
pub(super) use self::pace::Timer;
use self::pace::{BodyPace, Pace};
use super::refused::Refused;
use crate::limits::Limits;

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No parser takes this for a request line: hyper answers 400.
const NO_REQUEST: &[u8] = b"\0\r\n\r\n";
/// The begin of a head, and a field of it: repeated often enough, hyper has no room for it and answers 431.
const ENDLESS_REQUEST: (&[u8], &[u8]) = (b"GET / HTTP/1.1\r\n", b"a:\r\n");
const ENDLESS_FIELDS: usize = 128;
/// A ping without its payload: h2 answers GOAWAY.
const NO_FRAME: &[u8] = &[0, 0, 0, 6, 0, 0, 0, 0, 0];

/// The HTTP version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What a client did that ends its connection; the text is for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breach {
    Malformed(&'static str),
    TooLarge(&'static str),
    Flood(&'static str),
    Slow(&'static str),
}

/// Reads until the HTTP version is certain. `None` when the client closed before that.
///
/// # Errors
/// When reading fails.
pub(super) async fn sniff<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Option<(Version, BytesMut)>> {
    let mut first = BytesMut::with_capacity(1024);
    loop {
        if io.read_buf(&mut first).await? == 0 {
            return Ok(None);
        }
        if first.starts_with(PREFACE) {
            return Ok(Some((Version::Http2, first)));
        }
        if !PREFACE.starts_with(&first) {
            return Ok(Some((Version::Http1, first)));
        }
    }
}

/// A connection's bytes, guarded.
pub(super) struct Guard<T> {
    io: T,
    machine: Machine,
    /// Read and not passed: a part of a head.
    held: BytesMut,
    /// To be given to hyper next.
    ready: Bytes,
    /// After `ready`: nothing more is read for hyper.
    end: Option<End>,
    times: Times,
    waiting: Timer,
    stalled: Timer,
    /// How the client takes what we write.
    reading: Pace,
    shutdown: Shutdown,
    refused: Arc<Refused>,
    /// Frames sent that carry a part of an answer.
    sent: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Machine {
    Http1(Http1),
    Http2(Http2),
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// The client closed, or hyper has been given what makes it close.
    Eof,
    /// Reading fails with this.
    Broken(Breach),
}

/// When the wait for bytes ends.
#[derive(Debug)]
struct Times {
    head: Duration,
    linger: Duration,
    body: BodyPace,
    answer: BodyPace,
    linger_bytes: usize,
    /// When the head that is held began.
    head_began: Option<Instant>,
    pace: Pace,
}

#[derive(Clone, Copy, Debug)]
enum Shutdown {
    Open,
    Closing,
    /// Our side is closed; reads and discards until then, so many bytes.
    Lingering(usize),
    Done,
}

impl<T> Guard<T> {
    /// Guards `io`, of which `first` has been read already.
    pub(super) fn new(
        io: T,
        version: Version,
        first: BytesMut,
        limits: &Limits,
        refused: Arc<Refused>,
        sent: Arc<AtomicU64>,
    ) -> Self {
        let now = Instant::now();
        let machine = match version {
            Version::Http1 => Machine::Http1(Http1::new(limits.head_bytes, limits.head_fields)),
            Version::Http2 => Machine::Http2(Http2::new(limits, now)),
        };
        let mut guard = Self {
            io,
            machine,
            held: first,
            ready: Bytes::new(),
            end: None,
            times: Times {
                head: limits.head_time,
                linger: limits.linger_time,
                body: BodyPace::of(limits),
                answer: BodyPace::of_answers(limits),
                linger_bytes: limits.linger_bytes,
                head_began: None,
                pace: Pace::default(),
            },
            waiting: Timer::default(),
            stalled: Timer::default(),
            reading: Pace::default(),
            shutdown: Shutdown::Open,
            refused,
            sent,
        };
        guard.look_at_held(now);
        guard
    }

    /// Shows the machine what is held; what may pass becomes ready.
    fn look_at_held(&mut self, now: Instant) {
        let seen = self.machine.follow(&self.held, now);
        self.ready = self.held.split_to(seen.pass).freeze();
        self.after(&seen, now);
    }

    /// Keeps book after the machine has seen bytes.
    fn after(&mut self, seen: &Seen, now: Instant) {
        if let Some(breach) = seen.breach {
            self.breach(breach);
        }
        if self.held.is_empty() {
            self.times.head_began = None;
        } else if seen.pass > 0 || self.times.head_began.is_none() {
            self.times.head_began = Some(now);
        }
        match self.machine.place() {
            Place::Body => self.times.pace.came(seen.pass, now),
            Place::Head => self.times.pace = Pace::default(),
        }
    }

    /// From here on hyper sees what makes it answer and close.
    fn breach(&mut self, breach: Breach) {
        self.count(breach);
        self.held.clear();
        let line = match (&self.machine, breach) {
            (_, Breach::Slow(_)) => None,
            (Machine::Http2(_), _) => Some(NO_FRAME.to_vec()),
            (Machine::Http1(machine), _) if machine.place() == Place::Body => None,
            (Machine::Http1(_), Breach::TooLarge(_)) => {
                let (begin, field) = ENDLESS_REQUEST;
                Some([begin, &field.repeat(ENDLESS_FIELDS)].concat())
            }
            (Machine::Http1(_), _) => Some(NO_REQUEST.to_vec()),
        };
        self.end = Some(if line.is_some() { End::Eof } else { End::Broken(breach) });
        if let Some(line) = line {
            self.ready = Bytes::from([&self.ready, line.as_slice()].concat());
        }
    }

    fn count(&self, breach: Breach) {
        tracing::debug!(rule = breach.text(), "the wire guard ends a connection");
        Refused::one(match breach {
            Breach::Malformed(_) => &self.refused.malformed,
            Breach::TooLarge(_) => &self.refused.too_large,
            Breach::Flood(_) => &self.refused.floods,
            Breach::Slow(_) => &self.refused.slow,
        });
    }

    /// Nothing has come; fails when the client has had its time.
    fn wait<R>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        let (until, what) = match (self.machine.place(), self.times.head_began) {
            (Place::Body, _) => {
                let until = self.times.pace.wait_until(&self.times.body, Instant::now());
                (until, "a body came too slowly")
            }
            (Place::Head, Some(began)) => (began + self.times.head, "a head came too slowly"),
            (Place::Head, None) => return Poll::Pending,
        };
        ready!(self.waiting.poll(until, cx));
        self.breach(Breach::Slow(what));
        Poll::Ready(Err(Breach::Slow(what).into()))
    }
}

impl Machine {
    fn follow(&mut self, bytes: &[u8], now: Instant) -> Seen {
        match self {
            Self::Http1(machine) => machine.follow(bytes),
            Self::Http2(machine) => machine.follow(bytes, now),
        }
    }

    /// HTTP/2 has no bodies here: its frames interleave, so `read_body` watches them.
    fn place(&self) -> Place {
        match self {
            Self::Http1(machine) => machine.place(),
            Self::Http2(_) => Place::Head,
        }
    }
}

impl<T: AsyncRead + Unpin> Guard<T> {
    /// Reads once: into hyper's buffer when all may pass, else by way of `held`.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if Pin::new(&mut self.io).poll_read(cx, buf)?.is_pending() {
            return self.wait(cx);
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        let now = Instant::now();
        if came.is_empty() {
            self.end = Some(End::Eof);
        } else if self.held.is_empty() {
            let seen = self.machine.follow(came, now);
            self.held.extend_from_slice(came.get(seen.pass..).unwrap_or_default());
            buf.set_filled(before + seen.pass);
            self.after(&seen, now);
        } else {
            self.held.extend_from_slice(came);
            buf.set_filled(before);
            self.look_at_held(now);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            if !self.ready.is_empty() {
                let n = self.ready.len().min(buf.remaining());
                buf.put_slice(self.ready.get(..n).unwrap_or_default());
                self.ready.advance(n);
                return Poll::Ready(Ok(()));
            }
            match self.end {
                Some(End::Eof) => return Poll::Ready(Ok(())),
                Some(End::Broken(breach)) => return Poll::Ready(Err(breach.into())),
                None => {}
            }
            ready!(self.poll_fill(cx, buf))?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Breach {
    fn text(self) -> &'static str {
        match self {
            Self::Malformed(text) | Self::TooLarge(text) | Self::Flood(text) | Self::Slow(text) => text,
        }
    }
}

impl From<Breach> for io::Error {
    fn from(breach: Breach) -> Self {
        let kind = match breach {
            Breach::Slow(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, breach.text())
    }
}

#[cfg(test)]
mod tests;
