//! Bytes to a server: name, TCP, TLS.
//!
//! One function opens a connection and says in its error that nothing was sent, because a call that has not left may
//! be tried elsewhere, and one that has may not.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::refusal::{Executed, Reason, Refusal};
use crate::row::{HELD_BYTES_MAX, Lead, Outlet, Standing};
use crate::simulated;
use crate::upstream::limits::{CONNECT_MAX, TCP_SILENCE_MAX};

/// How the URL of a server behind a socket of the file system begins.
const UNIX: &str = "unix:";
/// Where such a server takes calls, unless its URL says.
const UNIX_PATH: &str = "/mcp";

/// Where a server listens.
pub(super) struct Target {
    at: At,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Path and query, as the request line wants it.
    pub(super) path: Uri,
    /// The `Host` header.
    pub(super) authority: http::HeaderValue,
}

/// An address of the network, or a socket of the file system.
enum At {
    Network { host: String, port: u16 },
    File(PathBuf),
}

impl Target {
    /// Reads a URL: `http`, `https`, or `unix:/socket` for a socket of this machine, with the path behind another colon
    /// (`unix:/socket:/path`). TLS uses the given configuration, or the public roots.
    pub(super) fn parse(url: &str, tls: Option<Arc<ClientConfig>>) -> Result<Self, Refusal> {
        let wrong = |rule: &str| Refusal::new(Reason::Internal, format!("server url: {rule}"));
        if let Some(rest) = url.strip_prefix(UNIX) {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, UNIX_PATH));
            if !(socket.starts_with('/') && path.starts_with('/')) {
                return Err(wrong("behind `unix:` stands the absolute path of a socket"));
            }
            return Ok(Self {
                at: At::File(socket.into()),
                tls: None,
                path: path.parse().map_err(|_| wrong("its path is malformed"))?,
                authority: http::HeaderValue::from_static("localhost"),
            });
        }
        let uri: Uri = url
            .parse()
            .map_err(|_| wrong("it must be an absolute http or https URL"))?;
        let authority = uri.authority().ok_or_else(|| wrong("it must name a host"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("its scheme must be http or https")),
        };
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure {
            let name =
                ServerName::try_from(host.clone()).map_err(|_| wrong("its host must be a DNS name or an address"))?;
            Some((tls.map_or_else(public_roots, Ok)?, name))
        } else {
            None
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse();
        let without_user = authority.as_str().rsplit('@').next().unwrap_or_default();
        Ok(Self {
            path: path.map_err(|_| wrong("its path is malformed"))?,
            authority: http::HeaderValue::from_str(without_user).map_err(|_| wrong("its host is malformed"))?,
            at: At::Network { host, port },
            tls,
        })
    }

    /// Whether the hop is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection within [`CONNECT_MAX`].
    pub(super) async fn connect(&self) -> Result<Wire, Refusal> {
        match tokio::time::timeout(CONNECT_MAX, self.dial()).await {
            Ok(Ok(wire)) => Ok(wire),
            Ok(Err(error)) => Err(away(format!("server is away: {}", cause(&error)))),
            Err(_) => Err(away("server is away: it did not accept a connection in time")),
        }
    }

    async fn dial(&self) -> io::Result<Wire> {
        let (host, port) = match &self.at {
            At::Network { host, port } => (host, *port),
            At::File(socket) => {
                return UnixStream::connect(socket)
                    .await
                    .map(|unix| Wire::Unix(Outlet::new(unix)));
            }
        };
        if let Some(outside) = simulated::outside() {
            let piped = outside.dial(host);
            return piped.map(Wire::Piped).ok_or(io::ErrorKind::ConnectionRefused.into());
        }
        let tcp = match host.parse() {
            Ok(address) => TcpStream::connect(SocketAddr::new(address, port)).await?,
            Err(_) => TcpStream::connect((host.as_str(), port)).await?,
        };
        tune(&tcp)?;
        match &self.tls {
            None => Ok(Wire::Plain(Outlet::new(tcp))),
            Some((config, name)) => {
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(name.clone(), tcp)
                    .await?;
                Ok(Wire::Tls(Box::new(stream)))
            }
        }
    }
}

/// No delay for small messages, and an end for peers that vanish without a word.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = socket2::SockRef::from(tcp);
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(TCP_SILENCE_MAX)
        .with_interval(TCP_SILENCE_MAX / 3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(TCP_SILENCE_MAX))?;
    Ok(())
}

