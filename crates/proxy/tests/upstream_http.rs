//! The HTTP link against servers made of bytes: what is sent, how often, and what a failure says about the call.
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

/// What a server of this file does with one request.
enum Act {
    /// Writes these bytes and keeps the connection.
    Say(Vec<u8>),
    /// Writes these bytes and closes.
    SayAndClose(Vec<u8>),
    /// Closes without a word.
    Close,
    /// Writes these bytes and waits for the client to leave.
    SayAndHold(Vec<u8>),
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    left: AtomicUsize,
}

struct Server {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Server {
    /// `act` gets the number of the connection and of the request on it, from 0.
    async fn start(act: impl Fn(usize, usize) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (act, told) = (Arc::new(act), Arc::clone(&seen));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = told.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, number, Arc::clone(&act), Arc::clone(&told)));
            }
        });
        Self { address, seen }
    }

    fn link(&self) -> HttpLink {
        self.link_with(WireLimits::default())
    }

    fn link_with(&self, limits: WireLimits) -> HttpLink {
        HttpLink::new(&format!("http://{}/mcp", self.address), HeaderMap::new(), limits, None).unwrap()
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }

    async fn wait_left(&self, count: usize) {
        for _ in 0..200 {
            if self.seen.left.load(Ordering::SeqCst) >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the client did not leave");
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    act: Arc<impl Fn(usize, usize) -> Act + Send + Sync>,
    seen: Arc<Seen>,
) {
    for number in 0.. {
        if read_request(&mut stream).await.is_none() {
            seen.left.fetch_add(1, Ordering::SeqCst);
            return;
        }
        seen.requests.fetch_add(1, Ordering::SeqCst);
        match act(connection, number) {
            Act::Say(bytes) => stream.write_all(&bytes).await.unwrap(),
            Act::SayAndClose(bytes) => return stream.write_all(&bytes).await.unwrap(),
            Act::Close => return,
            Act::SayAndHold(bytes) => stream.write_all(&bytes).await.unwrap(),
        }
    }
}

/// Reads one request with `content-length`.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await.ok()? == 0 {
            return None;
        }
        text.push(byte[0]);
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(text).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

fn json(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into()
}

const EVENTS: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

async fn post(link: &HttpLink) -> Result<HttpAnswer, Refusal> {
    post_within(link, Duration::from_secs(10)).await
}

async fn post_within(link: &HttpLink, time: Duration) -> Result<HttpAnswer, Refusal> {
    link.post(HeaderMap::new(), Bytes::from_static(b"{}"), Instant::now() + time)
        .await
}

