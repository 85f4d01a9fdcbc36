#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::mem::MaybeUninit;
use std::pin::Pin;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const LONG: Duration = Duration::from_secs(20);

/// Connections to a server, and its ends of them.
struct Server {
    listener: TcpListener,
    target: Target,
    counts: Arc<Counts>,
}

impl Server {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        Self {
            listener,
            target: Target::parse(&url, None).unwrap(),
            counts: Arc::default(),
        }
    }

    async fn connection(&self) -> (Box<Conn>, TcpStream) {
        let conn = Conn::open(&self.target, &self.counts).await;
        (conn.ok().unwrap(), self.listener.accept().await.unwrap().0)
    }
}

fn request(text: &str) -> Request {
    Request::new(text.as_bytes().to_vec(), Bytes::new())
}

fn once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether the server has been sent anything by now.
fn has_come(end: &TcpStream) -> bool {
    socket2::SockRef::from(end).peek(&mut [MaybeUninit::uninit()]).is_ok()
}

async fn read(end: &mut TcpStream) -> Vec<u8> {
    let mut room = vec![0; 64];
    let count = timeout(LONG, end.read(&mut room)).await.unwrap().unwrap();
    room.truncate(count);
    room
}

#[tokio::test]
async fn a_request_alone_leaves_at_once_and_those_beside_it_together_when_the_first_of_them_runs_again() {
    let server = Server::new().await;
    let ((mut a, mut at_a), (mut b, mut at_b), (mut c, mut at_c)) = (
        server.connection().await,
        server.connection().await,
        server.connection().await,
    );
    let (mut sent_a, mut sent_b, mut sent_c) = (false, false, false);
    let mut alone = Box::pin(a.send(request("one"), &mut sent_a));
    assert!(once(&mut alone).is_pending());
    assert_eq!(read(&mut at_a).await, b"one");
    let mut first = Box::pin(b.send(request("two"), &mut sent_b));
    let mut second = Box::pin(c.send(request("three"), &mut sent_c));
    assert!(once(&mut first).is_pending());
    assert!(once(&mut second).is_pending());
    assert!(!has_come(&at_b) && !has_come(&at_c));
    assert!(once(&mut first).is_pending());
    assert_eq!(read(&mut at_b).await, b"two");
    assert_eq!(read(&mut at_c).await, b"three");
    for end in [&mut at_a, &mut at_b, &mut at_c] {
        end.write_all(ANSWER).await.unwrap();
    }
    for call in [alone, first, second] {
        assert_eq!(timeout(LONG, call).await.unwrap().ok().unwrap().status, 204);
    }
    assert!(sent_a && sent_b && sent_c);
    // Each can carry another request.
    assert!(a.outgoing.is_none() && b.outgoing.is_none() && c.outgoing.is_none());
    assert_eq!(server.counts.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_call_that_is_given_up_in_the_row_was_never_sent() {
    let server = Server::new().await;
    server.counts.asked.fetch_add(1, Ordering::Relaxed);
    let ((mut a, mut at_a), (mut b, mut at_b)) = (server.connection().await, server.connection().await);
    let (mut sent_a, mut sent_b) = (false, false);
    let mut first = Box::pin(a.send(request("one"), &mut sent_a));
    let mut second = Box::pin(b.send(request("two"), &mut sent_b));
    assert!(once(&mut first).is_pending());
    assert!(once(&mut second).is_pending());
    drop(second);
    drop(b);
    assert!(once(&mut first).is_pending());
    assert_eq!(read(&mut at_a).await, b"one");
    assert_eq!(read(&mut at_b).await, b"", "its connection is closed without a word");
    drop(first);
    assert_eq!((sent_a, sent_b), (true, false));
}

#[tokio::test]
async fn a_first_call_that_is_given_up_lets_the_others_go() {
    let server = Server::new().await;
    server.counts.asked.fetch_add(1, Ordering::Relaxed);
    let ((mut a, mut at_a), (mut b, mut at_b)) = (server.connection().await, server.connection().await);
    let (mut sent_a, mut sent_b) = (false, false);
    let mut first = Box::pin(a.send(request("one"), &mut sent_a));
    let mut second = Box::pin(b.send(request("two"), &mut sent_b));
    assert!(once(&mut first).is_pending());
    assert!(once(&mut second).is_pending());
    drop(first);
    drop(a);
    assert_eq!(read(&mut at_b).await, b"two");
    assert_eq!(read(&mut at_a).await, b"");
    drop(second);
    assert_eq!((sent_a, sent_b), (false, true));
}

#[tokio::test]
async fn a_server_that_hangs_up_on_a_request_in_the_row_leaves_it_whole_for_another_connection() {
    let server = Server::new().await;
    server.counts.asked.fetch_add(1, Ordering::Relaxed);
    let ((mut a, _at_a), (mut b, at_b)) = (server.connection().await, server.connection().await);
    let (mut sent_a, mut sent_b) = (false, false);
    let mut first = Box::pin(a.send(request("one"), &mut sent_a));
    let mut second = Box::pin(b.send(request("two"), &mut sent_b));
    assert!(once(&mut first).is_pending());
    assert!(once(&mut second).is_pending());
    drop(at_b);
    // The first does not run, so the row stands.
    match timeout(LONG, second).await.unwrap() {
        Err(SendError::Unsent(whole)) => {
            assert_eq!((&*whole.head, whole.written, whole.stands), (&b"two"[..], 0, false))
        }
        Err(SendError::Sent(error)) => panic!("{error:?}"),
        Ok(_) => panic!("there was no answer"),
    }
    assert!(!sent_b);
}

#[tokio::test]
async fn a_request_with_a_long_body_stands_in_no_row() {
    let server = Server::new().await;
    server.counts.asked.fetch_add(1, Ordering::Relaxed);
    for (bytes, stands) in [(COPIED_BYTES_MAX, true), (COPIED_BYTES_MAX + 1, false)] {
        let (mut conn, mut end) = server.connection().await;
        let mut sent = false;
        let long = Request::new(b"head".to_vec(), vec![b'x'; bytes].into());
        let mut call = Box::pin(conn.send(long, &mut sent));
        assert!(once(&mut call).is_pending());
        drop(call);
        assert_eq!(sent, !stands, "{bytes}");
        drop(conn);
        assert_eq!(read(&mut end).await.is_empty(), stands);
    }
}
