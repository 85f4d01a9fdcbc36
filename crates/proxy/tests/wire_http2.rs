//! D-39: floods of legal HTTP/2 frames end their connection; what an honest client does does not.
//!
//! The attacks are raw frames over a real socket; the honest client is hyper's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshgate_proxy::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire_support::{BIG, Edge};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literal fields without Huffman coding and without the table.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
        .collect()
}

fn get(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", path),
    ]
}

/// A client that has said hello.
struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    async fn hello(edge: &Edge) -> Self {
        let mut stream = edge.connect().await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends for as long as the server takes it; says how many bytes it took.
    async fn flood(&mut self, bytes: impl Iterator<Item = Vec<u8>>) -> usize {
        let mut sent = 0;
        for bytes in bytes {
            if self.stream.write_all(&bytes).await.is_err() {
                break;
            }
            sent += bytes.len();
            tokio::task::yield_now().await;
        }
        sent
    }

    /// The first frame of these kinds; `None` when the server closes before it, or sends nothing for long.
    async fn first(&mut self, kinds: &[u8]) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((kind, _, payload)) = self.frames().into_iter().find(|(kind, ..)| kinds.contains(kind)) {
                return Some((kind, payload));
            }
            let read = self.stream.read_buf(&mut self.received);
            if !matches!(tokio::time::timeout(Duration::from_secs(5), read).await, Ok(Ok(1..))) {
                return None;
            }
        }
    }

    /// Reads until the server closes, for a while at most.
    async fn read(&mut self) {
        let read = self.stream.read_to_end(&mut self.received);
        let _closed_reset_or_open = tokio::time::timeout(Duration::from_millis(500), read).await;
    }

    /// The frames that have come, whole.
    fn frames(&self) -> Vec<(u8, u32, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut rest = &self.received[..];
        while rest.len() >= 9 {
            let length = usize::from(rest[0]) << 16 | usize::from(rest[1]) << 8 | usize::from(rest[2]);
            let stream = u32::from_be_bytes(rest[5..9].try_into().unwrap());
            let Some(payload) = rest.get(9..9 + length) else { break };
            frames.push((rest[3], stream, payload.to_vec()));
            rest = &rest[9 + length..];
        }
        frames
    }

    async fn is_closed(&mut self) -> bool {
        self.stream.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_err()
            || self.stream.read(&mut [0; 64]).await.map_or(true, |n| n == 0)
    }
}

/// Floods, and asserts that this ended the connection. Who ended it does not matter: h2 knows some floods too.
async fn is_ended(what: &str, flood: impl Iterator<Item = Vec<u8>>) -> Edge {
    let edge = Edge::start(Limits::default());
    let mut client = Client::hello(&edge).await;
    client.flood(flood).await;
    client.read().await;
    assert!(client.is_closed().await, "{what}: still open");
    edge
}

#[tokio::test]
async fn d39_a046_rapid_reset() {
    let attack = (0..10_000_u32).flat_map(|i| {
        let stream = 2 * i + 1;
        [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/hang"))),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
    });
    let edge = is_ended("rapid reset", attack).await;
    assert!(
        edge.lines().len() <= 110,
        "{} requests reached the service",
        edge.lines().len()
    );
}

#[tokio::test]
async fn d39_a047_a_header_block_that_does_not_end() {
    let begin = frame(HEADERS, 0, 1, &block(&get("/")));
    let more = (0..6400).map(|_| frame(CONTINUATION, 0, 1, &[0; 16_384]));
    is_ended("continuation", std::iter::once(begin.clone()).chain(more)).await;
    let empty = (0..6400).map(|_| frame(CONTINUATION, 0, 1, &[]));
    is_ended("empty continuation", std::iter::once(begin).chain(empty)).await;
}

#[tokio::test]
async fn d39_a049_frames_that_carry_nothing() {
    let one = |kind, stream, payload: &'static [u8]| (0..2000).map(move |_| frame(kind, 0, stream, payload));
    is_ended("settings", one(SETTINGS, 0, &[])).await;
    is_ended("ping", one(PING, 0, &[0; 8])).await;
    is_ended("priority", one(PRIORITY, 1, &[0, 0, 0, 3, 16])).await;
    is_ended("window update", one(WINDOW_UPDATE, 0, &[0, 0, 0, 1])).await;
    is_ended("unknown", one(0x77, 0, &[])).await;
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", "/"),
    ];
    let begin = || std::iter::once(frame(HEADERS, END_HEADERS, 1, &block(&post)));
    is_ended("empty data", begin().chain(one(DATA, 1, &[]))).await;
    is_ended("a051 data of one byte", begin().chain(one(DATA, 1, b"x"))).await;
}

