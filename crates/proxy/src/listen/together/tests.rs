#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::future::poll_fn;
use std::task::{Wake, Waker};

use tokio::sync::watch;

use super::*;
use crate::row::HELD_BYTES_MAX;

/// What happens, in its order.
type Log = Arc<Mutex<Vec<String>>>;

/// A socket that notes what is done with it, takes nothing when it is told to, and breaks when it is told to.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Says>>);

#[derive(Default)]
struct Says {
    writes: Vec<Vec<u8>>,
    takes_nothing: bool,
    breaks: bool,
    closed: bool,
    log: Option<Log>,
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut says = self.0.lock();
        if says.breaks {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if says.takes_nothing {
            return Poll::Pending;
        }
        if let Some(log) = &says.log {
            log.lock().push("written".to_owned());
        }
        says.writes.push(buf.to_vec());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn writes(&self) -> Vec<Vec<u8>> {
        self.0.lock().writes.clone()
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection that only shows what it writes to.
struct Bare(Together<Socket>);

impl Future for Bare {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

fn calls(all: usize, own: usize) -> Calls {
    Calls {
        all: Arc::new(AtomicUsize::new(all)),
        own: Arc::new(AtomicUsize::new(own)),
    }
}

fn bare(socket: &Socket, all: usize, own: usize) -> Led<Bare> {
    Together::run(socket.clone(), calls(all, own), Bare)
}

fn say(led: &mut Led<Bare>, cx: &mut Context<'_>, text: &[u8]) -> Poll<io::Result<()>> {
    let io = &mut led.connection.0;
    let wrote = ready!(Pin::new(&mut *io).poll_write(cx, text))?;
    assert_eq!(wrote, text.len());
    Pin::new(io).poll_flush(cx)
}

fn quiet() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

#[test]
fn an_answer_waits_for_the_others_only_while_calls_of_others_are_under_way() {
    // An answer that is complete is no call any more; a stream of them is one still.
    for (all, own, waits) in [(0, 0, false), (1, 1, false), (1, 0, true), (2, 1, true), (200, 0, true)] {
        let socket = Socket::default();
        let mut led = bare(&socket, all, own);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let cx = &mut Context::from_waker(&waker);
        assert!(matches!(say(&mut led, cx, b"hello"), Poll::Ready(Ok(()))));
        assert_eq!(socket.writes().is_empty(), waits, "{all} {own}");
        assert_eq!(wakes.0.load(Ordering::Relaxed), usize::from(waits));
        assert!(Pin::new(&mut led).poll(cx).is_pending());
        assert_eq!(socket.writes(), [b"hello"]);
        assert_eq!(wakes.0.load(Ordering::Relaxed), usize::from(waits), "once");
    }
}

#[test]
fn what_is_held_has_a_limit_and_what_is_longer_is_not_copied() {
    for (bytes, held) in [
        (HELD_BYTES_MAX - 1, true),
        (HELD_BYTES_MAX, true),
        (HELD_BYTES_MAX + 1, false),
    ] {
        let socket = Socket::default();
        let mut led = bare(&socket, 2, 1);
        assert!(matches!(
            say(&mut led, &mut quiet(), &vec![b'x'; bytes]),
            Poll::Ready(Ok(()))
        ));
        assert_eq!(socket.writes().is_empty(), held, "{bytes}");
        drop(led);
        assert_eq!(socket.writes().concat().len(), bytes);
    }
}

#[test]
fn what_does_not_fit_leaves_behind_what_is_held_and_never_before_it() {
    let socket = Socket::default();
    let mut led = bare(&socket, 2, 1);
    assert!(matches!(say(&mut led, &mut quiet(), b"head "), Poll::Ready(Ok(()))));
    assert!(matches!(say(&mut led, &mut quiet(), b"more "), Poll::Ready(Ok(()))));
    assert!(socket.writes().is_empty());
    let body = vec![b'x'; HELD_BYTES_MAX];
    assert!(matches!(say(&mut led, &mut quiet(), &body), Poll::Ready(Ok(()))));
    drop(led);
    assert_eq!(socket.writes(), [b"head more ".to_vec(), body]);
}

#[test]
fn a_head_and_its_body_stand_in_the_row_as_one() {
    let socket = Socket::default();
    let mut led = bare(&socket, 2, 1);
    let pieces = [IoSlice::new(b"head "), IoSlice::new(b"body")];
    let wrote = Pin::new(&mut led.connection.0).poll_write_vectored(&mut quiet(), &pieces);
    assert!(matches!(wrote, Poll::Ready(Ok(9))));
    assert!(socket.writes().is_empty());
    assert!(Pin::new(&mut led).poll(&mut quiet()).is_pending());
    assert_eq!(socket.writes(), [b"head body"]);
}

#[test]
fn a_client_that_reads_no_more_is_seen_by_whoever_writes_next_or_looks() {
    let socket = Socket::default();
    socket.0.lock().takes_nothing = true;
    let mut led = bare(&socket, 2, 1);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let cx = &mut Context::from_waker(&waker);
    assert!(matches!(say(&mut led, cx, b"one "), Poll::Ready(Ok(()))));
    assert!(Pin::new(&mut led).poll(cx).is_pending());
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2, "once to run again, once to see it");
    assert!(Pin::new(&mut led.connection.0).poll_flush(cx).is_pending());
    assert!(say(&mut led, cx, b"two").is_pending());
    socket.0.lock().takes_nothing = false;
    assert!(matches!(
        Pin::new(&mut led.connection.0).poll_flush(cx),
        Poll::Ready(Ok(()))
    ));
    assert_eq!(socket.writes(), [b"one "]);
}

#[test]
fn an_error_of_the_socket_is_heard_by_whoever_writes_next_or_looks() {
    let socket = Socket::default();
    socket.0.lock().breaks = true;
    let mut led = bare(&socket, 2, 1);
    assert!(matches!(say(&mut led, &mut quiet(), b"one"), Poll::Ready(Ok(()))));
    assert!(Pin::new(&mut led).poll(&mut quiet()).is_pending());
    for _ in 0..2 {
        let flushed = Pin::new(&mut led.connection.0).poll_flush(&mut quiet());
        assert!(matches!(flushed, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    }
    assert!(matches!(say(&mut led, &mut quiet(), b"two"), Poll::Ready(Err(_))));
}

#[test]
fn what_is_held_leaves_before_the_connection_is_closed() {
    let socket = Socket::default();
    let mut led = bare(&socket, 2, 1);
    assert!(matches!(say(&mut led, &mut quiet(), b"goodbye"), Poll::Ready(Ok(()))));
    let closed = Pin::new(&mut led.connection.0).poll_shutdown(&mut quiet());
    assert!(matches!(closed, Poll::Ready(Ok(()))));
    assert_eq!(socket.writes(), [b"goodbye"]);
    assert!(socket.0.lock().closed);
}

#[test]
fn a_connection_that_ends_takes_neither_its_own_answer_with_it_nor_those_of_others() {
    for ends_first in [0, 1] {
        let sockets = [Socket::default(), Socket::default()];
        let mut all = sockets.each_ref().map(|socket| Some(bare(socket, 2, 0)));
        for led in all.iter_mut().flatten() {
            assert!(matches!(say(led, &mut quiet(), b"hello"), Poll::Ready(Ok(()))));
        }
        all[ends_first] = None;
        all[1 - ends_first] = None;
        assert_eq!(sockets.map(|socket| socket.writes()), [[b"hello"], [b"hello"]]);
    }
}

/// On the scheduler that calls really run on: who says something in one turn is written behind all who have.
#[test]
fn answers_that_become_ready_together_are_all_made_before_one_is_written() {
    const CLIENTS: usize = 8;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let log = Log::default();
    let (say, heard) = watch::channel(0);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (log, mut heard) = (Arc::clone(&log), heard.clone());
            let socket = Socket::default();
            socket.0.lock().log = Some(Arc::clone(&log));
            async move {
                // All wait before the first is answered.
                heard.changed().await.unwrap();
                let mut led = bare(&socket, CLIENTS, 1);
                let mut said = false;
                poll_fn(|cx| {
                    assert!(Pin::new(&mut led).poll(cx).is_pending());
                    if !std::mem::replace(&mut said, true) {
                        log.lock().push("made".to_owned());
                        assert!(matches!(super::tests::say(&mut led, cx, b"hello"), Poll::Ready(Ok(()))));
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                })
                .await;
            }
        })
        .collect();
    runtime.block_on(async {
        let mut all: tokio::task::JoinSet<()> = tokio::task::JoinSet::new();
        let everybody = async move {
            clients.into_iter().for_each(|client| drop(all.spawn(client)));
            tokio::task::yield_now().await;
            say.send_replace(1);
            while let Some(ended) = all.join_next().await {
                ended.unwrap();
            }
        };
        tokio::spawn(everybody).await.unwrap();
    });
    let log = log.lock();
    let (made, wrote) = log.split_at(CLIENTS);
    assert!(made.iter().all(|what| what == "made"), "{log:?}");
    assert!(
        wrote.len() == CLIENTS && wrote.iter().all(|what| what == "written"),
        "{log:?}"
    );
}
