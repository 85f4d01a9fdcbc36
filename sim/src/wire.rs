//! HTTP as a client speaks it, one exchange on one connection, read message by message.

use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

const PIPE_BYTES: usize = 64 << 10;

/// The gateway's way in.
pub(crate) type Door = Arc<dyn Fn(DuplexStream) -> BoxFuture<'static, ()> + Send + Sync>;

/// Sends requests to the gateway.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) door: Door,
    pub(crate) host: String,
}

/// An answer that is being read. Dropping it hangs up.
pub(crate) struct Exchange {
    pub(crate) headers: HeaderMap,
    events: bool,
    body: Incoming,
    held: Vec<u8>,
    /// The client's side of the connection.
    _connection: JoinSet<()>,
}

impl Wire {
    /// Sends one request; `None` when the gateway hangs up instead of answering.
    pub(crate) async fn send(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Option<Exchange> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        // The gateway's side of a connection is the gateway's own task, and outlives a client that hangs up.
        tokio::spawn((self.door)(theirs));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.ok()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(connection.await) });
        let mut request = Request::builder()
            .method(verb)
            .uri(path)
            .header("host", &self.host)
            .header("connection", "close");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).ok()?;
        let response = sender.send_request(request).await.ok()?;
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        Some(Exchange {
            events: kind.is_some_and(|kind| kind.starts_with("text/event-stream")),
            headers: parts.headers,
            body,
            held: Vec::new(),
            _connection: tasks,
        })
    }
}

impl Exchange {
    /// The next message; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.event() {
                return Some(message);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.held.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return None,
                None if self.events => return None,
                None => {
                    let whole = std::mem::take(&mut self.held);
                    return serde_json::from_slice(&whole).ok();
                }
            }
        }
    }

    fn event(&mut self) -> Option<Value> {
        while self.events {
            let end = self.held.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.held.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let data: String = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
            if let Ok(message) = serde_json::from_str(data.trim()) {
                return Some(message);
            }
        }
        None
    }
}
