//! Listeners: those that read everything and check it, and those that stop reading.

use std::net::SocketAddr;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::{Duration, Instant};

use memchr::memmem;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::server::{FLOOD, SHARED};
use crate::Failure;

/// The receive buffer of one that will stop reading, so that little of what it is sent leaves the gateway.
const STALLED_BUFFER_BYTES: u32 = 4096;
const PATIENCE: Duration = Duration::from_secs(60);
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// What all listeners together have heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) lists: AtomicU64,
    pub(super) updates: AtomicU64,
    pub(super) flooded: AtomicU64,
    /// Changes that the server has announced; nobody can have heard of more.
    pub(super) announced: AtomicU64,
    /// Changes before those.
    pub(super) before: u64,
    wrong: Mutex<Option<String>>,
}

impl Heard {
    /// Nothing yet, after so many changes.
    pub(super) fn after(before: u64) -> Self {
        Self {
            before,
            ..Self::default()
        }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().get_or_insert(what);
    }

    /// The first thing that went wrong, if any did.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.wrong.lock().clone().map_or(Ok(()), Err)
    }
}

/// What a listener is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Reads, and watches the shared resource.
    Moving,
    /// The same, and watches what is flooded too.
    Flooded,
    /// Watches everything and stops reading after the first message.
    Stalled,
}

/// An open listen.
pub(super) struct Listener {
    socket: TcpStream,
    unread: Vec<u8>,
    role: Role,
}

impl Listener {
    /// Opens it and reads as far as the acknowledgement.
    pub(super) async fn open(address: SocketAddr, token: &str, role: Role) -> Result<Self, Failure> {
        let mut socket = connect(address, role == Role::Stalled).await?;
        let wrapped = |uri: &str| format!("mesh+alpha:{uri}");
        let mut uris = vec![wrapped(SHARED)];
        if role != Role::Moving {
            uris.push(wrapped(FLOOD));
        }
        let wanted = serde_json::json!({"toolsListChanged": true, "resourceSubscriptions": uris});
        let params = format!(r#"{META},"notifications":{wanted}"#);
        let request = request(address, token, "subscriptions/listen", &params, None);
        socket
            .write_all(&request)
            .await
            .map_err(|e| format!("cannot ask: {e}"))?;
        let mut listener = Self {
            socket,
            unread: Vec::new(),
            role,
        };
        let opened = async {
            let head = listener.until(b"\r\n\r\n").await?;
            if !head.starts_with(b"HTTP/1.1 200") {
                return Err(format!("refused: {}", String::from_utf8_lossy(&head)));
            }
            let first = listener.until(b"\n\n").await?;
            let granted = uris.iter().all(|uri| memmem::find(&first, uri.as_bytes()).is_some());
            if granted && memmem::find(&first, b"subscriptions/acknowledged").is_some() {
                return Ok(());
            }
            Err(format!("not granted: {}", String::from_utf8_lossy(&first)))
        };
        timeout(PATIENCE, opened)
            .await
            .map_err(|_| "a listen is not acknowledged")??;
        Ok(listener)
    }

    /// Reads to the end, checks everything, and counts it.
    pub(super) async fn listen(mut self, heard: Arc<Heard>) {
        let (mut lists, mut updates) = (0, 0);
        while let Ok(event) = self.until(b"\n\n").await {
            let has = |what: &str| memmem::find(&event, what.as_bytes()).is_some();
            let announced = heard.announced.load(Ordering::SeqCst);
            if has("notifications/tools/list_changed") {
                lists += 1;
                if lists > announced {
                    heard.wrong(format!("{lists} changes of the list after {announced} changes"));
                }
                heard.lists.fetch_add(1, Ordering::SeqCst);
            } else if has("\"mesh+alpha:file:///shared\"") {
                updates += 1;
                if updates > announced || !has(&format!("\"change\":{},", heard.before + updates)) {
                    heard.wrong(format!(
                        "update {updates} is another: {}",
                        String::from_utf8_lossy(&event)
                    ));
                }
                heard.updates.fetch_add(1, Ordering::SeqCst);
            } else if has("mesh+alpha:file:///flood/") && self.role == Role::Flooded {
                heard.flooded.fetch_add(1, Ordering::SeqCst);
            } else if has("data:") {
                heard.wrong(format!("nobody asked for this: {}", String::from_utf8_lossy(&event)));
            }
        }
    }

    async fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(at) = memmem::find(&self.unread, end) {
                let piece = self.unread.drain(..at + end.len()).collect();
                if self.unread.is_empty() {
                    self.unread = Vec::new();
                }
                return Ok(piece);
            }
            let read = self.socket.read_buf(&mut self.unread).await;
            if read.map_err(|e| format!("cannot read: {e}"))? == 0 {
                return Err("the stream ended".to_owned());
            }
        }
    }
}

async fn connect(address: SocketAddr, small: bool) -> Result<TcpStream, Failure> {
    let failure = |e: std::io::Error| format!("cannot connect: {e}");
    let socket = TcpSocket::new_v4().map_err(failure)?;
    if small {
        socket.set_recv_buffer_size(STALLED_BUFFER_BYTES).map_err(failure)?;
    }
    let stream = socket.connect(address).await.map_err(failure)?;
    stream.set_nodelay(true).map_err(failure)?;
    Ok(stream)
}

fn request(address: SocketAddr, token: &str, method: &str, params: &str, name: Option<&str>) -> Vec<u8> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
    let name = name.map(|name| format!("mcp-name: {name}\r\n")).unwrap_or_default();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nauthorization: Bearer {token}\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: {method}\r\n{name}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Somebody else's calls, one after the other on one connection, and how long each took.
pub(super) struct Probe {
    address: SocketAddr,
    socket: TcpStream,
    request: Vec<u8>,
}

impl Probe {
    pub(super) async fn open(address: SocketAddr, token: &str) -> Result<Self, Failure> {
        let params = format!(r#"{META},"name":"beta__echo","arguments":{{}}"#);
        Ok(Self {
            address,
            socket: connect(address, false).await?,
            request: request(address, token, "tools/call", &params, Some("beta__echo")),
        })
    }

    /// One call; its time.
    pub(super) async fn call(&mut self) -> Result<Duration, Failure> {
        let began = Instant::now();
        match timeout(Duration::from_secs(10), self.answered()).await {
            Ok(Ok(())) => Ok(began.elapsed()),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(format!("a call to {} is not answered within ten seconds", self.address)),
        }
    }

    async fn answered(&mut self) -> Result<(), Failure> {
        let failure = |e: std::io::Error| format!("a call broke off: {e}");
        self.socket.write_all(&self.request).await.map_err(failure)?;
        let mut answer = Vec::new();
        loop {
            if self.socket.read_buf(&mut answer).await.map_err(failure)? == 0 {
                return Err(format!("a call broke off: {}", String::from_utf8_lossy(&answer)));
            }
            let right = memmem::find(&answer, br#""text":"right""#).is_some();
            if right && answer.ends_with(b"}") {
                return Ok(());
            }
            if memmem::find(&answer, b"\"error\"").is_some() {
                return Err(format!("a call was refused: {}", String::from_utf8_lossy(&answer)));
            }
        }
    }
}
