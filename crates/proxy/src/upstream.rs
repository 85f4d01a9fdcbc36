//! The way to one server, whatever it speaks and however it is reached.
//!
//! A caller hands over a modern request and gets modern messages back. Behind that, this facade keeps the server
//! reachable: it finds out the server's era once, starts a child again that has ended, waits longer after each failure,
//! and says for the status what it is doing. One task does all of that ([`keep`]), so two callers never start a server
//! twice; a call only ever waits for it.
//!
//! The task, the children's pipes and the connections live on the runtime that called [`Upstream::start`]: the one that
//! serves calls.

pub mod http;
pub mod limits;
pub mod stdio;

mod connected;
mod dial;
mod keep;
mod mesh;
mod modern;
mod pace;
mod patience;
mod probe;
mod stale;
mod turns;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use meshgate_mcp::{Era, Method};
use meshgate_model::{Concurrency, Deadlines, Reach, Server};
use meshgate_telemetry::ParkedLevels;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connected::Connected;
use self::dial::Dialler;
use self::limits::{COUNTED_MAX, PROBE_MAX, WireLimits};
use self::patience::{Patience, too_late};
pub use self::probe::own_id;
use self::stale::Stale;
use self::turns::Turns;
use crate::call::{Caller, Outbound, Reply};
use crate::hop::{self, EndpointStatus, HopOptions};
use crate::lift::Own;
use crate::refusal::{Executed, Reason, Refusal};
use crate::supervise::SupervisorProgram;

/// The number of the part of the mesh that holds what a call may be gone on with; none where anybody may.
pub type Owner = Option<u64>;

/// What every upstream of an assembly has in common.
#[derive(Clone, Debug)]
pub struct UpstreamOptions {
    /// How children are supervised.
    pub supervisor: SupervisorProgram,
    /// Sizes.
    pub limits: WireLimits,
    /// Replaces TLS with the public roots.
    pub tls: Option<Arc<ClientConfig>>,
    /// The number of this assembly: tells it from every other in the states of parked calls. Not zero.
    pub owner: u64,
    /// The way to sidecars; none outside a mesh.
    pub hop: Option<HopOptions>,
}

impl Default for UpstreamOptions {
    fn default() -> Self {
        Self {
            supervisor: SupervisorProgram::default(),
            limits: WireLimits::default(),
            tls: None,
            owner: new_owner(),
            hop: None,
        }
    }
}

/// A number for an assembly that has just started.
pub fn new_owner() -> u64 {
    crate::simulated::random().max(1)
}

/// One server.
pub struct Upstream {
    shared: Arc<Shared>,
    /// The task that keeps the server reachable; it ends with this value.
    tasks: Mutex<JoinSet<()>>,
}

/// What the callers and the keeping task share.
struct Shared {
    server: Arc<Server>,
    dialler: Arc<Dialler>,
    /// Sessions of single callers, where the server is a legacy one.
    own: Arc<Own>,
    /// The connection, while there is one.
    current: ArcSwapOption<Connected>,
    phase: watch::Sender<Phase>,
    /// Counts connections; tells a catalogue when to look again.
    connections: watch::Sender<u64>,
    /// A caller would like a connection now.
    wanted: Notify,
    restarts: AtomicU64,
    /// Failures to reach the server, in a row.
    failures: AtomicU32,
    turns: Turns,
    /// The SPIFFE ID of the server's sidecars.
    peer: Option<Arc<str>>,
    stale: Arc<Stale>,
    shutdown: CancellationToken,
}

/// What the keeping task is doing.
#[derive(Clone, Debug)]
enum Phase {
    Starting,
    Up,
    Away {
        refusal: Box<Refusal>,
        since: tokio::time::Instant,
        /// When a caller may ask for another attempt.
        eager_from: tokio::time::Instant,
        /// When the next attempt comes by itself.
        next: tokio::time::Instant,
    },
}

/// Whether a server can be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It can.
    Up,
    /// The first answer has not come yet.
    Starting,
    /// It cannot.
    Away {
        /// Why.
        why: String,
        /// For how long.
        since: Duration,
    },
}

/// What an operator wants to know of a server.
#[derive(Clone, Debug)]
pub struct UpstreamStatus {
    /// The server's era, once it is known.
    pub era: Option<Era>,
    /// The revision spoken with it.
    pub revision: Option<&'static str>,
    /// Whether it can be called.
    pub state: State,
    /// The supervisor's process id, for a child.
    pub pid: Option<u32>,
    /// How often it had to be connected to again.
    pub restarts: u64,
    /// Attempts to reach it that have failed since it was last up for good; each makes the pause before the next longer.
    pub failures: u32,
    /// When it is tried again, while it is away.
    pub next_attempt: Option<Duration>,
    /// Calls it is working on, and subscriptions.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// Calls that wait for their client to answer what the server asked, and the sessions of single callers.
    pub parked: ParkedLevels,
    /// The sidecars in front of it.
    pub endpoints: Vec<EndpointStatus>,
    /// The last lines of a child's standard error.
    pub stderr: Vec<String>,
    /// Lines of a child that were no message, since it was started.
    pub noise: u64,
}

