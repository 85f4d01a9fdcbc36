#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::pin::pin;
use std::task::{Wake, Waker};

use super::*;

/// A socket that notes each write, takes what it is told to, and breaks when it is told to.
#[derive(Default)]
struct Socket {
    writes: Vec<Vec<u8>>,
    takes_nothing: bool,
    breaks: bool,
    closed: bool,
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.breaks {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.takes_nothing {
            return Poll::Pending;
        }
        self.writes.push(buf.to_vec());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closed = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection that does `each` in every turn, and never ends by itself.
struct Each<W>(W);

impl<W: FnMut(&mut Context<'_>) -> Poll<()> + Unpin> Future for Each<W> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        (self.0)(cx)
    }
}

fn say(io: &mut Gathered<Socket>, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<()>> {
    let wrote = ready!(Pin::new(&mut *io).poll_write(cx, text))?;
    assert_eq!(wrote, text.len());
    Pin::new(io).poll_flush(cx)
}

fn calls(count: usize) -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(count))
}

#[test]
fn what_is_said_in_one_turn_leaves_in_one_write_when_it_is_over() {
    let (mut io, outlet) = gathered(Socket::default());
    let held = Arc::clone(&outlet.0);
    let mut turns = pin!(outlet.turns(
        Each(move |cx: &mut Context<'_>| {
            for text in [b"one ".as_slice(), b"two ", b"three"] {
                assert!(matches!(say(&mut io, cx, text), Poll::Ready(Ok(()))));
                assert!(io.0.lock().io.writes.is_empty());
            }
            Poll::Pending
        }),
        calls(1),
    ));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(turns.as_mut().poll(cx).is_pending());
    assert_eq!(held.lock().io.writes, [b"one two three"]);
}

#[test]
fn a_turn_comes_after_others_only_while_other_calls_are_under_way() {
    for (under_way, waits) in [(0, false), (1, false), (2, true), (200, true)] {
        let (io, outlet) = gathered(Socket::default());
        let mut turns_taken = 0;
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = &mut Context::from_waker(&waker);
        {
            let mut turns = pin!(outlet.turns(
                Each(|_: &mut Context<'_>| {
                    turns_taken += 1;
                    Poll::Pending
                }),
                calls(under_way),
            ));
            assert!(turns.as_mut().poll(cx).is_pending());
            // It has woken itself, so that it runs again after whoever was ready.
            assert_eq!(wakes.0.load(Ordering::Relaxed), usize::from(waits));
            if waits {
                assert!(turns.as_mut().poll(cx).is_pending());
                assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "once for each turn");
            }
        }
        assert_eq!(turns_taken, 1);
        drop(io);
    }
}

#[test]
fn a_socket_that_takes_no_more_is_one_for_whoever_writes() {
    let (mut io, outlet) = gathered(Socket {
        takes_nothing: true,
        ..Socket::default()
    });
    let held = Arc::clone(&outlet.0);
    let mut said = false;
    let blocked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&blocked);
    let mut turns = pin!(outlet.turns(
        Each(move |cx: &mut Context<'_>| {
            if !std::mem::replace(&mut said, true) {
                assert!(matches!(say(&mut io, cx, b"hello"), Poll::Ready(Ok(()))));
            } else if Pin::new(&mut io).poll_flush(cx).is_pending() {
                seen.fetch_add(1, Ordering::Relaxed);
            }
            Poll::Pending
        }),
        calls(0),
    ));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(turns.as_mut().poll(cx).is_pending());
    assert_eq!(blocked.load(Ordering::Relaxed), 1, "seen within the turn");
    held.lock().io.takes_nothing = false;
    assert!(turns.as_mut().poll(cx).is_pending());
    assert_eq!(blocked.load(Ordering::Relaxed), 1);
    assert_eq!(held.lock().io.writes, [b"hello"]);
}

#[test]
fn an_error_of_the_socket_is_heard_by_whoever_writes_in_the_same_turn() {
    let (mut io, outlet) = gathered(Socket {
        breaks: true,
        ..Socket::default()
    });
    let mut said = false;
    let mut turns = pin!(outlet.turns(
        Each(move |cx: &mut Context<'_>| {
            if !std::mem::replace(&mut said, true) {
                assert!(matches!(say(&mut io, cx, b"hello"), Poll::Ready(Ok(()))));
                return Poll::Pending;
            }
            match Pin::new(&mut io).poll_flush(cx) {
                Poll::Ready(Err(error)) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
                other => panic!("{other:?}"),
            }
            Poll::Ready(())
        }),
        calls(0),
    ));
    assert!(turns.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
}

#[test]
fn a_turn_holds_as_much_as_the_limit_and_no_byte_more() {
    for (bytes, held_back) in [
        (HELD_BYTES_MAX - 1, HELD_BYTES_MAX - 1),
        (HELD_BYTES_MAX, HELD_BYTES_MAX),
        (HELD_BYTES_MAX + 1, 1),
    ] {
        let (mut io, _outlet) = gathered(Socket::default());
        let cx = &mut Context::from_waker(Waker::noop());
        let text = vec![b'x'; bytes];
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match Pin::new(&mut io).poll_write(cx, rest) {
                Poll::Ready(Ok(wrote)) => rest = &rest[wrote..],
                other => panic!("{other:?}"),
            }
        }
        let held = io.0.lock();
        assert_eq!(held.bytes.len(), held_back);
        let left: usize = held.io.writes.iter().map(Vec::len).sum();
        assert_eq!(left + held_back, bytes);
    }
}

#[test]
fn what_is_held_leaves_before_the_socket_is_closed() {
    let (mut io, outlet) = gathered(Socket::default());
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(matches!(say(&mut io, cx, b"goodbye"), Poll::Ready(Ok(()))));
    assert!(matches!(Pin::new(&mut io).poll_shutdown(cx), Poll::Ready(Ok(()))));
    let held = outlet.0.lock();
    assert_eq!(held.io.writes, [b"goodbye"]);
    assert!(held.io.closed);
}
