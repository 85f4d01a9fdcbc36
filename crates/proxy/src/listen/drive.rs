//! One connection from its first byte to its end: handshake, version, requests, and the reasons to end it.
//!
//! hyper runs the protocol; this decides when it may go on. A connection ends because its client ended it, because
//! nothing was in flight for too long, because it is old, because the process drains, or because the wire guard broke
//! it. In every case but the last a call that is in flight is answered first.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use meshgate_identity::Peer;
use meshgate_identity::svid::LeafError;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, BufReader, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::caps::Slot;
use super::connection::Connection;
use super::mesh::{MeshDoor, MeshPeer};
use super::refused::Refused;
use super::stream::{Streams, Tracked};
use super::together::{Calls, Led, Together};
use super::watch::{Verdict, Watch};
use super::wire::{self, Guard, Version};
use super::{Cover, Never, READ_BYTES, Service};
use crate::drain::Drain;
use crate::gathered::{Turns, gathered};
use crate::limits::Limits;
use crate::simulated;

/// What a handshake has settled.
#[derive(Default)]
struct Agreed {
    tls: bool,
    version: Option<Version>,
    /// The other end inside the mesh, and how long the connection may live.
    mesh: Option<(Arc<MeshPeer>, Duration)>,
}

/// What all connections of one listener share.
pub(super) struct Edge<S> {
    pub(super) local: SocketAddr,
    pub(super) cover: Cover,
    pub(super) limits: Arc<Limits>,
    pub(super) drain: Drain,
    pub(super) service: S,
    pub(super) tasks: TaskTracker,
    /// Calls that are under way.
    pub(super) calls: Arc<AtomicUsize>,
    pub(super) refused: Arc<Refused>,
}