impl Upstream {
    /// Begins to connect to the server. Must be called on the runtime that serves calls.
    pub fn start(server: Arc<Server>, options: UpstreamOptions) -> Arc<Self> {
        let this = Self::idle(server, options);
        this.tasks.lock().spawn(keep::run(Arc::clone(&this.shared)));
        this
    }

    /// A way that is never gone: for looking at what a configuration would mean.
    pub fn idle(server: Arc<Server>, options: UpstreamOptions) -> Arc<Self> {
        let owner = options.owner;
        let peer = peer(&server, &options);
        let dialler = Arc::new(Dialler::new(server.clone(), options));
        let children = matches!(server.reach, Reach::Stdio { .. });
        let shared = Arc::new(Shared {
            turns: Turns::new(concurrency(&server)),
            own: Own::new(dialler.for_sessions(), owner, children, server.per_caller),
            dialler,
            server,
            peer,
            current: ArcSwapOption::empty(),
            phase: watch::Sender::new(Phase::Starting),
            connections: watch::Sender::new(0),
            wanted: Notify::new(),
            restarts: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            stale: Arc::default(),
            shutdown: CancellationToken::new(),
        });
        Arc::new(Self {
            shared,
            tasks: Mutex::default(),
        })
    }

    /// The server's definition.
    pub fn server(&self) -> &Arc<Server> {
        &self.shared.server
    }

    /// The SPIFFE ID of the server's sidecars, where it is behind them.
    pub fn peer(&self) -> Option<&Arc<str>> {
        self.shared.peer.as_ref()
    }

    /// Makes a call: a modern request in the server's own names, with [`Outbound::id`] as its id.
    ///
    /// A reply of one message from a modern HTTP server has not been scanned; everything else is valid JSON-RPC.
    pub async fn call(&self, out: Outbound) -> Result<Reply, Refusal> {
        self.call_owned(&out).await.map(|(_, reply)| reply)
    }

    /// The same, and who holds what the call may be gone on with. By reference, because each step on the way would keep room
    /// for the request of its own.
    pub async fn call_owned(&self, out: &Outbound) -> Result<(Owner, Reply), Refusal> {
        let shared = &self.shared;
        let turn = match shared.turns.take(out) {
            Some(turn) => turn,
            None => Box::pin(shared.turns.wait(out)).await?,
        };
        let tool = out.name.as_deref().filter(|_| out.method == Method::ToolsCall);
        let patience = Patience::new(out, shared.server.deadlines(tool));
        let connected = match shared.open_connection() {
            Some(connected) => connected,
            None => shared.connected(patience.until()).await?,
        };
        connected.call(out, patience, turn).await
    }

    /// Calls it is working on; subscriptions are none.
    pub fn calls_in_flight(&self) -> usize {
        self.shared.turns.calls()
    }

    /// What the server says of itself: a modern `DiscoverResult`, at most a minute old.
    pub async fn discover(&self) -> Result<Bytes, Refusal> {
        let out = probe::discover_request(PROBE_MAX);
        let deadlines = Deadlines {
            silence: PROBE_MAX,
            hard: PROBE_MAX,
        };
        let patience = Patience::new(&out, deadlines);
        let connected = self.shared.connected(patience.until()).await?;
        if let Some(known) = connected.known_discover() {
            return Ok(known);
        }
        let turn = match self.shared.turns.take(&out) {
            Some(turn) => turn,
            None => self.shared.turns.wait(&out).await?,
        };
        connected.discover(&out, patience, turn).await
    }

