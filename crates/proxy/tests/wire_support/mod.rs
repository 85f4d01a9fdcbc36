//! A bound listener with a service that says what it saw, and a client that speaks raw bytes.
#![allow(dead_code)] // each test binary uses its part

pub(crate) mod h2;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use meshgate_proxy::drain::{Drained, Drainer, drain};
use meshgate_proxy::limits::Limits;
use meshgate_proxy::listen::{Bound, Caps, Connection, Listen, TlsSource, check_head, read_body};
use meshgate_proxy::refusal::Reason;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// A request that reached the service: its line, and its body or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) line: String,
    pub(crate) body: Result<Vec<u8>, Reason>,
}

/// A listener that runs, and what has reached its service.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    pub(crate) caps: Arc<Caps>,
    pub(crate) reached: Arc<Mutex<Vec<Reached>>>,
    drainer: Drainer,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Edge {
    pub(crate) fn start(limits: Limits) -> Self {
        Self::start_tls(limits, None)
    }

    pub(crate) fn start_tls(limits: Limits, tls: Option<TlsSource>) -> Self {
        let limits = Arc::new(limits);
        let caps = Caps::new(&limits);
        let listen = Listen {
            address: "127.0.0.1:0".parse().unwrap(),
            cover: tls.into(),
        };
        let bound = Bound::bind(listen, Arc::clone(&limits), Arc::clone(&caps)).unwrap();
        let address = bound.local_address();
        let (drainer, watch) = drain();
        let reached = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&reached);
        let service = move |request: Request<Incoming>, connection: Arc<Connection>| {
            answer(request, connection, Arc::clone(&limits), Arc::clone(&seen))
        };
        let serving = tokio::spawn(bound.serve(service, watch));
        Self {
            address,
            caps,
            reached,
            drainer,
            serving,
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.reached.lock().iter().map(|reached| reached.line.clone()).collect()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends bytes on a new connection and reads until the server closes.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_to_end(&mut stream).await
    }

    pub(crate) async fn drain(self, deadline: Duration) -> Drained {
        let drained = self.drainer.drain(deadline).await;
        self.serving.await.unwrap().unwrap();
        drained
    }
}

/// How long the answer of `/big` is.
pub(crate) const BIG: usize = 8 << 20;

/// `/slow` answers after half a second, `/hang` never, `/unread` never and without reading, `/megabyte` and `/big` at
/// length; all others tell the length of their body.
async fn answer(
    request: Request<Incoming>,
    connection: Arc<Connection>,
    limits: Arc<Limits>,
    seen: Arc<Mutex<Vec<Reached>>>,
) -> Response<Full<Bytes>> {
    let _unproven = match connection.unproven() {
        Ok(unproven) => unproven,
        Err(_) => return plain(StatusCode::TOO_MANY_REQUESTS, "too many"),
    };
    let (parts, body) = request.into_parts();
    if let Err(refusal) = check_head(&parts, &limits) {
        return plain(refusal.reason.row().0, &refusal.message);
    }
    if parts.uri.path() == "/unread" {
        std::future::pending::<()>().await;
    }
    let line = format!("{} {}", parts.method, parts.uri.path());
    let body = read_body(body, limits.body_bytes, &limits)
        .await
        .map_err(|refusal| refusal.reason);
    seen.lock().push(Reached {
        line,
        body: body.clone().map(|body| body.to_vec()),
    });
    match parts.uri.path() {
        "/slow" => tokio::time::sleep(Duration::from_millis(500)).await,
        "/hang" => std::future::pending().await,
        "/prove" => connection.prove(),
        "/megabyte" => return plain(StatusCode::OK, &"x".repeat(1 << 20)),
        "/big" => return plain(StatusCode::OK, &"x".repeat(BIG)),
        _ => {}
    }
    match body {
        Ok(body) => plain(StatusCode::OK, &format!("{} bytes", body.len())),
        Err(Reason::TooLarge) => plain(StatusCode::PAYLOAD_TOO_LARGE, ""),
        Err(Reason::RequestTimeout) => plain(StatusCode::REQUEST_TIMEOUT, ""),
        Err(_) => plain(StatusCode::BAD_REQUEST, ""),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .body(Full::from(text.to_owned()))
        .unwrap()
}

/// Everything until the server closes; fails when it does not within ten seconds.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    read.expect("the server did not close")
        .expect("the server reset the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer with a content length.
pub(crate) async fn read_answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    return text;
                }
            }
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed after {text:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .expect("no answer")
}

/// The status lines of a sequence of answers.
pub(crate) fn statuses(answers: &str) -> Vec<u16> {
    answers
        .split("HTTP/1.")
        .skip(1)
        .map(|answer| answer.split(' ').nth(1).unwrap().parse().unwrap())
        .collect()
}
