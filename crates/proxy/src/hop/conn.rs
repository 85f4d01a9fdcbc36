//! One connection to another part of the mesh: HTTP/2 over mutual TLS.
//!
//! A connection is open when the other end has answered a ping, and not before: with TLS 1.3 our half of the handshake is
//! over before the other end has judged our certificate, and a call that was written into that gap would be one that may
//! have run. From then on two tasks carry it: one moves frames and does nothing else, because every call passes it; one
//! watches, for an end that is silent, an end that is denied, a certificate of ours that is an old one, and old age.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use meshgate_identity::Peer;
use meshgate_identity::identity::{ALPN, Expect, server_name};
use meshgate_identity::svid::{Svid, connection_life};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::HopOptions;
use super::limits::HopLimits;
use super::table::Endpoint;
use super::wire::{Wire, Written};
use crate::gathered::{Gathered, Turns, gathered};
use crate::listen::READ_BYTES;
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

/// TLS over a socket that is read in large pieces, because rustls by itself asks for 4 KiB at a time.
type Secured = TlsStream<BufReader<Wire>>;
type Frames = Turns<Connection<Gathered<Secured>, Bytes>, Secured>;

/// Why there is no connection to an end that took it, and ended it before it had answered.
const ENDED_AT_ONCE: &str = "it closed the connection at once, as one that does not know us does";

/// How long an ended peer may leave bytes unacknowledged, as on every other way to a server.
const TCP_SILENCE_MAX: std::time::Duration = std::time::Duration::from_secs(15);

/// An open connection, as calls see it. When the last one lets go of it, it says goodbye and ends.
pub(super) struct Conn {
    pub(super) send: SendRequest<Bytes>,
    /// What it was made with; what is signed on it is signed with this.
    pub(super) svid: Arc<Svid>,
    /// What has left through it.
    pub(super) written: Written,
    in_flight: Arc<AtomicUsize>,
    streams_max: usize,
    closed: Arc<AtomicBool>,
}

/// The part of an open connection that watches it.
pub(super) struct Watch {
    wire: Frames,
    pings: Option<PingPong>,
    peer: Peer,
    svid: Arc<Svid>,
    closed: Arc<AtomicBool>,
    age: Instant,
}

/// Why a connection is not the one to use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worn {
    /// It has reached its age, or our SVID is another one: there should be a new one before it goes.
    Old,
    /// It has ended.
    Ended,
}

impl Conn {
    /// Takes one of its streams.
    pub(super) fn enter(&self) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        // The count is raised first, so that two cannot take the last one.
        let entered = self.in_flight.fetch_add(1, Ordering::AcqRel) < self.streams_max;
        if !entered {
            self.leave();
        }
        entered
    }

    pub(super) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Why no connection stands.
pub(super) struct Unopened {
    /// For the calls that waited for it.
    pub(super) refusal: Refusal,
    /// Whether the other end took the connection and ended it: as one does that has just said goodbye to all it had.
    pub(super) was_taken: bool,
}

/// Opens a connection to an endpoint. What is refused here has not been sent.
pub(super) async fn open(endpoint: &Endpoint, options: &HopOptions) -> Result<(Arc<Conn>, Watch), Unopened> {
    let why = match timeout(options.limits.connect_time, dial(endpoint, options)).await {
        Ok(Ok(opened)) => return Ok(opened),
        Ok(Err(why)) => why,
        Err(_) => "it did not accept a connection in time",
    };
    Err(Unopened {
        refusal: away(why),
        was_taken: why == ENDED_AT_ONCE,
    })
}

fn away(why: &str) -> Refusal {
    let who = "the part of the mesh in front of it";
    Refusal::server(
        Reason::ServerAway,
        Executed::No,
        format!("server is away: {who} cannot be reached: {why}"),
    )
    .rule("hop/connect")
}

async fn dial(endpoint: &Endpoint, options: &HopOptions) -> Result<(Arc<Conn>, Watch), &'static str> {
    let limits = &options.limits;
    let tcp = TcpStream::connect(&*endpoint.address).await.map_err(|e| cause(&e))?;
    tune(&tcp).map_err(|e| cause(&e))?;
    let expect = Expect::Exactly(endpoint.spiffe_id.clone());
    let (config, svid) = options.identity.client_config(&expect);
    let written = Written::default();
    let wire = Wire {
        tcp,
        written: written.clone(),
    };
    let wire = BufReader::with_capacity(READ_BYTES, wire);
    let tls = TlsConnector::from(config).connect(server_name(), wire).await;
    let tls = tls.map_err(|error| {
        tracing::debug!(address = &*endpoint.address, %error, "handshake");
        cause(&error)
    })?;
    let session = tls.get_ref().1;
    if session.alpn_protocol() != Some(ALPN) {
        return Err("it does not speak http/2");
    }
    let peer = Peer::of(session.peer_certificates()).map_err(|_| "its certificate cannot be read")?;
    let (io, outlet) = gathered(tls);
    let (send, frames) = settings(limits).handshake(io).await.map_err(|_| "http/2 broke")?;
    let in_flight = Arc::new(AtomicUsize::new(0));
    let mut wire = outlet.turns(frames, Arc::clone(&in_flight));
    let pings = first_exchange(&mut wire).await?;
    let allowed = wire.connection.max_concurrent_send_streams();
    let streams_max = limits.streams_per_connection.min(allowed);
    let life = connection_life(
        SystemTime::now(),
        [svid.not_after(), peer.not_after()],
        simulated::random(),
    );
    let closed = Arc::new(AtomicBool::new(false));
    let conn = Conn {
        send,
        svid: Arc::clone(&svid),
        written,
        in_flight,
        streams_max,
        closed: Arc::clone(&closed),
    };
    let watch = Watch {
        wire,
        pings: Some(pings),
        peer,
        svid,
        closed,
        age: Instant::now() + life.min(spread(limits.connection_age)),
    };
    Ok((Arc::new(conn), watch))
}