#[tokio::test]
async fn d39_a049_acknowledgements_nobody_asked_for() {
    let acks = (0..2000).map(|_| frame(PING, 1, 0, &[0; 8]));
    is_ended("ping acknowledgements", acks).await;
}

#[tokio::test]
async fn d39_a048_header_bombs_do_not_hold_memory() {
    let edge = Edge::start(Limits::default());
    let before = resident_bytes();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::hello(&edge).await;
        // One small field enters the table; then each stream names it as often as a header list may hold.
        let bomb = (0..200_u32).map(|i| {
            let first = if i == 0 {
                [&[0x40][..], b"\x01a\x01b"].concat()
            } else {
                Vec::new()
            };
            let post = [
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "h"),
                (":path", "/hang"),
            ];
            frame(
                HEADERS,
                END_HEADERS,
                2 * i + 1,
                &[first, block(&post), vec![0x80 | 62; 230]].concat(),
            )
        });
        client.flood(bomb).await;
        clients.push(client);
    }
    for client in &mut clients {
        assert!(
            client.first(&[HEADERS]).await.is_some(),
            "streams over the limit are answered at once"
        );
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 40 << 20, "20 connections hold {} MiB", grown >> 20);
    assert_eq!(edge.lines(), Vec::<String>::new());
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Sends one request as a raw header block; the first HEADERS or RST_STREAM or GOAWAY that comes back.
async fn answer_to(fields: &[(&str, &str)]) -> (u8, Vec<u8>) {
    let edge = Edge::start(Limits::default());
    let mut client = Client::hello(&edge).await;
    client
        .flood(std::iter::once(frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            1,
            &block(fields),
        )))
        .await;
    client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.expect("no answer")
}

/// `:status: 400` begins a block as this index of the static table.
const STATUS_400: u8 = 0x80 | 12;
const STATUS_200: u8 = 0x80 | 8;

#[tokio::test]
async fn d01_a053_heads_that_http2_forbids() {
    let with = |field: (&'static str, &'static str)| [get("/"), vec![field]].concat();
    assert_eq!(answer_to(&get("/")).await.1[0], STATUS_200);
    for field in [
        ("Upper", "x"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("a", "b\r\nc: d"),
        (":path", "/other"),
        ("te", "gzip"),
    ] {
        assert_ne!(answer_to(&with(field)).await.0, HEADERS, "{field:?}");
    }
    for field in [("host", "evil"), ("x_user", "root")] {
        let (kind, payload) = answer_to(&with(field)).await;
        assert_eq!((kind, payload[0]), (HEADERS, STATUS_400), "{field:?}");
    }
    let lengths = [with(("content-length", "0")), vec![("content-length", "0")]].concat();
    let (kind, payload) = answer_to(&lengths).await;
    assert!(kind != HEADERS || payload[0] == STATUS_400, "two lengths");
    let (kind, payload) = answer_to(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]).await;
    assert!(kind != HEADERS || payload[0] == STATUS_400, "no authority");
}

#[tokio::test]
async fn d08_a_head_may_have_as_many_fields_as_its_limit() {
    for (fields, status) in [(63, STATUS_200), (64, STATUS_200), (65, STATUS_400)] {
        let (kind, payload) = answer_to(&[get("/"), vec![("a", "b"); fields]].concat()).await;
        assert_eq!((kind, payload[0]), (HEADERS, status), "{fields} fields");
    }
}

