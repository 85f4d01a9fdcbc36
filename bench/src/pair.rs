//! The floor of two hops: two of the least proxies in a row, with one HTTP/2 connection over mutual TLS between them.
//!
//! The first takes HTTP/1.1 from the client, reads the envelope and sends the request on; the second reads the envelope
//! again, as a sidecar must that decides for itself, and forwards over pooled connections. Each is a process of its own.
//! They prove who they are to each other once per connection and check nothing about any call.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    process::Stdio,
    sync::Arc,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::{body::Incoming, client::conn::http2, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use meshgate_identity::{Admit, Expect, Identity};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    Failure,
    floor::{plain, routable},
    measure::{first_line, free_port},
    pki,
    running::{Core, Running},
    serve,
};

/// What an HTTP/2 stream and a connection may have on the way, so that large results are not held up by windows.
const STREAM_BYTES: u32 = 1 << 20;
const CONNECTION_BYTES: u32 = 8 << 20;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Loopback port to listen on
    #[arg(long)]
    port: u16,
    /// Where the requests go, such as `127.0.0.1:9000`
    #[arg(long)]
    upstream: String,
    /// The directory with the certificates
    #[arg(long)]
    pki: PathBuf,
    /// A new connection between the two for each call, with the identities of a mesh
    #[arg(long)]
    fresh: bool,
}

#[derive(clap::Args)]
pub(crate) struct EndOptions {
    #[command(flatten)]
    options: Options,
    /// Which of the two
    #[arg(long, value_enum)]
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum End {
    Front,
    Back,
}

/// Runs both until it is ended.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let ourselves = std::env::current_exe().map_err(|e| format!("cannot find this program: {e}"))?;
    let inner = free_port()?;
    let start = |end: &str, port: u16, upstream: &str| {
        let arguments = [
            "pair-end".to_owned(),
            format!("--end={end}"),
            format!("--port={port}"),
            format!("--upstream={upstream}"),
            format!("--pki={}", options.pki.display()),
        ];
        let fresh = options.fresh.then(|| "--fresh".to_owned());
        let arguments: Vec<String> = arguments.into_iter().chain(fresh).collect();
        let core = Core {
            number: None,
            realtime: false,
        };
        let mut command = core.command(&ourselves, &arguments);
        command.stdout(Stdio::piped());
        let mut running = Running::start(command, end)?;
        first_line(&mut running).map(|_| running)
    };
    let _back = start("back", inner, &options.upstream)?;
    let mut front = start("front", options.port, &format!("127.0.0.1:{inner}"))?;
    let status = front
        .child
        .wait()
        .map_err(|e| format!("the first hop is out of sight: {e}"))?;
    Err(format!("the first hop ended with {status}"))
}

/// Is one of the two.
pub(crate) fn run_end(options: &EndOptions) -> Result<(), Failure> {
    let Options {
        port,
        upstream,
        pki,
        fresh,
    } = &options.options;
    serve::on_this_thread(async {
        let listener = serve::bind(*port).await?;
        match options.end {
            End::Front => {
                println!("ready");
                let way = Way::new(upstream, pki, *fresh).await?;
                serve::serve(listener, move |request| first(way.clone(), request)).await;
            }
            End::Back => {
                let config = if *fresh {
                    pki::of_mesh(pki, pki::BACK)?.acceptor_config(Admit::Gateways)
                } else {
                    Arc::new(pki::server(pki, &[b"h2"])?)
                };
                println!("ready");
                back(listener, upstream, TlsAcceptor::from(config)).await?;
            }
        }
        Ok(())
    })
}

type Hop = http2::SendRequest<Full<Bytes>>;
type Answer = Response<Either<Incoming, Empty<Bytes>>>;

/// How the first hop reaches the second.
#[derive(Clone)]
enum Way {
    /// One connection for all calls.
    Kept(Hop),
    /// One for each.
    Fresh(Arc<str>, Arc<Identity>, Expect),
}