fn settings(limits: &HopLimits) -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(limits.stream_window())
        .initial_connection_window_size(limits.connection_window())
        .initial_max_send_streams(limits.streams_per_connection)
        // A call that is given up leaves a stream on which the other end may still be talking: it is known for a while, and
        // beyond that answered with a reset, neither of which may ever cost the connection its other calls.
        .max_concurrent_reset_streams(limits.resets_remembered)
        .max_local_error_reset_streams(Some(limits.resets_per_connection))
        // What stalled readers may leave unread, whatever the size of its pieces.
        .data_frame_budget(limits.connection_window() as usize)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
    builder
}

/// Waits until the other end has answered: then it has taken our certificate and said how many streams it allows.
async fn first_exchange(wire: &mut Frames) -> Result<PingPong, &'static str> {
    let mut pings = wire.connection.ping_pong().ok_or("http/2 broke")?;
    tokio::select! {
        _ended = wire => Err(ENDED_AT_ONCE),
        pong = pings.ping(Ping::opaque()) => pong.map_err(|_| ENDED_AT_ONCE),
    }?;
    Ok(pings)
}

/// Give or take a tenth, so that what was opened together does not end together.
fn spread(whole: std::time::Duration) -> std::time::Duration {
    let [random, ..] = simulated::random().to_ne_bytes();
    whole.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
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

/// What went wrong, without the addresses and paths that an operating system error may carry.
fn cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "the connection was reset",
        io::ErrorKind::TimedOut => "the connection timed out",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way to it",
        io::ErrorKind::InvalidData => "the tls handshake failed: one end does not take the other's certificate",
        io::ErrorKind::UnexpectedEof => "it closed the connection during the handshake",
        _ => "the connection failed",
    }
}

impl Watch {
    /// Carries the connection until it has ended. `worn` is told, once each, when there should be another one and when
    /// there is none any more. `let_go` ends it.
    pub(super) async fn run(self, options: &HopOptions, let_go: CancellationToken, worn: impl Fn(Worn)) {
        let Self {
            wire,
            pings,
            peer,
            svid,
            closed,
            age,
        } = self;
        let limits = &options.limits;
        let mut carried = JoinSet::new();
        carried.spawn(wire);
        let why = {
            let denied = options.identity.until_denied(&peer);
            let silent = silence(pings, limits);
            let rotated = replaced(options, &svid);
            tokio::pin!(denied, silent, rotated);
            let mut old_since = None;
            loop {
                tokio::select! {
                    _ended = carried.join_next() => break "the other end closed it",
                    () = let_go.cancelled() => break "it is not wanted any more",
                    _reason = &mut denied => break "the other end is denied",
                    () = &mut silent => break "the other end is silent",
                    () = &mut rotated, if old_since.is_none() => {
                        old_since = Some(Instant::now());
                        worn(Worn::Old);
                    }
                    () = sleep_until(age), if old_since.is_none() => {
                        old_since = Some(Instant::now());
                        worn(Worn::Old);
                    }
                    () = until(old_since.map(|since| since + limits.retired_age)) => break "it is too old",
                }
            }
        };
        closed.store(true, Ordering::Release);
        // Before its calls hear of it: what they do next must not find it.
        worn(Worn::Ended);
        tracing::debug!(peer = %peer.id(), why, "a connection of the mesh has ended");
        carried.shutdown().await;
    }
}

/// Resolves when the other end has not answered in time.
async fn silence(pings: Option<PingPong>, limits: &HopLimits) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        sleep(limits.ping_time).await;
        let answered = timeout(limits.ping_answer_time, pings.ping(Ping::opaque())).await;
        match answered {
            Ok(Ok(_)) => {}
            // Whoever carries the frames knows more of it.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// Resolves when our SVID is another one.
async fn replaced(options: &HopOptions, svid: &Arc<Svid>) {
    let mut changes = options.identity.changes();
    loop {
        changes.borrow_and_update();
        if !Arc::ptr_eq(&options.identity.current(), svid) {
            return;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