#[tokio::test]
async fn a_content_length_that_lies_breaks_the_body_off() {
    let edge = Edge::start(Limits::default());
    let mut client = Client::hello(&edge).await;
    let post = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", "/"),
        ("content-length", "9"),
    ];
    let frames = [
        frame(HEADERS, END_HEADERS, 1, &block(&post)),
        frame(DATA, END_STREAM, 1, b"hello"),
    ];
    client.flood(frames.into_iter()).await;
    client.first(&[HEADERS, RST_STREAM]).await.expect("no answer");
    assert!(
        edge.reached.lock().iter().all(|reached| reached.body.is_err()),
        "{:?}",
        edge.reached.lock()
    );
}

async fn honest(edge: &Edge) -> SendRequest<Full<Bytes>> {
    let io = TokioIo::new(edge.connect().await);
    let (send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .adaptive_window(true)
        .handshake(io)
        .await
        .unwrap();
    tokio::spawn(connection);
    send
}

fn request(path: &str) -> Request<Full<Bytes>> {
    Request::post(format!("http://h{path}"))
        .body(Full::from("hello"))
        .unwrap()
}

#[tokio::test]
async fn an_honest_client_may_download_much() {
    let edge = Edge::start(Limits::default());
    let mut send = honest(&edge).await;
    for _ in 0..8 {
        let response = send.send_request(request("/big")).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), BIG);
    }
    assert_eq!(edge.caps.refused().counts().map(|(_, count)| count), [0; 5]);
}

#[tokio::test]
async fn an_honest_client_may_give_up_all_it_has_open() {
    let edge = Edge::start(Limits::default());
    let mut send = honest(&edge).await;
    send.send_request(request("/prove")).await.unwrap();
    let open: Vec<_> = (0..80)
        .map(|_| tokio::spawn(send.send_request(request("/hang"))))
        .collect();
    while edge.lines().len() < 81 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    open.iter().for_each(tokio::task::JoinHandle::abort);
    let response = send.send_request(request("/after")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn few_streams_are_open_before_anybody_is_known() {
    let edge = Edge::start(Limits::default());
    let mut send = honest(&edge).await;
    let _open: Vec<_> = (0..16)
        .map(|_| tokio::spawn(send.send_request(request("/hang"))))
        .collect();
    while edge.lines().len() < 16 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = send.send_request(request("/x")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(edge.lines().len(), 16);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_the_connection() {
    let edge = Edge::start(Limits {
        write_stall_time: Duration::from_millis(400),
        ..Limits::default()
    });
    let mut client = Client::hello(&edge).await;
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let request = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get("/big")));
    client.flood([no_window, request].into_iter()).await;
    let closed = async {
        let mut bytes = [0; 1024];
        while client.stream.read(&mut bytes).await.is_ok_and(|n| n > 0) {}
    };
    tokio::time::timeout(Duration::from_secs(5), closed)
        .await
        .expect("still open");
    assert_eq!(edge.caps.refused().counts()[4], ("slow", 1));
}

#[tokio::test]
async fn a_drain_says_goaway_and_lets_streams_finish() {
    let edge = Edge::start(Limits::default());
    let mut send = honest(&edge).await;
    let slow = tokio::spawn(send.send_request(request("/slow")));
    while edge.lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let drained = edge.drain(Duration::from_secs(5)).await;
    assert_eq!((drained.finished, drained.forced), (1, 0));
    assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
    assert!(send.send_request(request("/late")).await.is_err());
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let edge = Edge::start(Limits {
        idle_time: Duration::from_millis(200),
        ..Limits::default()
    });
    let io = TokioIo::new(edge.connect().await);
    let (_send, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake::<_, Empty<Bytes>>(io)
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(5), connection)
        .await
        .expect("still open")
        .unwrap();
}
