//! Answers of servers that do not keep to HTTP, or only just: what a caller gets, and what becomes of the connection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use meshgate_proxy::refusal::{Executed, Reason, Refusal};
use meshgate_proxy::upstream::http::{HttpAnswer, HttpLink};
use meshgate_proxy::upstream::limits::WireLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";

/// A server that reads a request and writes these pieces, each in a packet of its own as far as that can be had.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heads: mpsc::UnboundedReceiver<String>,
}

impl Server {
    async fn start(pieces: Vec<Vec<u8>>, then_close: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (told, heads) = mpsc::unbounded_channel();
        let (counted, pieces) = (Arc::clone(&connections), Arc::new(pieces));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&pieces), then_close, told.clone()));
            }
        });
        Self {
            address,
            connections,
            heads,
        }
    }

    fn link(&self) -> HttpLink {
        self.link_with(HeaderMap::new(), WireLimits::default())
    }

    fn link_with(&self, headers: HeaderMap, limits: WireLimits) -> HttpLink {
        HttpLink::new(&format!("http://{}/mcp?x=1", self.address), headers, limits, None).unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    pieces: Arc<Vec<Vec<u8>>>,
    then_close: bool,
    told: mpsc::UnboundedSender<String>,
) {
    stream.set_nodelay(true).unwrap();
    while let Some(head) = read_request(&mut stream).await {
        let _ = told.send(head);
        for piece in pieces.iter() {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if then_close {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |n| n.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

async fn post(link: &HttpLink) -> Result<HttpAnswer, Refusal> {
    let deadline = Instant::now() + Duration::from_secs(10);
    link.post(HeaderMap::new(), Bytes::from_static(b"{}"), deadline).await
}

fn body(answer: Result<HttpAnswer, Refusal>) -> Bytes {
    match answer.unwrap() {
        HttpAnswer::One { body, .. } => body,
        other => panic!("{other:?}"),
    }
}

/// One answer as many packets as it has bytes.
fn bytewise(text: &str) -> Vec<Vec<u8>> {
    text.bytes().map(|byte| vec![byte]).collect()
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte() {
    for text in [
        format!("{JSON}Content-Length: 5\r\n\r\nhello"),
        format!("{JSON}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\nA: b\r\n\r\n"),
        format!(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{JSON}Content-Length: 5\r\n\r\nhello"
        ),
    ] {
        let server = Server::start(bytewise(&text), false).await;
        let link = server.link();
        for _ in 0..3 {
            assert_eq!(body(post(&link).await), "hello", "{text}");
        }
        assert_eq!(server.connections(), 1, "{text}");
    }
}

#[tokio::test]
async fn a_large_answer_comes_whole_however_it_is_framed() {
    let large: Vec<u8> = (0..3_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let announced = [
        format!("{JSON}Content-Length: {}\r\n\r\n", large.len()).into_bytes(),
        large.clone(),
    ]
    .concat();
    let mut chunked = format!("{JSON}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in large.chunks(70_001) {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend([chunk, b"\r\n"].concat());
    }
    chunked.extend(b"0\r\n\r\n");
    let open = [format!("{JSON}\r\n").into_bytes(), large.clone()].concat();
    for (bytes, then_close, connections) in [(announced, false, 1), (chunked, false, 1), (open, true, 2)] {
        let server = Server::start(vec![bytes], then_close).await;
        let link = server.link();
        for _ in 0..2 {
            assert!(body(post(&link).await) == large);
        }
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_server_that_says_more_than_its_answer_gets_no_second_call_on_that_connection() {
    let second = format!("{JSON}Content-Length: 6\r\n\r\nforged");
    for text in [
        format!("{JSON}Content-Length: 5\r\n\r\nhello{second}"),
        format!("{JSON}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{second}"),
        format!("{JSON}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let server = Server::start(vec![text.clone().into()], false).await;
        let link = server.link();
        for _ in 0..3 {
            assert_eq!(body(post(&link).await), "hello", "{text}");
        }
        assert_eq!(server.connections(), 3, "{text}");
    }
}

#[tokio::test]
async fn bytes_that_come_while_nobody_asks_end_the_connection() {
    let text = format!("{JSON}Content-Length: 5\r\n\r\nhello");
    let server = Server::start(vec![text.into(), b"HTTP/1.1 200 OK\r\n".to_vec()], false).await;
    let link = server.link();
    for _ in 0..3 {
        assert_eq!(body(post(&link).await), "hello");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn d41_an_answer_that_breaks_http_leaves_it_open_whether_the_call_ran() {
    let cases = [
        ("SSH-2.0-OpenSSH\r\n".to_owned(), "malformed"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), "switches"),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(17), "without end"),
        (
            format!("{JSON}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            "two lengths",
        ),
        (
            format!("{JSON}Transfer-Encoding: chunked\r\n\r\n5\nhello"),
            "hex number",
        ),
        (format!("{JSON}X: {}\r\n\r\n", "x".repeat(40_000)), "too long"),
        (format!("{JSON}{}\r\n", "X: y\r\n".repeat(100)), "too many fields"),
    ];
    for (text, why) in cases {
        let server = Server::start(vec![text.clone().into()], false).await;
        let refusal = post(&server.link()).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.executed),
            (Reason::ServerBroken, Executed::Unknown),
            "{text}"
        );
        assert!(refusal.message.contains(why), "{refusal}: {text}");
    }
}

#[tokio::test]
async fn an_answer_cut_off_anywhere_is_an_error_and_never_a_shorter_answer() {
    for text in [
        format!("{JSON}Content-Length: 5\r\n\r\nhello"),
        format!("{JSON}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ] {
        for end in 0..text.len() {
            let server = Server::start(vec![text.as_bytes()[..end].to_vec()], true).await;
            let refusal = post(&server.link()).await.unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.executed),
                (Reason::ServerBroken, Executed::Unknown),
                "{end} of {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_server_may_answer_before_it_has_read_the_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                // The head only; the body is left where it is until the client has gone.
                let mut head = [0; 16];
                stream.read_exact(&mut head).await.unwrap();
                let answer = format!("{JSON}Content-Length: 5\r\n\r\nhello");
                stream.write_all(answer.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            });
        }
    });
    let link = HttpLink::new(
        &format!("http://{address}"),
        HeaderMap::new(),
        WireLimits::default(),
        None,
    )
    .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let large = Bytes::from(vec![b' '; 8 << 20]);
    for _ in 0..2 {
        let answer = link.post(HeaderMap::new(), large.clone(), deadline).await;
        assert_eq!(body(answer), "hello");
    }
}

#[tokio::test]
async fn a_call_has_the_fields_of_the_hop_once_and_those_of_the_operator_count() {
    let text = format!("{JSON}Content-Length: 2\r\n\r\n{{}}");
    let mut server = Server::start(vec![text.into()], false).await;
    let configured = HeaderMap::from_iter([
        ("authorization".parse().unwrap(), "Bearer secret".parse().unwrap()),
        ("traceparent".parse().unwrap(), "theirs".parse().unwrap()),
    ]);
    let link = server.link_with(configured, WireLimits::default());
    let own = HeaderMap::from_iter([
        ("traceparent".parse().unwrap(), "ours".parse().unwrap()),
        ("mcp-name".parse().unwrap(), "echo".parse().unwrap()),
    ]);
    let deadline = Instant::now() + Duration::from_secs(10);
    link.post(own, Bytes::from_static(b"{}"), deadline).await.unwrap();
    let head = server.heads.recv().await.unwrap();
    let mut lines: Vec<_> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "POST /mcp?x=1 HTTP/1.1");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: application/json, text/event-stream",
            "authorization: Bearer secret",
            "content-length: 2",
            "content-type: application/json",
            &format!("host: {}", server.address),
            "mcp-name: echo",
            "traceparent: theirs",
        ]
    );
    link.get(HeaderMap::new(), deadline).await.unwrap();
    let head = server.heads.recv().await.unwrap();
    assert!(head.starts_with("GET /mcp?x=1 HTTP/1.1\r\n") && head.contains("accept: text/event-stream\r\n"));
    link.delete(HeaderMap::new(), deadline).await.unwrap();
    let head = server.heads.recv().await.unwrap();
    assert!(head.starts_with("DELETE /mcp?x=1 HTTP/1.1\r\n") && !head.contains("content-"));
}

#[tokio::test]
async fn events_are_read_wherever_their_bytes_are_cut() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                9\r\ndata: {}\n\r\n1\r\n\n\r\na\r\ndata: []\n\n\r\n0\r\n\r\n";
    for pieces in [bytewise(text), vec![text.into()]] {
        let server = Server::start(pieces, false).await;
        let link = server.link();
        for _ in 0..2 {
            let HttpAnswer::Stream { events, .. } = post(&link).await.unwrap() else {
                panic!("no stream")
            };
            let events: Vec<_> = events.map(|event| event.unwrap().data).collect().await;
            assert_eq!(events, [b"{}".to_vec(), b"[]".to_vec()]);
        }
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_floods_is_read_no_faster_than_it_may_come() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    let server = Server::start(vec![format!("{head}{}", "data: {}\n\n".repeat(4048)).into()], true).await;
    let HttpAnswer::Stream { mut events, .. } = post(&server.link()).await.unwrap() else {
        panic!("no stream")
    };
    // From here on only timers move the clock.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    for _ in 0..2048 {
        events.next().await.unwrap().unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // The others come in their time, and not one of them is lost.
    for _ in 0..2000 {
        events.next().await.unwrap().unwrap();
    }
    assert!(events.next().await.is_none());
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Streams of one server together; what others get at the same time is told by the clock standing still.
#[tokio::test]
async fn calls_that_flood_bring_together_what_one_may_and_nobody_else_waits() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    let server = Server::start(vec![format!("{head}{}", "data: {}\n\n".repeat(3000)).into()], true).await;
    let (link, elsewhere) = (server.link(), server.link());
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut opened = Vec::new();
    for answer in [
        post(&link).await,
        post(&link).await,
        post(&link).await,
        link.get(HeaderMap::new(), deadline).await,
        post(&elsewhere).await,
    ] {
        let Ok(HttpAnswer::Stream { events, .. }) = answer else {
            panic!("no stream")
        };
        opened.push(events);
    }
    // From here on only timers move the clock.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let [first, second, third, standalone, other] = &mut opened[..] else {
        unreachable!()
    };
    // All of one call's bound; and of its own, 32 of each call more than the 2,048 that they share.
    for (events, count) in [(first, 2048), (second, 64), (standalone, 2048), (other, 2048)] {
        for _ in 0..count {
            events.next().await.unwrap().unwrap();
        }
    }
    for _ in 0..32 {
        third.next().await.unwrap().unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    third.next().await.unwrap().unwrap();
    assert!(began.elapsed() > Duration::ZERO, "one above");
    // Ten a second are its own, and all others are waited for; not one is lost.
    for _ in 0..3000 - 33 {
        third.next().await.unwrap().unwrap();
    }
    assert!(third.next().await.is_none());
    let steady = (3000 - 32) / (500 + 10);
    assert!(began.elapsed() >= Duration::from_secs(steady), "{:?}", began.elapsed());
}