fn body(answer: Result<HttpAnswer, Refusal>) -> String {
    match answer.unwrap() {
        HttpAnswer::One { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Server::start(|_, number| Act::Say(json(&format!("{{\"n\":{number}}}")))).await;
    let link = server.link();
    assert_eq!(body(post(&link).await), r#"{"n":0}"#);
    assert_eq!(body(post(&link).await), r#"{"n":1}"#);
    assert_eq!((server.connections(), server.requests()), (1, 2));
}

#[tokio::test]
async fn calls_at_once_have_connections_of_their_own() {
    let server = Server::start(|_, _| Act::Say(json("{}"))).await;
    let link = server.link();
    let calls: Vec<_> = (0..20).map(|_| post(&link)).collect();
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(body(answer), "{}");
    }
    assert_eq!(server.requests(), 20);
}

#[tokio::test]
async fn a_server_that_hung_up_is_noticed_before_a_byte_is_sent() {
    let server = Server::start(|_, _| Act::SayAndClose(json("{}"))).await;
    let link = server.link();
    for _ in 0..5 {
        assert_eq!(body(post(&link).await), "{}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((server.connections(), server.requests()), (5, 5));
}

#[tokio::test]
async fn d41_a_call_whose_connection_dies_is_unknown_and_never_repeated() {
    // The first request on a connection is answered, the second is read and dropped.
    let server = Server::start(|_, number| if number == 0 { Act::Say(json("{}")) } else { Act::Close }).await;
    let link = server.link();
    assert_eq!(body(post(&link).await), "{}");
    let refusal = post(&link).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::ServerBroken, Executed::Unknown)
    );
    assert_eq!((server.connections(), server.requests()), (1, 2));
}

#[tokio::test]
async fn a_refused_connection_says_that_nothing_ran() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let link = HttpLink::new(
        &format!("http://{address}"),
        HeaderMap::new(),
        WireLimits::default(),
        None,
    )
    .unwrap();
    let refusal = post(&link).await.unwrap_err();
    assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
    assert!(refusal.message.contains("refused"), "{refusal}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_and_its_connection_closed() {
    let server = Server::start(|_, _| Act::SayAndHold(Vec::new())).await;
    let link = server.link();
    let refusal = post_within(&link, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(
        (refusal.reason, refusal.executed),
        (Reason::Deadline, Executed::Unknown)
    );
    server.wait_left(1).await;
}

#[tokio::test]
async fn f28_a_call_that_is_dropped_closes_its_connection() {
    let server = Server::start(|_, _| Act::SayAndHold(Vec::new())).await;
    let link = server.link();
    let dropped = tokio::time::timeout(Duration::from_millis(100), post(&link)).await;
    assert!(dropped.is_err());
    server.wait_left(1).await;
}

#[tokio::test]
async fn d08_an_answer_may_reach_the_limit_and_not_pass_it() {
    let limits = WireLimits {
        response_bytes_max: 1000,
        ..WireLimits::default()
    };
    for announced in [true, false] {
        for (length, fits) in [(999, true), (1000, true), (1001, false)] {
            let server = Server::start(move |_, _| {
                let body = "x".repeat(length);
                Act::Say(if announced {
                    json(&body)
                } else {
                    let head =
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                    format!("{head}{}{}0\r\n\r\n", chunk(&body[..500]), chunk(&body[500..])).into()
                })
            })
            .await;
            let answer = post(&server.link_with(limits)).await;
            if fits {
                assert_eq!(body(answer).len(), length);
            } else {
                let refusal = answer.unwrap_err();
                assert_eq!(
                    (refusal.reason, refusal.executed),
                    (Reason::ServerBroken, Executed::Unknown)
                );
                assert_eq!(refusal.rule.as_deref(), Some("limit/response"));
            }
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_is_refused() {
    let server = Server::start(|_, _| {
        Act::Say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx".to_vec())
    })
    .await;
    let refusal = post(&server.link()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::ServerBroken);
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let server = Server::start(|_, _| {
        Act::Say(b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".to_vec())
    })
    .await;
    let HttpAnswer::Empty { status, .. } = post(&server.link()).await.unwrap() else {
        panic!("a body")
    };
    assert_eq!(status, 307);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn events_come_one_by_one_and_the_connection_is_used_again() {
    let server = Server::start(|_, _| {
        let events = [
            chunk("data: {\"a\":1}\n\n"),
            chunk(": keep-alive\n\ndata: {\"a\""),
            chunk(":2}\n\n"),
            "0\r\n\r\n".into(),
        ];
        Act::Say(format!("{EVENTS}{}", events.concat()).into())
    })
    .await;
    let link = server.link();
    for _ in 0..3 {
        let HttpAnswer::Stream { events, .. } = post(&link).await.unwrap() else {
            panic!("no stream")
        };
        let events: Vec<_> = events.map(|event| event.unwrap().data).collect().await;
        assert_eq!(events, [br#"{"a":1}"#.to_vec(), br#"{"a":2}"#.to_vec()]);
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
}

#[tokio::test]
async fn a_finished_stream_gives_its_connection_back_once_the_server_ends_it() {
    // The end of the stream comes with the next bytes the server writes, here at once but in a piece of its own.
    let server = Server::start(|_, _| Act::Say(format!("{EVENTS}{}0\r\n\r\n", chunk("data: 1\n\n")).into())).await;
    let link = server.link();
    for _ in 0..3 {
        let HttpAnswer::Stream { mut events, .. } = post(&link).await.unwrap() else {
            panic!("no stream")
        };
        assert_eq!(events.next().await.unwrap().unwrap().data, b"1");
        events.finish();
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
}

#[tokio::test]
async fn a_finished_stream_that_the_server_leaves_open_is_closed_in_time() {
    let server = Server::start(|_, _| Act::SayAndHold(format!("{EVENTS}{}", chunk("data: 1\n\n")).into())).await;
    let link = server.link();
    let HttpAnswer::Stream { mut events, .. } = post(&link).await.unwrap() else {
        panic!("no stream")
    };
    assert_eq!(events.next().await.unwrap().unwrap().data, b"1");
    events.finish();
    let HttpAnswer::Stream { mut events, .. } = post(&link).await.unwrap() else {
        panic!("no stream")
    };
    assert_eq!(events.next().await.unwrap().unwrap().data, b"1");
    assert_eq!(server.connections(), 2);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    link.sweep();
    server.wait_left(1).await;
}

#[tokio::test]
async fn dropped_events_close_the_connection() {
    let server = Server::start(|_, _| Act::SayAndHold(format!("{EVENTS}{}", chunk("data: 1\n\n")).into())).await;
    let HttpAnswer::Stream { mut events, .. } = post(&server.link()).await.unwrap() else {
        panic!("no stream")
    };
    assert_eq!(events.next().await.unwrap().unwrap().data, b"1");
    drop(events);
    server.wait_left(1).await;
}

#[tokio::test]
async fn d08_an_event_over_the_limit_ends_the_stream() {
    let limits = WireLimits {
        event_bytes_max: 100,
        ..WireLimits::default()
    };
    let server = Server::start(|_, _| {
        Act::SayAndHold(format!("{EVENTS}{}", chunk(&format!("data: {}\n\n", "x".repeat(200)))).into())
    })
    .await;
    let HttpAnswer::Stream { mut events, .. } = post(&server.link_with(limits)).await.unwrap() else {
        panic!("no stream")
    };
    assert_eq!(events.next().await.unwrap().unwrap_err().reason, Reason::ServerBroken);
    assert!(events.next().await.is_none());
    server.wait_left(1).await;
}

#[tokio::test]
async fn a_stream_cut_off_in_the_middle_is_an_error() {
    let server = Server::start(|_, _| Act::SayAndClose(format!("{EVENTS}{}", chunk("data: 1\n\n")).into())).await;
    let HttpAnswer::Stream { mut events, .. } = post(&server.link()).await.unwrap() else {
        panic!("no stream")
    };
    assert_eq!(events.next().await.unwrap().unwrap().data, b"1");
    assert_eq!(events.next().await.unwrap().unwrap_err().executed, Executed::Unknown);
}

#[tokio::test]
async fn a_server_that_keeps_connections_briefly_is_believed() {
    let server = Server::start(|_, _| {
        Act::Say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\n{}".to_vec())
    })
    .await;
    let link = server.link();
    post(&link).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    post(&link).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[test]
fn a_header_of_the_hop_cannot_be_configured() {
    for name in ["host", "content-length", "transfer-encoding", "accept-encoding"] {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), "x".parse().unwrap())]);
        let refusal = HttpLink::new("http://127.0.0.1:1/mcp", headers, WireLimits::default(), None).unwrap_err();
        assert!(refusal.message.contains(name), "{refusal}");
    }
}

#[test]
fn only_absolute_http_urls_are_servers() {
    for url in ["/mcp", "ftp://host/", "host:80", "http://"] {
        assert!(
            HttpLink::new(url, HeaderMap::new(), WireLimits::default(), None).is_err(),
            "{url}"
        );
    }
    for url in [
        "https://example.com/mcp?x=1",
        "http://[::1]:8000",
        "http://user@host/mcp",
    ] {
        assert!(
            HttpLink::new(url, HeaderMap::new(), WireLimits::default(), None).is_ok(),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_tls_server_must_prove_its_name() {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = issued.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            while stream.read(&mut request).await.is_ok_and(|count| count > 0) {
                stream.write_all(&json("{}")).await.unwrap();
            }
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = meshgate_proxy::upstream::http::client_config(roots).unwrap();
    let link = |host: &str, tls| {
        HttpLink::new(
            &format!("https://{host}:{port}/mcp"),
            HeaderMap::new(),
            WireLimits::default(),
            tls,
        )
        .unwrap()
    };
    assert_eq!(body(post(&link("localhost", Some(Arc::clone(&trusting)))).await), "{}");
    // Another name, and roots that do not know it: refused before anything was sent.
    for wrong in [link("127.0.0.1", Some(trusting)), link("localhost", None)] {
        let refusal = post(&wrong).await.unwrap_err();
        assert_eq!((refusal.reason, refusal.executed), (Reason::ServerAway, Executed::No));
        assert!(refusal.message.contains("tls"), "{refusal}");
    }
}
