//! How the two servers are reached: over standard input and output, or over HTTP.
//!
//! This is all that a server needs to be run by anybody, and it is the same for both.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io::{Error, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rmcp::model::{CallToolResult, ContentBlock, ProtocolVersion};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, ServiceExt as _};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What can be said to either server.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The database; made and filled when it is missing
    #[arg(long, value_name = "FILE")]
    pub database: PathBuf,
    /// Listen here, at the path /mcp, instead of speaking over standard input and output
    #[arg(long, value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Which protocol revisions to speak
    #[arg(long, value_enum, default_value_t)]
    pub era: Era,
}

/// The protocol revisions that a server speaks. A company has servers of every year.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Era {
    /// Those with an `initialize` handshake, up to 2025-11-25
    Legacy,
    /// 2026-07-28 only
    Modern,
    /// Every revision
    #[default]
    Both,
}

impl Era {
    /// The revisions.
    pub fn versions(self) -> Cow<'static, [ProtocolVersion]> {
        match self {
            Self::Legacy => Cow::Borrowed(ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25)),
            Self::Modern => Cow::Owned(vec![ProtocolVersion::V_2026_07_28]),
            Self::Both => Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS),
        }
    }
}

/// An answer in two forms: a sentence for people, and the same as data for programs.
pub fn answer(sentence: String, data: &impl Serialize) -> CallToolResult {
    let data = match serde_json::to_value(data) {
        Ok(data) => data,
        Err(error) => return refusal(format!("the answer cannot be written: {error}")),
    };
    let mut result = CallToolResult::structured(data);
    result.content = vec![ContentBlock::text(sentence)];
    result
}

/// A tool that could not do what it was asked, and says so to whoever asked.
pub fn refusal(why: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(why)])
}

/// Serves until the client goes away, or over HTTP until the process ends.
pub async fn serve<S>(server: S, http: Option<SocketAddr>) -> Result<(), Error>
where
    S: ServerHandler + Clone,
{
    match http {
        Some(address) => listen(server, address).await,
        None => {
            let running = server.serve(rmcp::transport::stdio()).await.map_err(Error::other)?;
            running.waiting().await.map(drop).map_err(Error::other)
        }
    }
}

/// Serves over HTTP. The first line on standard output is the address, because the port may have been free to choose.
async fn listen<S>(server: S, address: SocketAddr) -> Result<(), Error>
where
    S: ServerHandler + Clone,
{
    let sessions = Arc::new(LocalSessionManager::default());
    let service = StreamableHttpService::new(
        move || Ok(server.clone()),
        sessions,
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "http://{}/mcp", listener.local_addr()?)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        // Without this an answer in two writes waits for an ACK that the client delays.
        stream.set_nodelay(true)?;
        let service = service.clone();
        connections.spawn(async move {
            let answer = service_fn(move |request| at_mcp(service.clone(), request));
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A client that goes away in the middle is its own affair.
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn at_mcp<S>(
    service: StreamableHttpService<S, LocalSessionManager>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible>
where
    S: ServerHandler + Clone,
{
    if request.uri().path() == "/mcp" {
        return Ok(service.handle(request).await);
    }
    let mut nothing = Response::new(Empty::new().boxed());
    *nothing.status_mut() = StatusCode::NOT_FOUND;
    Ok(nothing)
}
