//! A client that sends the bytes it is given and shows what came back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A whole answer.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The data of each event, when the body is an event stream; the body itself otherwise.
    pub fn messages(&self) -> Vec<String> {
        if self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            self.text().split("\n\n").filter_map(event_data).collect()
        } else {
            vec![self.text().to_owned()]
        }
    }
}

/// A request as text, with `Host`, `Content-Length` and `Connection: close` filled in.
pub fn request(verb: &str, address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{verb} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if !body.is_empty() || verb == "POST" {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// The headers that a modern request needs beside its own.
pub const MODERN_HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2026-07-28"),
];

/// Posts a body and reads the whole answer.
pub async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> RawAnswer {
    exchange(address, &request("POST", address, path, headers, body)).await
}

/// Sends bytes and reads until the answer is whole, at most ten seconds.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let mut connection = RawConnection::open(address).await;
    connection.send(bytes).await;
    connection.answer().await.expect("an answer")
}

/// One connection, for tests that leave early, send slowly or read event by event.
pub struct RawConnection {
    socket: TcpStream,
    unread: Vec<u8>,
    chunked: bool,
    events: Vec<u8>,
}

impl RawConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("nodelay");
        Self {
            socket,
            unread: Vec::new(),
            chunked: false,
            events: Vec::new(),
        }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.socket.write_all(bytes).await;
    }

    /// Reads a whole answer; none when the connection ended before one.
    pub async fn answer(&mut self) -> Option<RawAnswer> {
        tokio::time::timeout(Duration::from_secs(10), self.whole())
            .await
            .expect("an answer within ten seconds")
    }

    /// Reads the head of an answer, for [`RawConnection::next_event`] to go on from.
    pub async fn head(&mut self) -> Option<RawAnswer> {
        let end = loop {
            match find(&self.unread, b"\r\n\r\n") {
                Some(end) => break end,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head: Vec<u8> = self.unread.drain(..end + 4).collect();
        let text = String::from_utf8(head).expect("a head in ASCII");
        let mut lines = text.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().expect("a status");
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let answer = RawAnswer {
            status,
            headers,
            body: Vec::new(),
        };
        self.chunked = answer
            .header("transfer-encoding")
            .is_some_and(|coding| coding.contains("chunked"));
        Some(answer)
    }

    /// The data of the next event of an event stream; none at its end. Waits at most ten seconds.
    pub async fn next_event(&mut self) -> Option<String> {
        let next = async {
            loop {
                if let Some(end) = find(&self.events, b"\n\n") {
                    let event: Vec<u8> = self.events.drain(..end + 2).collect();
                    match event_data(&String::from_utf8(event).expect("an event in UTF-8")) {
                        Some(data) => return Some(data),
                        None => continue,
                    }
                }
                let piece = self.piece().await?;
                self.events.extend(piece);
            }
        };
        tokio::time::timeout(Duration::from_secs(10), next)
            .await
            .expect("an event or the end within ten seconds")
    }

    async fn whole(&mut self) -> Option<RawAnswer> {
        let mut answer = self.head().await?;
        let length: Option<usize> = answer
            .header("content-length")
            .map(|length| length.parse().expect("a length"));
        if self.chunked {
            while let Some(piece) = self.piece().await {
                answer.body.extend(piece);
            }
        } else if let Some(length) = length {
            while self.unread.len() < length && self.more().await {}
            answer.body = self.unread.drain(..length.min(self.unread.len())).collect();
        } else if answer.status >= 200 && answer.status != 204 && answer.status != 304 {
            while self.more().await {}
            answer.body = std::mem::take(&mut self.unread);
        }
        Some(answer)
    }

    /// The next piece of a body: a chunk, or whatever arrives.
    async fn piece(&mut self) -> Option<Vec<u8>> {
        if !self.chunked {
            if self.unread.is_empty() && !self.more().await {
                return None;
            }
            return Some(std::mem::take(&mut self.unread));
        }
        let line = loop {
            match find(&self.unread, b"\r\n") {
                Some(end) => break end,
                None if self.more().await => {}
                None => return None,
            }
        };
        let size = std::str::from_utf8(&self.unread[..line]).expect("a chunk size");
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).expect("a chunk size");
        while self.unread.len() < line + 2 + size + 2 && self.more().await {}
        let chunk = self.unread.get(line + 2..line + 2 + size)?.to_vec();
        self.unread.drain(..(line + 2 + size + 2).min(self.unread.len()));
        (size > 0).then_some(chunk)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        match self.socket.read(&mut buffer).await {
            Ok(read) if read > 0 => {
                self.unread.extend_from_slice(&buffer[..read]);
                true
            }
            _ => false,
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn event_data(event: &str) -> Option<String> {
    let data: Vec<&str> = event
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    (!data.is_empty()).then(|| data.join("\n"))
}