impl<S> Edge<S> {
    /// Serves one connection until it ends or the drain breaks it off.
    pub(super) async fn drive<B>(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: Slot)
    where
        S: Service<B>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let drain = self.drain.clone();
        let _work = drain.work();
        tokio::select! {
            biased;
            () = drain.forced() => tracing::debug!(%peer, "connection broken off by the drain"),
            ended = self.run::<B>(stream, peer, slot) => if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended");
            },
        }
    }

    /// Serves a connection that is no socket.
    pub(super) async fn drive_pipe<B>(self: Arc<Self>, stream: DuplexStream, peer: SocketAddr, slot: Slot)
    where
        S: Service<B>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let drain = self.drain.clone();
        let _work = drain.work();
        tokio::select! {
            biased;
            () = drain.forced() => {}
            ended = self.http::<B, _>(stream, peer, slot, Agreed::default()) => if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection ended");
            },
        }
    }

    async fn run<B>(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: Slot) -> Result<(), Ended>
    where
        S: Service<B>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        match &self.cover {
            Cover::Plain => self.http::<B, _>(stream, peer, slot, Agreed::default()).await,
            // On the heap, so that connections without TLS keep no room for it.
            Cover::Tls(source) => {
                let tls = source();
                Box::pin(self.encrypted::<B>(tls, stream, peer, slot)).await
            }
            Cover::Mesh(door) => {
                let door = Arc::clone(door);
                Box::pin(self.meshed::<B>(door, stream, peer, slot)).await
            }
        }
    }

    async fn handshake<T>(&self, tls: Arc<ServerConfig>, stream: T) -> Result<TlsStream<T>, Ended>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let accepted = timeout(self.limits.tls_handshake_time, TlsAcceptor::from(tls).accept(stream)).await;
        Ok(accepted.map_err(|_| {
            Refused::one(&self.refused.slow);
            Ended::Slow("the tls handshake")
        })??)
    }

    async fn encrypted<B>(
        self: Arc<Self>,
        tls: Arc<ServerConfig>,
        stream: TcpStream,
        peer: SocketAddr,
        slot: Slot,
    ) -> Result<(), Ended>
    where
        S: Service<B>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = self.handshake(tls, stream).await?;
        let version = match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Some(Version::Http2),
            Some(_) => Some(Version::Http1),
            None => None,
        };
        let agreed = Agreed {
            tls: true,
            version,
            mesh: None,
        };
        self.http::<B, _>(stream, peer, slot, agreed).await
    }

    /// A connection of another part of the mesh, for as long as it is welcome.
    async fn meshed<B>(
        self: Arc<Self>,
        door: Arc<MeshDoor>,
        stream: TcpStream,
        peer: SocketAddr,
        slot: Slot,
    ) -> Result<(), Ended>
    where
        S: Service<B>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let unwelcome = || Refused::one(&self.refused.unwelcome);
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let stream = self.handshake(door.tls(), stream).await.inspect_err(|_| unwelcome())?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(b"h2") {
            unwelcome();
            return Err(Ended::OtherVersion);
        }
        let found = Peer::of(session.peer_certificates()).inspect_err(|_| unwelcome())?;
        let mesh = MeshPeer::new(found, &self.limits);
        if door.is_named(mesh.peer()) {
            slot.prove();
        }
        let agreed = Agreed {
            tls: true,
            version: Some(Version::Http2),
            mesh: Some((Arc::clone(&mesh), door.life(mesh.peer()))),
        };
        let refused = Arc::clone(&self.refused);
        tokio::select! {
            biased;
            why = door.sends_away(mesh.peer()) => {
                Refused::one(&refused.unwelcome);
                tracing::warn!(peer = %mesh.text(), %why, "a connection of another part of the mesh is cut");
                Err(Ended::SentAway)
            }
            ended = self.http::<B, _>(stream, peer, slot, agreed) => ended,
        }
    }

    async fn http<B, T>(self: Arc<Self>, mut io: T, peer: SocketAddr, slot: Slot, agreed: Agreed) -> Result<(), Ended>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<B>,
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let limits = Arc::clone(&self.limits);
        let Some((version, first)) = self.first_bytes(&mut io).await? else {
            return Ok(());
        };
        if agreed.version.is_some_and(|agreed| agreed != version) {
            return Err(Ended::OtherVersion);
        }
        let (mesh, age) = agreed.mesh.unzip();
        let age = age.unwrap_or_else(|| jittered(limits.connection_age_time));
        let connection = Connection::new((peer, self.local), agreed.tls, version, &limits, slot, mesh);
        let (refused, sent) = (Arc::clone(&self.refused), connection.sent());
        let service = service_fn({
            let (edge, connection) = (Arc::clone(&self), Arc::clone(&connection));
            move |request: Request<Incoming>| {
                let in_flight = connection.begin(&edge.calls);
                // On the heap, because hyper moves it several times and keeps room for it while nobody calls.
                let answer = Box::pin(edge.service.answer(request, Arc::clone(&connection)));
                let (edge, connection) = (Arc::clone(&edge), Arc::clone(&connection));
                async move {
                    let mut response: Response<B> = answer.await;
                    if connection.says_close() {
                        response
                            .headers_mut()
                            .insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    Ok::<_, Never>(response.map(|body| Tracked::new(body, &connection, in_flight, &edge.limits)))
                }
            }
        });
        // On the heap at once: a future keeps room for every place that such a value is moved to, and thousands of them
        // wait on connections where nobody calls.
        match version {
            Version::Http1 => {
                let calls = Calls {
                    all: Arc::clone(&self.calls),
                    own: connection.in_flight(),
                };
                let mut conn = Together::run(io, calls, |io| {
                    let io = TokioIo::new(Guard::new(io, version, first, &limits, refused, sent));
                    Box::pin(http1_builder(&limits).serve_connection(io, service))
                });
                self.steer(Pin::new(&mut conn), &connection, age).await
            }
            Version::Http2 => {
                let streams = Streams {
                    tasks: self.tasks.clone(),
                    gone: CancellationToken::new(),
                    stall_time: limits.write_stall_time,
                    refused: Arc::clone(&self.refused),
                };
                let _gone = streams.gone.clone().drop_guard();
                let (io, outlet) = gathered(io);
                let io = TokioIo::new(Guard::new(io, version, first, &limits, refused, sent));
                let mut builder = http2_builder(&limits, streams);
                // Between parts of the mesh nobody reads it.
                builder.auto_date_header(connection.mesh().is_none());
                let conn = Box::pin(builder.serve_connection(io, service));
                let mut conn = Box::pin(outlet.turns(conn, connection.in_flight()));
                self.steer(conn.as_mut(), &connection, age).await
            }
        }
    }

    /// The first bytes and what they say; `None` when the client leaves, or the process does before it speaks.
    async fn first_bytes<T>(&self, io: &mut T) -> Result<Option<(Version, BytesMut)>, Ended>
    where
        T: AsyncRead + Unpin,
    {
        let ending = async {
            self.drain.asked().await;
            sleep(self.limits.last_request_time).await;
        };
        tokio::select! {
            biased;
            sniffed = timeout(self.limits.head_time, wire::sniff(io)) => match sniffed {
                Ok(sniffed) => Ok(sniffed?),
                Err(_) => {
                    Refused::one(&self.refused.slow);
                    Err(Ended::Slow("the first byte"))
                }
            },
            () = ending => Ok(None),
        }
    }

    /// Lets the connection run, and asks it to end when it should.
    async fn steer<C>(&self, mut conn: Pin<&mut C>, connection: &Connection, age: Duration) -> Result<(), Ended>
    where
        C: Steered,
    {
        let mut watch = Watch::new(&self.limits, Instant::now(), age);
        loop {
            tokio::select! {
                biased;
                ended = conn.as_mut() => return ended.map_err(Ended::from),
                () = self.drain.asked(), if !watch.is_asked() => watch.ask(connection, Instant::now()),
                () = sleep_until(watch.next_look(connection, Instant::now())) => {}
            }
            match watch.look(connection, Instant::now()) {
                Verdict::GoOn => {}
                Verdict::Finish => conn.as_mut().finish(),
                Verdict::BreakOff => {
                    Refused::one(&self.refused.slow);
                    return Err(Ended::Slow("the client"));
                }
            }
        }
    }
}

