//! HTTP/1.1 on plain sockets, as much of it as two peers and a gateway need, and event streams.
//!
//! Spelled here by hand so that nothing of the gateway's own wire code is on both sides of an exchange.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;

use crate::Failure;

/// A peer that says nothing for this long has failed.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The head of a message and the way to its body.
pub(crate) struct Arrived {
    /// The request line or the status line.
    pub(crate) first: String,
    headers: Vec<(String, String)>,
    body: Body,
}

/// What is left of a body.
struct Body {
    from: BufReader<TcpStream>,
    left: Left,
}

enum Left {
    Bytes(usize),
    Chunks,
    UntilClose,
    Nothing,
}

pub(crate) fn connect(authority: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(authority).map_err(|e| format!("cannot connect to {authority}: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(SILENCE_MAX)).map_err(|e| e.to_string())?;
    Ok(stream)
}

impl Arrived {
    /// Reads a head. A request without a length has no body; a response without one ends with its connection.
    pub(crate) fn read(stream: TcpStream, is_response: bool) -> Result<Self, Failure> {
        let mut from = BufReader::new(stream);
        let first = line(&mut from)?.ok_or("the connection ended before a head")?;
        let mut headers = Vec::new();
        loop {
            let field = line(&mut from)?.ok_or("the connection ended in a head")?;
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':').ok_or("a header field without a colon")?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let chunked = find("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let left = match find("content-length").and_then(|v| v.parse().ok()) {
            _ if chunked => Left::Chunks,
            Some(bytes) => Left::Bytes(bytes),
            None if is_response => Left::UntilClose,
            None => Left::Nothing,
        };
        Ok(Self {
            first,
            headers,
            body: Body { from, left },
        })
    }

    /// The value of a header; the name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        let status = self.first.split(' ').nth(1);
        status.and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// Whether the body is a stream of events.
    pub(crate) fn is_events(&self) -> bool {
        self.header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The whole body.
    pub(crate) fn whole(&mut self) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        while let Some(piece) = self.body.piece()? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// The events of the body.
    pub(crate) fn events(self) -> Events {
        Events {
            body: self.body,
            read: Vec::new(),
        }
    }

    /// The connection, for whoever answers on it.
    pub(crate) fn connection(&self) -> Result<TcpStream, Failure> {
        self.body.from.get_ref().try_clone().map_err(|e| e.to_string())
    }
}

impl Body {
    /// The next bytes; nothing after the last.
    fn piece(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self.left {
            Left::Nothing => Ok(None),
            Left::Bytes(bytes) => {
                self.left = Left::Nothing;
                self.exactly(bytes).map(Some)
            }
            Left::UntilClose => {
                let mut buffer = vec![0; 8192];
                let read = self.from.read(&mut buffer).map_err(|e| e.to_string())?;
                buffer.truncate(read);
                Ok((read > 0).then_some(buffer))
            }
            Left::Chunks => {
                let size = line(&mut self.from)?.ok_or("the connection ended between chunks")?;
                let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
                    .map_err(|e| format!("a chunk size: {e}"))?;
                let bytes = self.exactly(size)?;
                line(&mut self.from)?;
                if size == 0 {
                    self.left = Left::Nothing;
                    return Ok(None);
                }
                Ok(Some(bytes))
            }
        }
    }

    fn exactly(&mut self, bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut buffer = vec![0; bytes];
        self.from
            .read_exact(&mut buffer)
            .map_err(|e| format!("a body ended early: {e}"))?;
        Ok(buffer)
    }
}

/// The messages of an event stream.
pub(crate) struct Events {
    body: Body,
    read: Vec<u8>,
}

impl Events {
    /// The next message; nothing after the last. Comments and empty events are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Value>, Failure> {
        loop {
            if let Some(end) = self.read.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                let event = String::from_utf8_lossy(&event).into_owned();
                let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
                let message: Vec<&str> = lines.map(str::trim_start).collect();
                let message = message.join("\n");
                if message.is_empty() {
                    continue;
                }
                return serde_json::from_str(&message)
                    .map(Some)
                    .map_err(|e| format!("an event that is not JSON: {e}: {message}"));
            }
            match self.body.piece()? {
                Some(piece) => self.read.extend(piece.into_iter().filter(|byte| *byte != b'\r')),
                None => return Ok(None),
            }
        }
    }
}

fn line(from: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    let read = from
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(|e| format!("silence or a broken connection: {e}"))?;
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    Ok((read > 0).then_some(text))
}

/// Writes a head and a body of known length.
pub(crate) fn send(stream: &mut TcpStream, first: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(), Failure> {
    let mut out = format!("{first}\r\n");
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = out.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).map_err(|e| format!("cannot write: {e}"))
}

/// Writes the head of an event stream.
pub(crate) fn send_events_head(stream: &mut TcpStream, headers: &[(&str, &str)]) -> Result<(), Failure> {
    let mut out = String::from(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n",
    );
    for (name, value) in headers {
        out.push_str(&format!("{name}: {value}\r\n"));
    }
    out.push_str("\r\n");
    stream
        .write_all(out.as_bytes())
        .map_err(|e| format!("cannot write: {e}"))
}

/// Writes one message as an event.
pub(crate) fn send_event(stream: &mut TcpStream, message: &Value) -> Result<(), Failure> {
    let event = format!("event: message\ndata: {message}\n\n");
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    stream
        .write_all(chunk.as_bytes())
        .map_err(|e| format!("cannot write: {e}"))
}

/// Ends an event stream in good order.
pub(crate) fn end_events(stream: &mut TcpStream) {
    // A reader that has gone already needs no end.
    let _gone = stream.write_all(b"0\r\n\r\n");
}