    /// Counts connections to the server; a change means that its catalogue may be another one.
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.shared.connections.subscribe()
    }

    /// Counts the occasions on which the server has refused a call for what its catalogue says: a change means that the
    /// catalogue is not the one that was read.
    pub fn stale(&self) -> watch::Receiver<u64> {
        self.shared.stale.subscribe()
    }

    /// The server's era, once it is known.
    pub fn era(&self) -> Option<Era> {
        self.shared.current.load().as_ref().map(|connected| connected.era())
    }

    /// What an operator wants to know.
    pub fn status(&self) -> UpstreamStatus {
        let connected = self.shared.current.load_full();
        let stdio = connected.as_ref().and_then(|connected| connected.stdio());
        let sidecars = self.shared.dialler.known_sidecars();
        let mut next_attempt = None;
        let state = match &*self.shared.phase.borrow() {
            Phase::Up => State::Up,
            Phase::Starting => State::Starting,
            Phase::Away {
                refusal, since, next, ..
            } => {
                next_attempt = Some(next.saturating_duration_since(tokio::time::Instant::now()));
                State::Away {
                    why: refusal.message.clone().into_owned(),
                    since: since.elapsed(),
                }
            }
        };
        UpstreamStatus {
            era: connected.as_ref().map(|connected| connected.era()),
            revision: connected.as_ref().map(|connected| connected.revision()),
            state,
            pid: stdio.and_then(|link| link.pid()),
            restarts: self.shared.restarts.load(Ordering::Relaxed),
            failures: self.shared.failures.load(Ordering::Relaxed),
            next_attempt,
            in_flight: self.shared.turns.in_flight(),
            waiting: self.shared.turns.waiting(),
            parked: self.shared.own.levels(),
            endpoints: sidecars.map(|sidecars| sidecars.status()).unwrap_or_default(),
            stderr: stdio.map(|link| link.stderr_tail()).unwrap_or_default(),
            noise: stdio.map_or(0, |link| link.strays().noise.load(Ordering::Relaxed)),
        }
    }

    /// The client of a parked call is not asked after all: the call is given up. A state of another kind changes nothing.
    pub fn give_up(&self, caller: &Arc<Caller>, state: &str) {
        self.shared.own.give_up(caller, state);
    }

    /// Gives up the parked calls of callers that may not go on with them any more: their servers are told now, and not when
    /// their time is over.
    pub fn keep_parked(&self, keep: impl Fn(&Caller) -> bool) {
        self.shared.own.keep_only(keep);
    }

    /// How it stands with parked calls and the sessions of single callers.
    pub fn parked(&self) -> ParkedLevels {
        self.shared.own.levels()
    }

    /// Whether it has been closed for good.
    pub fn is_closed(&self) -> bool {
        self.shared.shutdown.is_cancelled()
    }

    /// Ends the connection, and a child with everything it has started.
    pub async fn close(&self) {
        self.shared.shutdown.cancel();
        self.shared.own.stop();
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        while tasks.join_next().await.is_some() {}
        self.shared.own.close().await;
        if let Some(sidecars) = self.shared.dialler.known_sidecars() {
            sidecars.close().await;
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.own.stop();
    }
}

fn peer(server: &Server, options: &UpstreamOptions) -> Option<Arc<str>> {
    let (Reach::Sidecar { version, .. }, Some(hop)) = (&server.reach, &options.hop) else {
        return None;
    };
    let id = hop::sidecar_id(hop, &server.name, version).ok()?;
    Some(id.as_str().into())
}

/// How many calls the server is given at once. Those of a server with sidecars are counted and queued there, where all its
/// gateways meet.
fn concurrency(server: &Server) -> Concurrency {
    match server.reach {
        Reach::Sidecar { .. } => Concurrency {
            max: COUNTED_MAX,
            ..server.concurrency
        },
        _ => server.concurrency,
    }
}

impl Shared {
    /// The connection, waited for if need be. What is refused here has not been sent.
    async fn connected(&self, until: tokio::time::Instant) -> Result<Arc<Connected>, Refusal> {
        let waited = tokio::time::timeout_at(until, Box::pin(self.wait_connected())).await;
        waited.unwrap_or_else(|_| Err(too_late(Executed::No)))
    }

    fn open_connection(&self) -> Option<Arc<Connected>> {
        self.current.load_full().filter(|connected| connected.is_open())
    }

    async fn wait_connected(&self) -> Result<Arc<Connected>, Refusal> {
        let mut phase = self.phase.subscribe();
        loop {
            let seen = phase.borrow_and_update().clone();
            if let Some(connected) = self.open_connection() {
                return Ok(connected);
            }
            if let Phase::Away {
                refusal,
                eager_from,
                next,
                ..
            } = seen
            {
                let now = tokio::time::Instant::now();
                if now < eager_from {
                    return Err(refusal.retry(next.min(eager_from).duration_since(now)));
                }
            }
            self.wanted.notify_one();
            if phase.changed().await.is_err() || self.shutdown.is_cancelled() {
                return Err(Refusal::server(
                    Reason::ServerAway,
                    Executed::No,
                    "server is being stopped",
                ));
            }
        }
    }

    /// Whether callers may ask for an attempt before its time: dialling is cheap, starting a process is not.
    fn is_cheap(&self) -> bool {
        !matches!(self.server.reach, Reach::Stdio { .. })
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("server", &self.shared.server.name)
            .finish_non_exhaustive()
    }
}