impl Way {
    async fn new(address: &str, pki: &Path, fresh: bool) -> Result<Self, Failure> {
        if fresh {
            let identity = pki::of_mesh(pki, pki::FRONT)?;
            return Ok(Self::Fresh(
                address.into(),
                Arc::new(identity),
                Expect::Exactly(pki::back_id()?),
            ));
        }
        let config = Arc::new(pki::client(pki, &[b"h2"])?);
        connect(address, config).await.map(Self::Kept)
    }

    async fn hop(&self) -> Result<Hop, Failure> {
        match self {
            Self::Kept(hop) => Ok(hop.clone()),
            Self::Fresh(address, identity, expect) => connect(address, identity.client_config(expect).0).await,
        }
    }
}

async fn connect(address: &str, config: Arc<ClientConfig>) -> Result<Hop, Failure> {
    let failed = |e: &dyn std::fmt::Display| format!("cannot connect to {address}: {e}");
    let socket = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
    let _ = socket.set_nodelay(true);
    let name = ServerName::try_from(pki::NAME).map_err(|e| failed(&e))?;
    let tls = TlsConnector::from(config)
        .connect(name, socket)
        .await
        .map_err(|e| failed(&e))?;
    let (hop, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(CONNECTION_BYTES)
        .handshake(TokioIo::new(tls))
        .await
        .map_err(|e| failed(&e))?;
    // Ends with the last handle to it.
    tokio::spawn(connection);
    Ok(hop)
}

async fn first(way: Way, request: Request<Incoming>) -> Answer {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    if !routable(&body) {
        return plain(StatusCode::BAD_REQUEST);
    }
    parts.uri = Uri::from_static("https://hop.bench/mcp");
    parts.version = http::Version::HTTP_2;
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let Ok(mut hop) = way.hop().await else {
        return plain(StatusCode::BAD_GATEWAY);
    };
    if hop.ready().await.is_err() {
        return plain(StatusCode::BAD_GATEWAY);
    }
    match hop.send_request(Request::from_parts(parts, Full::new(body))).await {
        Ok(answer) => answer.map(Either::Left),
        Err(_) => plain(StatusCode::BAD_GATEWAY),
    }
}

async fn back(listener: tokio::net::TcpListener, upstream: &str, acceptor: TlsAcceptor) -> Result<(), Failure> {
    let uri: Uri = format!("http://{upstream}/mcp")
        .parse()
        .map_err(|e| format!("`{upstream}` is no address: {e}"))?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let pool: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut connections = JoinSet::new();
    loop {
        let (socket, _) = listener.accept().await.map_err(|e| format!("cannot accept: {e}"))?;
        let _ = socket.set_nodelay(true);
        let (acceptor, pool, uri) = (acceptor.clone(), pool.clone(), uri.clone());
        connections.spawn(async move {
            let Ok(tls) = acceptor.accept(socket).await else { return };
            let service = service_fn(move |request: Request<Incoming>| {
                let (pool, uri) = (pool.clone(), uri.clone());
                async move { Ok::<_, std::convert::Infallible>(second(pool, uri, request).await) }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_BYTES)
                .initial_connection_window_size(CONNECTION_BYTES)
                .max_concurrent_streams(1000)
                .serve_connection(TokioIo::new(tls), service);
            let _ = pin!(connection).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn second(pool: Client<HttpConnector, Full<Bytes>>, uri: Uri, request: Request<Incoming>) -> Answer {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    if !routable(&body) {
        return plain(StatusCode::BAD_REQUEST);
    }
    parts.uri = uri;
    parts.version = http::Version::HTTP_11;
    match pool.request(Request::from_parts(parts, Full::new(body))).await {
        Ok(answer) => {
            let mut answer = answer.map(Either::Left);
            // Fields of one connection mean nothing on the next.
            for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
                answer.headers_mut().remove(name);
            }
            answer
        }
        Err(_) => plain(StatusCode::BAD_GATEWAY),
    }
}
