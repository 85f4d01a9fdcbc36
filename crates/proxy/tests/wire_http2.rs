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

use crate::wire_support::h2::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Legal, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get, post, resident_bytes,
};
use crate::wire_support::{BIG, Edge};

/// Floods, and asserts that this ended the connection. Who ended it does not matter: h2 knows some floods too.
async fn is_ended(what: &str, flood: impl Iterator<Item = Vec<u8>>) -> Edge {
    let edge = Edge::start(Limits::default());
    let legal = Legal::beside(&edge);
    let mut client = Client::hello(&edge).await;
    client.flood(flood).await;
    client.read().await;
    assert!(client.is_closed().await, "{what}: still open");
    legal.was_served().await;
    edge
}

/// Lines that are not those of whoever calls beside an attack.
fn attacks(edge: &Edge) -> Vec<String> {
    let mut lines = edge.lines();
    lines.retain(|line| line != "GET /legal");
    lines
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
    let reached = attacks(&edge).len();
    assert!(reached <= 110, "{reached} requests reached the service");
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
    let begin = || std::iter::once(frame(HEADERS, END_HEADERS, 1, &block(&post("/"))));
    is_ended("empty data", begin().chain(one(DATA, 1, &[]))).await;
    is_ended(
        "window update of a stream",
        begin().chain(one(WINDOW_UPDATE, 1, &[0, 0, 0, 1])),
    )
    .await;
}

#[tokio::test]
async fn d39_a051_data_of_one_byte() {
    let begin = std::iter::once(frame(HEADERS, END_HEADERS, 1, &block(&post("/"))));
    let bytes = (0..2000).map(|_| frame(DATA, 0, 1, b"x"));
    is_ended("data of one byte", begin.chain(bytes)).await;
}

#[tokio::test]
async fn d39_a049_acknowledgements_nobody_asked_for() {
    let acks = (0..2000).map(|_| frame(PING, 1, 0, &[0; 8]));
    is_ended("ping acknowledgements", acks).await;
}

#[tokio::test]
async fn d39_a048_header_bombs_do_not_hold_memory() {
    // So often the field that is in the table is named: as often as a head may, and as the attack does it.
    for (references, connections) in [(230, 20), (450, 100)] {
        let edge = Edge::start(Limits::default());
        let before = resident_bytes();
        let mut clients = Vec::new();
        for _ in 0..connections {
            let mut client = Client::hello(&edge).await;
            let bomb = (0..200_u32).map(|i| {
                let first = if i == 0 {
                    [&[0x40][..], b"\x01a\x01b"].concat()
                } else {
                    Vec::new()
                };
                let fields = [first, block(&post("/hang")), vec![0x80 | 62; references]].concat();
                frame(HEADERS, END_HEADERS, 2 * i + 1, &fields)
            });
            client.flood(bomb).await;
            clients.push(client);
        }
        for client in &mut clients {
            assert!(
                client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.is_some(),
                "streams over the limit are answered at once"
            );
        }
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "{connections} connections hold {} MiB", grown >> 20);
        assert_eq!(edge.lines(), Vec::<String>::new());
        Legal::beside(&edge).was_served().await;
    }
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
/// `:status: 431` is not in that table.
const STATUS_431: [u8; 5] = [0x40 | 8, 0x80 | 3, 0x69, 0x90, 0xff];

#[tokio::test]
async fn d01_a053_heads_that_http2_forbids() {
    let with = |field: (&'static str, &'static str)| [get("/"), vec![field]].concat();
    assert_eq!(answer_to(&get("/")).await.1[0], STATUS_200);
    for field in [
        ("Upper", "x"),
        ("connection", "close"),
        ("connection", "mcp-name"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("a", "b\r\nc: d"),
        ("a", "b\nc"),
        ("a", "b\rc"),
        ("a", "b\0c"),
        ("a b", "c"),
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", "/other"),
        (":unknown", "x"),
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
async fn d39_a053_padding_that_is_longer_than_its_frame() {
    const PADDED: u8 = 8;
    let padded = |payload: &[u8]| [&[200], payload].concat();
    let head = |flags| frame(HEADERS, END_HEADERS | flags, 1, &padded(&block(&get("/"))));
    let begin = frame(HEADERS, END_HEADERS, 1, &block(&post("/")));
    for attack in [
        vec![head(PADDED | END_STREAM)],
        vec![begin.clone(), frame(DATA, PADDED | END_STREAM, 1, &padded(b"hello"))],
        vec![begin, frame(DATA, PADDED | END_STREAM, 1, &[])],
    ] {
        let edge = Edge::start(Limits::default());
        let mut client = Client::hello(&edge).await;
        client.send(&attack).await;
        assert_eq!(client.first(&[HEADERS, GOAWAY]).await.expect("no answer").0, GOAWAY);
        assert!(edge.reached.lock().iter().all(|reached| reached.body.is_err()));
    }
}

#[tokio::test]
async fn d08_a_head_may_have_as_many_fields_as_its_limit() {
    for (fields, status) in [(63, &[STATUS_200][..]), (64, &[STATUS_200]), (65, &STATUS_431)] {
        let (kind, payload) = answer_to(&[get("/"), vec![("a", "b"); fields]].concat()).await;
        assert_eq!((kind, &payload[..status.len()]), (HEADERS, status), "{fields} fields");
    }
}

#[tokio::test]
async fn d39_a053_a_content_length_that_lies_breaks_the_body_off() {
    for (length, bodies) in [
        ("9", vec!["hello"]),
        ("4", vec!["hello"]),
        ("4", vec!["hel", "lo"]),
        ("5", vec![""]),
    ] {
        let edge = Edge::start(Limits::default());
        let mut client = Client::hello(&edge).await;
        let fields = [post("/"), vec![("content-length", length)]].concat();
        let mut frames = vec![frame(HEADERS, END_HEADERS, 1, &block(&fields))];
        let last = bodies.len() - 1;
        frames.extend(bodies.iter().enumerate().map(|(i, body)| {
            let flags = if i == last { END_STREAM } else { 0 };
            frame(DATA, flags, 1, body.as_bytes())
        }));
        client.send(&frames).await;
        client.first(&[HEADERS, RST_STREAM, GOAWAY]).await.expect("no answer");
        assert!(
            edge.reached.lock().iter().all(|reached| reached.body.is_err()),
            "{length} {bodies:?}: {:?}",
            edge.reached.lock()
        );
    }
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
    assert_eq!(edge.caps.refused().counts().map(|(_, count)| count), [0; 6]);
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