fn away(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::server(Reason::ServerAway, Executed::No, message)
}

/// What went wrong, without the addresses and paths that an operating system error may carry.
fn cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "the connection was reset",
        io::ErrorKind::TimedOut => "the connection timed out",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "it cannot be reached",
        io::ErrorKind::InvalidData => "the tls handshake failed",
        io::ErrorKind::NotFound => "there is no socket at its path",
        io::ErrorKind::PermissionDenied => "its socket may not be opened",
        io::ErrorKind::UnexpectedEof => "it closed the connection during the handshake",
        _ => "the connection failed",
    }
}

/// TLS with the public roots, HTTP/1.1 and one explicit provider.
fn public_roots() -> Result<Arc<ClientConfig>, Refusal> {
    static CONFIG: OnceLock<Option<Arc<ClientConfig>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = rustls::RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        client_config(roots).ok()
    });
    config
        .clone()
        .ok_or_else(|| Refusal::new(Reason::Internal, "tls: the provider offers no usable version"))
}

/// A client configuration that trusts exactly these roots.
pub fn client_config(roots: rustls::RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An open connection, encrypted or not.
pub(super) enum Wire {
    Plain(Arc<Outlet<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
    /// On this machine.
    Unix(Arc<Outlet<UnixStream>>),
    /// Of a simulation.
    Piped(DuplexStream),
}

impl Wire {
    /// Whether what is written is encrypted, and so not written the moment it is taken.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether the connection is open and the server has said nothing unasked, as far as this process has heard.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut room = [0];
        match self {
            Self::Plain(tcp) => {
                matches!(tcp.lock().io.try_read(&mut room), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Unix(unix) => {
                matches!(unix.lock().io.try_read(&mut room), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(tls) => is_pending(Pin::new(tls.as_mut()), &mut room),
            Self::Piped(pipe) => is_pending(Pin::new(pipe), &mut room),
        }
    }

    /// Puts a request into the row of those that are written together; gives it back where that cannot be.
    pub(super) fn stand(&self, cx: &Context<'_>, bytes: Vec<u8>) -> Result<Option<Lead>, Vec<u8>> {
        match self {
            _ if bytes.len() > HELD_BYTES_MAX => Err(bytes),
            Self::Plain(tcp) => Ok(tcp.stand(cx, bytes)),
            Self::Unix(unix) => Ok(unix.stand(cx, bytes)),
            Self::Tls(_) | Self::Piped(_) => Err(bytes),
        }
    }

    /// What has become of it.
    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::Plain(tcp) => tcp.lock().standing(),
            Self::Unix(unix) => unix.lock().standing(),
            Self::Tls(_) | Self::Piped(_) => Standing::Nowhere,
        }
    }

    /// Takes back a request that has not left whole, with how much of it has.
    pub(super) fn take_back(&self) -> Option<(Vec<u8>, usize)> {
        match self {
            Self::Plain(tcp) => tcp.lock().take_back(),
            Self::Unix(unix) => unix.lock().take_back(),
            Self::Tls(_) | Self::Piped(_) => None,
        }
    }
}

fn is_pending(wire: Pin<&mut impl AsyncRead>, room: &mut [u8]) -> bool {
    let cx = &mut Context::from_waker(Waker::noop());
    wire.poll_read(cx, &mut ReadBuf::new(room)).is_pending()
}

macro_rules! delegate {
    ($self:ident, $wire:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Plain($wire) => {
                let mut held = $wire.lock();
                let $wire = Pin::new(&mut held.io);
                $call
            }
            Wire::Tls($wire) => {
                let $wire = Pin::new($wire.as_mut());
                $call
            }
            Wire::Unix($wire) => {
                let mut held = $wire.lock();
                let $wire = Pin::new(&mut held.io);
                $call
            }
            Wire::Piped($wire) => {
                let $wire = Pin::new($wire);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, wire => wire.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, wire => wire.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, wire => wire.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(wire) => wire.lock().io.is_write_vectored(),
            Self::Tls(wire) => wire.is_write_vectored(),
            Self::Unix(wire) => wire.lock().io.is_write_vectored(),
            Self::Piped(wire) => wire.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, wire => wire.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, wire => wire.poll_shutdown(cx))
    }
}
