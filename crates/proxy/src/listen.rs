//! The edge: sockets, TLS, connection limits, and HTTP that was checked before hyper saw it.
//!
//! Everything that can go wrong below a request goes wrong here, before any code that knows about MCP runs. A listener
//! binds first, so that a wrong address stops the start and not the first caller. Each connection is one task that this
//! module owns and a drain can end; it passes the limits (`caps`), the TLS handshake, and the *wire guard* (`wire`),
//! which sits between the socket and hyper because hyper repairs request framing that a gateway must refuse. What comes
//! out is a request and the [`Connection`] that it arrived on.
//!
//! The guard knows framing; it cannot see HTTP/2 fields, so the service begins with [`check_head`], reads bodies with
//! [`read_body`], and tells the connection when a caller has proven who it is ([`Connection::prove`]).

mod body;
mod caps;
mod connection;
mod descriptors;
mod door;
mod drive;
mod head;
mod mesh;
mod refused;
mod stream;
mod together;
mod watch;
mod wire;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

pub use self::body::{check_announced, read_body, take_rest};
pub use self::caps::{Caps, network};
pub use self::connection::{Connection, Unproven};
use self::descriptors::Descriptors;
pub use self::descriptors::raise_descriptors;
#[doc(hidden)]
pub use self::door::Door;
pub use self::head::{authority, check_head};
pub use self::mesh::{Admission, MeshDoor, MeshPeer, Told};
pub use self::refused::Refused;
pub use self::wire::Version;
#[cfg(feature = "fuzzing")]
pub use self::wire::fuzzing;
use crate::drain::Drain;
use crate::limits::Limits;

/// Connections the kernel may queue for us.
const BACKLOG: i32 = 1024;
/// What is read at once from a connection inside the mesh, in bytes: a whole TLS record (RFC 8446 §5.1) and a half. rustls by
/// itself asks for 4 KiB at a time.
pub(crate) const READ_BYTES: usize = 24 << 10;
/// How long accepting pauses when the process is out of descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(250);

/// Gives the TLS configuration for the next handshake; called for each connection, so that certificates reload.
pub type TlsSource = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// What a listener's connections are wrapped in.
#[derive(Clone)]
pub enum Cover {
    /// Nothing.
    Plain,
    /// TLS with the certificate of files.
    Tls(TlsSource),
    /// TLS of the mesh, with a certificate at both ends.
    Mesh(Arc<MeshDoor>),
}

impl From<Option<TlsSource>> for Cover {
    fn from(source: Option<TlsSource>) -> Self {
        source.map_or(Self::Plain, Self::Tls)
    }
}

/// What a listener listens on.
#[derive(Clone)]
pub struct Listen {
    /// The address; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS, or plain text.
    pub cover: Cover,
}

/// A listener that holds its address and serves nobody yet.
pub struct Bound {
    socket: std::net::TcpListener,
    local: SocketAddr,
    cover: Cover,
    limits: Arc<Limits>,
    caps: Arc<Caps>,
}

/// Answers requests: `Fn(request, connection) -> response`, cloned into every connection.
///
/// It cannot fail: whatever goes wrong is an answer.
pub trait Service<B>: Clone + Send + Sync + 'static {
    /// The answer to come.
    type Answer: Future<Output = Response<B>> + Send + 'static;

    /// Begins the answer to one request.
    fn answer(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Self::Answer;
}

impl<B, S, F> Service<B> for S
where
    S: Fn(Request<Incoming>, Arc<Connection>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
{
    type Answer = F;

    fn answer(&self, request: Request<Incoming>, connection: Arc<Connection>) -> F {
        self(request, connection)
    }
}

impl Bound {
    /// Takes the address. `caps` is shared by all listeners of the process.
    ///
    /// # Errors
    /// When the address is in use, not local, or not permitted.
    pub fn bind(listen: Listen, limits: Arc<Limits>, caps: Arc<Caps>) -> io::Result<Self> {
        let domain = Domain::for_address(listen.address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if listen.address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&listen.address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = std::net::TcpListener::from(socket);
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            local,
            cover: listen.cover,
            limits,
            caps,
        })
    }

    /// The address that was taken, with the port that the system chose.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Accepts and serves until `drain` asks to finish and every connection has ended, or is broken off.
    ///
    /// # Errors
    /// When the socket cannot be registered with the runtime.
    pub async fn serve<S, B>(self, service: S, drain: Drain) -> io::Result<()>
    where
        S: Service<B>,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let listener = TcpListener::from_std(self.socket)?;
        let mut descriptors = Descriptors::of_this_process(self.limits.descriptors_kept);
        let tasks = TaskTracker::new();
        let edge = Arc::new(drive::Edge {
            local: self.local,
            cover: self.cover,
            limits: self.limits,
            drain: drain.clone(),
            service,
            tasks: tasks.clone(),
            calls: Arc::default(),
            refused: Arc::clone(self.caps.refused()),
        });
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = drain.asked() => break,
                accepted = accept(&listener, &mut descriptors) => accepted,
            };
            Self::begin(&self.caps, &edge, &tasks, stream, peer);
        }
        // What the kernel has queued was promised a connection: it is served, and told that this connection ends.
        while let Some(Ok((stream, peer))) = futures_util::FutureExt::now_or_never(listener.accept()) {
            Self::begin(&self.caps, &edge, &tasks, stream, peer);
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
        Ok(())
    }

    fn begin<S, B>(
        caps: &Arc<Caps>,
        edge: &Arc<drive::Edge<S>>,
        tasks: &TaskTracker,
        stream: TcpStream,
        peer: SocketAddr,
    ) where
        S: Service<B>,
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(slot) = caps.take(peer.ip()) else {
            tracing::debug!(%peer, "connection refused: over a connection limit");
            return;
        };
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%peer, %error, "connection ended before it was prepared");
            return;
        }
        tasks.spawn(Arc::clone(edge).drive::<B>(stream, peer, slot));
    }
}

/// The next connection, once there are descriptors to serve it with. Errors of one connection are skipped; when the
/// process is out of descriptors or memory this waits a little, because the same error would come back at once and burn
/// a core. What is not accepted waits in the kernel's queue.
async fn accept(listener: &TcpListener, descriptors: &mut Descriptors) -> (TcpStream, SocketAddr) {
    while descriptors.are_short(listener) {
        tracing::warn!("accepting pauses: the process is nearly out of file descriptors");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                descriptors.given(&stream);
                return (stream, peer);
            }
            Err(error) if of_one_connection(&error) => tracing::debug!(%error, "accept"),
            Err(error) => {
                tracing::warn!(%error, "accepting pauses");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, WouldBlock};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | WouldBlock
    )
}

/// No delay, because answers are small; keep-alive probes, because a peer that lost its power says nothing.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    SockRef::from(stream).set_tcp_keepalive(&probes)
}

/// What a service that cannot fail returns to hyper.
type Never = Infallible;
