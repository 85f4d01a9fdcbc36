//! Lifted servers, seen from the caller: real sockets and pipes, scripted servers, time as it is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::large_futures
)]

mod http_calls;
mod http_sessions;
mod http_streams;
mod listens;
mod logs;
mod stdio;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use meshgate_mcp::Method;
use meshgate_testkit::ScriptedServer;

use super::{Lifted, Link, Own};
use crate::call::{Messages, Outbound, Reply};
use crate::refusal::Refusal;
use crate::upstream::http::HttpLink;
use crate::upstream::limits::WireLimits;

/// Everything a server can offer.
const EVERYTHING: &str = r#"{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"logging":{},"completions":{}}"#;

/// What every modern request carries.
const META: &str =
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

static IDS: AtomicU64 = AtomicU64::new(100);

async fn lifted(server: &ScriptedServer) -> Arc<Lifted> {
    let link = HttpLink::new(&server.url(), HeaderMap::new(), WireLimits::default(), None).unwrap();
    let link = Link::Http(Arc::new(link));
    Lifted::connect(link.clone(), own(link), soon()).await.unwrap()
}

/// Own sessions over one link.
fn own(link: Link) -> Arc<Own> {
    Own::new(
        Box::new(move || {
            let link = link.clone();
            Box::pin(async move { Ok(link) })
        }),
        1,
        false,
        false,
    )
}

/// When the first message must be there.
fn until() -> tokio::time::Instant {
    soon().into()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A modern request; `params` is the inside of its params, without `_meta`. The progress token is the id.
fn request(method: &str, params: &str) -> Outbound {
    with_meta(method, params, "")
}

fn with_meta(method: &str, params: &str, meta: &str) -> Outbound {
    let id = IDS.fetch_add(1, Ordering::Relaxed);
    let comma = if params.is_empty() { "" } else { "," };
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{comma}"_meta":{{{META},"progressToken":{id}{meta}}}}}}}"#
    );
    Outbound {
        id,
        owner: None,
        method: Method::parse(method),
        method_name: method.to_owned().into(),
        name: None,
        param_headers: Vec::new(),
        body: body.into(),
        deadline: soon(),
        traceparent: None,
        caller: None,
        view: None,
    }
}

fn tool(name: &str) -> Outbound {
    request("tools/call", &format!(r#""name":"{name}""#))
}

/// Every message of an answer.
async fn messages(reply: Result<Reply, Refusal>) -> Vec<String> {
    match reply.unwrap() {
        Reply::One(message) => vec![text(message)],
        Reply::Stream(stream) => stream.map(|message| text(message.unwrap())).collect().await,
    }
}

/// The only message of an answer.
async fn only(reply: Result<Reply, Refusal>) -> String {
    let mut all = messages(reply).await;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn stream(reply: Result<Reply, Refusal>) -> Messages {
    match reply.unwrap() {
        Reply::Stream(stream) => stream,
        Reply::One(message) => panic!("one message: {}", text(message)),
    }
}

async fn next(stream: &mut Messages) -> String {
    let next = tokio::time::timeout(Duration::from_secs(5), stream.next())
        .await
        .expect("a message in time");
    text(next.expect("a message").unwrap())
}

/// Nothing comes for a while.
async fn silence(stream: &mut Messages) {
    let next = tokio::time::timeout(Duration::from_millis(150), stream.next()).await;
    assert!(next.is_err(), "{next:?}");
}

fn text(message: Bytes) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}