/// A connection of either version.
trait Steered: Future<Output = Result<(), hyper::Error>> {
    /// Lets what is in flight finish, and takes nothing new.
    fn finish(self: Pin<&mut Self>);
}

impl<C: GracefulConnection<Error = hyper::Error>> Steered for Led<Pin<Box<C>>> {
    fn finish(self: Pin<&mut Self>) {
        self.get_mut().connection.as_mut().graceful_shutdown();
    }
}

impl<C, T> Steered for Turns<Pin<Box<C>>, T>
where
    C: GracefulConnection<Error = hyper::Error>,
    T: AsyncWrite + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.get_mut().connection.as_mut().graceful_shutdown();
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(64 * 1024);
    // The guard has measured the head already; this is the net under it.
    builder.max_header_size(limits.head_bytes * 2);
    builder
}

fn http2_builder(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(saturate(limits.h2_stream_window_bytes))
        .initial_connection_window_size(saturate(limits.h2_connection_window_bytes))
        .max_concurrent_streams(saturate(limits.h2_streams))
        .max_header_list_size(saturate(limits.head_bytes))
        .max_pending_accept_reset_streams(limits.h2_resets_per_second)
        .max_local_error_reset_streams(Some(limits.h2_resets))
        .max_send_buf_size(limits.stream_buffer_bytes)
        .keep_alive_interval(limits.h2_ping_time)
        .keep_alive_timeout(limits.h2_ping_answer_time);
    builder
}

fn saturate(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// A tenth more or less, so that connections that began together do not end together.
fn jittered(time: Duration) -> Duration {
    let tenth = time.as_millis() as u64 / 10;
    let spread = simulated::random() % (2 * tenth + 1);
    (time + Duration::from_millis(spread)).saturating_sub(Duration::from_millis(tenth))
}

/// Why a connection ended other than by its own will.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("waited too long for {0}")]
    Slow(&'static str),
    #[error("the client speaks another http version than it agreed on in tls")]
    OtherVersion,
    #[error(transparent)]
    Peer(#[from] LeafError),
    #[error("the peer is not welcome any more")]
    SentAway,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_age_time_is_a_tenth_more_or_less_and_not_always_the_same() {
        let age = Limits::default().connection_age_time;
        let ages: Vec<_> = (0..1000).map(|_| jittered(age)).collect();
        assert!(
            ages.iter()
                .all(|drawn| *drawn >= age * 9 / 10 && *drawn <= age * 11 / 10)
        );
        assert!(ages.iter().any(|drawn| *drawn < age) && ages.iter().any(|drawn| *drawn > age));
    }
}
