//! A client that speaks HTTP/2 frame by frame, and a client that is legal beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::Edge;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header block of literal fields without Huffman coding and without the table.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields
        .iter()
        .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
        .collect()
}

pub(crate) fn get(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", path),
    ]
}

/// A client that has said hello.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) received: Vec<u8>,
}

impl Client {
    pub(crate) async fn hello(edge: &Edge) -> Self {
        let mut stream = edge.connect().await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        Self::over(stream)
    }

    /// A client that has sent what it begins with.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Sends, once.
    pub(crate) async fn send(&mut self, frames: &[Vec<u8>]) {
        let _cut = self.stream.write_all(&frames.concat()).await;
    }

    /// Reads what comes for a while; whether the connection is open still.
    pub(crate) async fn listen(&mut self, time: Duration) -> bool {
        let until = tokio::time::Instant::now() + time;
        loop {
            let read = tokio::time::timeout_at(until, self.stream.read_buf(&mut self.received)).await;
            match read {
                Err(_) => return true,
                Ok(Ok(1..)) => {}
                Ok(_) => return false,
            }
        }
    }

    /// Sends for as long as the server takes it; says how many bytes it took.
    pub(crate) async fn flood(&mut self, bytes: impl Iterator<Item = Vec<u8>>) -> usize {
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
    pub(crate) async fn first(&mut self, kinds: &[u8]) -> Option<(u8, Vec<u8>)> {
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
    pub(crate) async fn read(&mut self) {
        let read = self.stream.read_to_end(&mut self.received);
        let _closed_reset_or_open = tokio::time::timeout(Duration::from_millis(500), read).await;
    }

    /// The frames that have come, whole.
    pub(crate) fn frames(&self) -> Vec<(u8, u32, Vec<u8>)> {
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

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.stream.write_all(&frame(PING, 0, 0, &[0; 8])).await.is_err()
            || self.stream.read(&mut [0; 64]).await.map_or(true, |n| n == 0)
    }
}

/// The fields of a POST.
pub(crate) fn post(path: &str) -> Vec<(&str, &str)> {
    vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "h"),
        (":path", path),
    ]
}

/// A SETTINGS frame that gives streams this window.
pub(crate) fn window_of_streams(bytes: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat())
}

/// A WINDOW_UPDATE.
pub(crate) fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Somebody who calls while others attack: each call on a connection of its own, one after another.
pub(crate) struct Legal {
    answered: Arc<AtomicUsize>,
    calling: JoinHandle<()>,
}

impl Legal {
    pub(crate) fn beside(edge: &Edge) -> Self {
        let (address, answered) = (edge.address, Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&answered);
        let calling = tokio::spawn(async move {
            loop {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let call = b"GET /legal HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
                stream.write_all(call).await.unwrap();
                let answer = super::read_to_end(&mut stream).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { answered, calling }
    }

    /// Asserts that every call has been answered, and that three more are.
    pub(crate) async fn was_served(self) {
        let enough = self.answered.load(Ordering::Relaxed) + 3;
        while self.answered.load(Ordering::Relaxed) < enough {
            if self.calling.is_finished() {
                panic!("a legal call was not answered: {:?}", self.calling.await);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.calling.abort();
    }
}

/// What this process holds in memory.
pub(crate) fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
