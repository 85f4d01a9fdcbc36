//! The floor: what any MCP proxy on this HTTP library pays before it has done anything useful.
//!
//! It accepts, reads the request whole, reads the JSON-RPC envelope and the name, and forwards over a pooled connection;
//! the answer streams back untouched. It authenticates nobody, checks nothing and records nothing. Everything that a
//! gateway costs above this is the gateway's own doing, so ratios to it are what the results are about.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{Failure, envelope::Envelope, serve};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Loopback port to listen on
    #[arg(long)]
    port: u16,
    /// Where the requests go, such as `127.0.0.1:9000`
    #[arg(long)]
    upstream: String,
}

type Pool = Client<HttpConnector, Full<Bytes>>;
type Answer = Response<Either<Incoming, Empty<Bytes>>>;

/// Runs until it is ended.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let uri: Uri = format!("http://{}/mcp", options.upstream)
        .parse()
        .map_err(|e| format!("`{}` is no address: {e}", options.upstream))?;
    serve::on_this_thread(async {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool: Pool = Client::builder(TokioExecutor::new()).build(connector);
        let listener = serve::bind(options.port).await?;
        serve::serve(listener, move |request| forward(pool.clone(), uri.clone(), request)).await;
        Ok(())
    })
}

async fn forward(pool: Pool, uri: Uri, request: Request<Incoming>) -> Answer {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    if parts.method == http::Method::POST && !routable(&body) {
        return plain(StatusCode::BAD_REQUEST);
    }
    parts.uri = uri;
    parts.headers.remove(header::HOST);
    match pool.request(Request::from_parts(parts, Full::new(body))).await {
        Ok(answer) => answer.map(Either::Left),
        Err(_) => plain(StatusCode::BAD_GATEWAY),
    }
}

/// Whether the envelope says enough to route by: a method, and for a call a name.
pub(crate) fn routable(body: &[u8]) -> bool {
    Envelope::read(body).is_some_and(|envelope| {
        let named = envelope.params().name.is_some();
        named || envelope.method != "tools/call"
    })
}

pub(crate) fn plain(status: StatusCode) -> Answer {
    let mut response = Response::new(Either::Right(Empty::new()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}
