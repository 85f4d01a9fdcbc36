//! What a service knows about the connection that a request came on.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::caps::Slot;
use super::mesh::MeshPeer;
use super::wire::Version;
use crate::call::Caller;
use crate::limits::{Limits, PROOF_BYTES_MAX};
use crate::refusal::{Reason, Refusal};

/// One client's connection. Shared by all its requests; lives until the connection ends.
#[derive(Debug)]
pub struct Connection {
    peer: SocketAddr,
    local: SocketAddr,
    tls: bool,
    version: Version,
    opened: Instant,
    proven: AtomicBool,
    proof: Mutex<Option<Proof>>,
    unproven: AtomicUsize,
    unproven_max: usize,
    ending: AtomicBool,
    in_flight: Arc<AtomicUsize>,
    /// Answers that have something to send and are not asked for it.
    offered: AtomicUsize,
    /// Frames that carried a part of an answer, over HTTP/2.
    sent: Arc<AtomicU64>,
    /// The other end, inside the mesh.
    mesh: Option<Arc<MeshPeer>>,
    /// Milliseconds after `opened` at which nothing was in flight any more.
    quiet_since: AtomicU64,
    slot: Slot,
}

/// Credentials that were good, so that those of the next request need not be hashed and looked up.
struct Proof {
    /// Good under these and no others. As long as this is here no other rules can take their place in memory.
    rules: Weak<dyn Any + Send + Sync>,
    endpoint: usize,
    credentials: Zeroizing<Box<[u8]>>,
    caller: Arc<Caller>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

/// Equality whose time says nothing of where the difference is.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    let different = a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b));
    a.len() == b.len() && std::hint::black_box(different) == 0
}

/// A request of a caller that has not proven yet who it is; ends when dropped.
#[derive(Debug)]
pub struct Unproven {
    connection: Arc<Connection>,
}

/// A request that has no complete answer yet; ends when dropped.
#[derive(Debug)]
pub(super) struct InFlight {
    connection: Arc<Connection>,
    /// Where all of the listener are counted.
    all: Arc<AtomicUsize>,
    offered: bool,
}

impl Connection {
    pub(super) fn new(
        (peer, local): (SocketAddr, SocketAddr),
        tls: bool,
        version: Version,
        limits: &Limits,
        slot: Slot,
        mesh: Option<Arc<MeshPeer>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            peer,
            local,
            tls,
            version,
            opened: Instant::now(),
            proven: AtomicBool::new(false),
            proof: Mutex::new(None),
            unproven: AtomicUsize::new(0),
            unproven_max: limits.h2_unproven_streams,
            ending: AtomicBool::new(false),
            in_flight: Arc::default(),
            offered: AtomicUsize::new(0),
            sent: Arc::default(),
            mesh,
            quiet_since: AtomicU64::new(0),
            slot,
        })
    }

    /// The client's address, as the socket has it.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The listener's address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether the bytes came over TLS.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The HTTP version of the connection.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The other end of a connection inside the mesh.
    pub fn mesh(&self) -> Option<&Arc<MeshPeer>> {
        self.mesh.as_ref()
    }

    /// To be called when a request begins, before anything else is done for it.
    ///
    /// Streams cost memory before anybody knows who opened them, so only a few may be open at once on a connection on
    /// which nobody has proven anything yet. Hold the value until the caller is known.
    ///
    /// # Errors
    /// Too many; to be answered at once, without reading the body.
    pub fn unproven(self: &Arc<Self>) -> Result<Option<Unproven>, Refusal> {
        if self.proven.load(Ordering::Acquire) {
            return Ok(None);
        }
        if self.unproven.fetch_add(1, Ordering::AcqRel) >= self.unproven_max {
            self.unproven.fetch_sub(1, Ordering::AcqRel);
            return Err(Refusal::new(
                Reason::RateLimited,
                "too many requests are open on a connection on which no caller has authenticated; send one request first",
            )
            .rule("limit/unproven-streams")
            .retry(Duration::from_secs(1)));
        }
        Ok(Some(Unproven {
            connection: Arc::clone(self),
        }))
    }

    /// To be called when a caller is known (or the view is open to anonymous calls): the connection now has all its
    /// streams, and no longer counts against its address.
    pub fn prove(&self) {
        if !self.proven.swap(true, Ordering::AcqRel) {
            self.slot.prove();
        }
    }

    /// Who showed these very credentials last on this connection, to the endpoint at `endpoint` under `rules`; `None` when
    /// anything differs. New rules, and with them a revoked token, are honoured at once.
    pub fn shown<R: Send + Sync + 'static>(
        &self,
        credentials: &[u8],
        endpoint: usize,
        rules: &Arc<R>,
    ) -> Option<Arc<Caller>> {
        let proof = self.proof.lock();
        let proof = proof.as_ref()?;
        let same_rules = Weak::as_ptr(&proof.rules).addr() == Arc::as_ptr(rules).addr();
        let known = same_rules && proof.endpoint == endpoint && same_bytes(&proof.credentials, credentials);
        known.then(|| Arc::clone(&proof.caller))
    }

    /// Keeps what [`Connection::shown`] answers from; `rules` are not kept alive.
    pub fn show<R: Send + Sync + 'static>(
        &self,
        credentials: &[u8],
        endpoint: usize,
        rules: &Arc<R>,
        caller: &Arc<Caller>,
    ) {
        if credentials.len() > PROOF_BYTES_MAX {
            return;
        }
        let rules: Weak<dyn Any + Send + Sync> = Arc::downgrade(rules) as _;
        *self.proof.lock() = Some(Proof {
            rules,
            endpoint,
            credentials: Zeroizing::new(credentials.into()),
            caller: Arc::clone(caller),
        });
    }

    /// The connection is to end.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether the next answer has to say that the connection ends with it. HTTP/2 has GOAWAY for that.
    pub(super) fn says_close(&self) -> bool {
        self.version == Version::Http1 && self.ending.load(Ordering::Acquire)
    }

    /// Counts one request until its answer is complete, here and among `all` of the listener.
    pub(super) fn begin(self: &Arc<Self>, all: &Arc<AtomicUsize>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        all.fetch_add(1, Ordering::Relaxed);
        InFlight {
            connection: Arc::clone(self),
            all: Arc::clone(all),
            offered: false,
        }
    }

    /// Since when nothing is in flight; `None` while something is.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        (self.in_flight.load(Ordering::Acquire) == 0)
            .then(|| self.opened + Duration::from_millis(self.quiet_since.load(Ordering::Acquire)))
    }
}

impl Connection {
    /// The count of requests that are in flight.
    pub(super) fn in_flight(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.in_flight)
    }

    /// Where the wire guard counts the frames it sends.
    pub(super) fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// Whether answers wait for the client to take them: then how many frames have been sent so far. Only over
    /// HTTP/2: in HTTP/1 a client that does not read blocks a write, and the wire guard sees that.
    pub(super) fn waits_for_client(&self) -> Option<u64> {
        (self.version == Version::Http2 && self.offered.load(Ordering::Acquire) > 0)
            .then(|| self.sent.load(Ordering::Acquire))
    }
}

impl InFlight {
    /// Notes whether the answer has something to send that the client has not asked for.
    pub(super) fn offer(&mut self, offered: bool) {
        if self.offered == offered {
            return;
        }
        self.offered = offered;
        if offered {
            self.connection.offered.fetch_add(1, Ordering::AcqRel);
        } else {
            self.connection.offered.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.connection.unproven.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.offer(false);
        let connection = &self.connection;
        let since = u64::try_from(connection.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        connection.quiet_since.store(since, Ordering::Release);
        connection.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}
