//! Listening: connections that are limited, timed and owned, whatever is spoken on them.
//!
//! Proxies and operators come in through the same door, twice: accept, take the certificate if there is one, and hand HTTP
//! to a router. A connection is one task that ends with the listener; nothing a stranger does before a handshake is done
//! costs more than a slot and some seconds.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use meshgate_identity::Peer;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use crate::limits::{STRANGER_TIME, STRANGERS_MAX, STRANGERS_OF_ADDRESS_MAX};

#[cfg(test)]
mod tests;

/// How long connections may end in peace when the listener stops.
const PEACE: Duration = Duration::from_secs(5);
/// How long accepting pauses when the process is out of descriptors.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(250);
/// Streams of one connection: a proxy needs two, an operator's browser some.
const STREAMS_MAX: u32 = 64;
/// A connection that does not answer for so long after a ping is gone.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// The TLS configuration for the next handshake.
pub type TlsSource = Arc<dyn Fn() -> Arc<rustls::ServerConfig> + Send + Sync>;

/// The other end of a connection; every request carries it.
#[derive(Clone, Debug)]
pub struct Other {
    /// Its address.
    pub address: SocketAddr,
    /// What its certificate proves; `None` when it showed none.
    pub peer: Option<Arc<Peer>>,
}

/// How a listener treats connections.
#[derive(Clone)]
pub struct Manners {
    /// TLS, or plain text.
    pub tls: Option<TlsSource>,
    /// Whether nothing but HTTP/2 is spoken.
    pub http2_only: bool,
    /// Connections at once.
    pub connections_max: usize,
    /// How long a handshake, and the head of a request, may take.
    pub head_time: Duration,
    /// Those who have shown no certificate, where others have one.
    pub strangers: Option<Arc<Strangers>>,
}

/// Connections that have shown no certificate (yet). They are few and short, so that they never keep those out who have.
#[derive(Default)]
pub struct Strangers {
    of_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One of them.
struct Stranger {
    all: Arc<Strangers>,
    address: IpAddr,
}

impl Strangers {
    /// Lets one in, where there is room for all and for those of its address.
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let address = address.to_canonical();
        let mut of_address = self.of_address.lock();
        let all: usize = of_address.values().sum();
        let own = of_address.get(&address).copied().unwrap_or(0);
        if all >= STRANGERS_MAX || own >= STRANGERS_OF_ADDRESS_MAX {
            return None;
        }
        of_address.insert(address, own + 1);
        Some(Stranger {
            all: self.clone(),
            address,
        })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut of_address = self.all.of_address.lock();
        if let Some(count) = of_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                of_address.remove(&self.address);
            }
        }
    }
}

/// Serves connections until `stop`, then lets those there are end in peace for some seconds.
pub async fn serve(socket: TcpListener, manners: Manners, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(manners.connections_max));
    let connections = TaskTracker::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let one = connection(stream, address, manners.clone(), router.clone(), stop.clone(), permit);
                connections.spawn(one);
            }
            Err(error) if is_transient(&error) => {}
            Err(error) => {
                tracing::warn!("no connection can be accepted: {error}");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
    connections.close();
    let _ = tokio::time::timeout(PEACE * 2, connections.wait()).await;
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    manners: Manners,
    router: Router,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    // Without it a small message waits for the answer to the one before.
    let _ = stream.set_nodelay(true);
    let stranger = match &manners.strangers {
        None => None,
        Some(strangers) => match strangers.admit(address.ip()) {
            Some(stranger) => Some(stranger),
            None => return tracing::debug!(%address, "there is no room for one more without a certificate"),
        },
    };
    let Some(tls) = &manners.tls else {
        let other = Other { address, peer: None };
        return drive(stream, other, &manners, router, stop).await;
    };
    let shaken = tokio::time::timeout(manners.head_time, TlsAcceptor::from(tls()).accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, "a handshake failed: {error}"),
        Err(_) => return tracing::debug!(%address, "a handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let peer = match certificates {
        None => None,
        shown => match Peer::of(shown) {
            Ok(peer) => Some(Arc::new(peer)),
            Err(error) => return tracing::warn!(%address, "a certificate passed that names no part: {error}"),
        },
    };
    let other = Other { address, peer };
    if stranger.is_none() || other.peer.is_some() {
        drop(stranger);
        return drive(stream, other, &manners, router, stop).await;
    }
    let short = drive(stream, other, &manners, router, stop);
    if tokio::time::timeout(STRANGER_TIME, short).await.is_err() {
        tracing::debug!(%address, "a connection without a certificate took too long");
    }
}

async fn drive<I>(io: I, other: Other, manners: &Manners, router: Router, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = other.address;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(other.clone());
        router.clone().call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    if manners.http2_only {
        builder = builder.http2_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(manners.head_time);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER)
        .max_concurrent_streams(STREAMS_MAX);
    let served = builder.serve_connection(TokioIo::new(io), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            match tokio::time::timeout(PEACE, served).await {
                Ok(ended) => ended,
                Err(_) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, "a connection ended: {error}");
    }
}
