//! Sessions and children of one caller's own.
//!
//! A legacy server that asks something asks its session, and nothing in the question says which call it is about. So a call
//! whose client can be asked has a session to itself while it is in flight, and while it is parked: of the same caller,
//! opened with what that client declared. Between calls it waits for the caller's next one, most recently used first, so
//! that calls in a row meet the same state; unused ones end after a while. Nothing of one caller is ever lent to another.
//!
//! A session whose call was left half way is ended and not lent again: what the server still has to say about that call
//! would be taken for the next one's.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use meshgate_bridge::Capabilities;
use meshgate_bridge::lift::{Asked, Handshake, ParkLimits, Parking, cancelled};
use meshgate_mcp::Revision;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flow::Flow;
use super::limits::{
    CHILDREN_PER_CALLER_MAX, CHILDREN_PER_SERVER_MAX, FOLLOWED_MAX, GOODBYE_MAX, PARK_MAX, PARKED_SHARE, ROUNDS_MAX,
    SESSION_IDLE_MAX, SESSION_SWEEP, SESSION_WAITERS_MAX, SESSIONS_PER_CALLER_MAX, SESSIONS_PER_SERVER_MAX,
};
use super::shared::{Live, Shared};
use super::{Link, background, errands, handshake};
use crate::call::Caller;
use crate::refusal::{Executed, Reason, Refusal};

/// Opens one more way to the server.
pub type Dial = Box<dyn Fn() -> BoxFuture<'static, Result<Link, Refusal>> + Send + Sync>;

/// By whom a parked call is taken back: it is handed to whoever asks for it here.
pub(super) type Waits = oneshot::Sender<oneshot::Sender<Flow>>;

/// How many own sessions there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OwnLimits {
    per_caller_max: usize,
    per_server_max: usize,
}

/// The own sessions of one server, and the calls that are parked on them.
pub struct Own {
    dial: Dial,
    limits: OwnLimits,
    pool: Mutex<Pool>,
    /// Own sessions there may still be.
    room: Arc<Semaphore>,
    waiting: AtomicUsize,
    pub(super) parking: Mutex<Parking<Arc<Caller>, Waits>>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

#[derive(Default)]
struct Pool {
    /// Sessions that each caller may still use at once.
    callers: HashMap<Arc<Caller>, Arc<Semaphore>>,
    /// Sessions that wait for their caller's next call, the most recently used last.
    idle: Vec<Idle>,
    sweeping: bool,
}

struct Idle {
    key: Key,
    session: Session,
    since: tokio::time::Instant,
}

/// Whose session it is, and what its handshake declared.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) caller: Arc<Caller>,
    pub(super) can: Capabilities,
}

/// One session, counted for as long as it lives.
struct Session {
    shared: Arc<Shared>,
    _counted: OwnedSemaphorePermit,
}

impl Own {
    /// None yet. `dial` opens the way that a session needs: for a server over HTTP the same for all, otherwise one each.
    pub fn new(dial: Dial, owner: u64, children: bool) -> Arc<Self> {
        let limits = if children {
            OwnLimits {
                per_caller_max: CHILDREN_PER_CALLER_MAX,
                per_server_max: CHILDREN_PER_SERVER_MAX,
            }
        } else {
            OwnLimits {
                per_caller_max: SESSIONS_PER_CALLER_MAX,
                per_server_max: SESSIONS_PER_SERVER_MAX,
            }
        };
        let parked = ParkLimits {
            per_caller_max: limits.per_caller_max / PARKED_SHARE,
            per_server_max: limits.per_server_max / PARKED_SHARE,
            rounds_max: ROUNDS_MAX,
            life: PARK_MAX,
        };
        Arc::new(Self {
            dial,
            limits,
            pool: Mutex::default(),
            room: Arc::new(Semaphore::new(limits.per_server_max)),
            waiting: AtomicUsize::new(0),
            parking: Mutex::new(Parking::new(owner, parked)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Calls that wait for their client.
    pub fn parked(&self) -> usize {
        self.parking.lock().len()
    }

    /// Own sessions there are.
    pub fn sessions(&self) -> usize {
        self.limits.per_server_max - self.room.available_permits()
    }

    /// Gives every parked call up, answers the server's open questions, and ends every session.
    pub async fn close(&self) {
        self.stop();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Begins to end; [`Self::close`] also waits for the end.
    pub fn stop(&self) {
        self.stop.cancel();
        drop(self.parking.lock().drain());
        let idle = std::mem::take(&mut self.pool.lock().idle);
        for one in idle {
            self.end(one.session, None, Vec::new(), None);
        }
    }

    /// A session for one call of `key`, waited for if need be. What is refused here has not been sent.
    pub(super) async fn check_out(
        self: &Arc<Self>,
        key: Key,
        revision: &'static Revision,
        until: tokio::time::Instant,
    ) -> Result<Lease, Refusal> {
        let turn = self.turn(&key.caller, until).await?;
        let session = match self.pick(&key) {
            Some(session) => session,
            None => Box::pin(self.open(&key, revision, until)).await?,
        };
        Ok(Lease {
            own: Arc::clone(self),
            session: Some(session),
            key,
            turn: Some(turn),
            asked: Asked::default(),
            live: None,
            open: None,
            clean: false,
        })
    }

    async fn turn(
        self: &Arc<Self>,
        caller: &Arc<Caller>,
        until: tokio::time::Instant,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let turns = {
            let mut pool = self.pool.lock();
            let fresh = || Arc::new(Semaphore::new(self.limits.per_caller_max));
            Arc::clone(pool.callers.entry(Arc::clone(caller)).or_insert_with(fresh))
        };
        let rule = "lift/sessions-per-caller";
        self.permit(turns, until, rule).await
    }

    /// A permit, waited for behind those who came before.
    async fn permit(
        &self,
        from: Arc<Semaphore>,
        until: tokio::time::Instant,
        rule: &'static str,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.stop.is_cancelled() {
            return Err(stopped());
        }
        if let Ok(permit) = Arc::clone(&from).try_acquire_owned() {
            return Ok(permit);
        }
        let _waits = Waiting::begin(&self.waiting).ok_or_else(|| full(rule))?;
        tokio::select! {
            () = self.stop.cancelled() => Err(stopped()),
            permit = tokio::time::timeout_at(until, from.acquire_owned()) => match permit {
                Ok(Ok(permit)) => Ok(permit),
                Ok(Err(_)) | Err(_) => Err(full(rule)),
            },
        }
    }

    /// The session of that key that was used last.
    fn pick(&self, key: &Key) -> Option<Session> {
        let mut pool = self.pool.lock();
        loop {
            let at = pool.idle.iter().rposition(|idle| idle.key == *key)?;
            let idle = pool.idle.remove(at);
            if !idle.session.shared.gone.is_cancelled() {
                return Some(idle.session);
            }
        }
    }

    async fn open(
        self: &Arc<Self>,
        key: &Key,
        revision: &'static Revision,
        until: tokio::time::Instant,
    ) -> Result<Session, Refusal> {
        if self.room.available_permits() == 0 {
            self.evict();
        }
        let counted = self
            .permit(Arc::clone(&self.room), until, "lift/sessions-per-server")
            .await?;
        let opened = tokio::time::timeout_at(until, async {
            let link = (self.dial)().await?;
            let mut strays = match &link {
                Link::Stdio(link) => Some(link.unsolicited()),
                Link::Http(_) => None,
            };
            let greeting = Handshake::own(revision, key.can);
            let live = handshake::open(&link, &mut strays, (greeting, 1), until.into_std()).await?;
            let shared = Shared::new(link, greeting, live);
            background::start(&shared, strays);
            if shared.link.is_http() {
                let mut followed = shared.followed.subscribe();
                let _ = tokio::time::timeout(FOLLOWED_MAX, followed.wait_for(|once| *once)).await;
            }
            Ok(shared)
        });
        let shared = opened.await.unwrap_or_else(|_| {
            Err(Refusal::server(
                Reason::Deadline,
                Executed::No,
                "server did not open a session of the caller's own before the deadline",
            ))
        })?;
        Ok(Session {
            shared,
            _counted: counted,
        })
    }

    /// Makes room: the session that has waited longest for its caller goes.
    fn evict(&self) {
        let mut pool = self.pool.lock();
        if pool.idle.is_empty() {
            return;
        }
        let oldest = pool.idle.remove(0);
        drop(pool);
        self.end(oldest.session, None, Vec::new(), None);
    }

    /// Keeps a session for its caller's next call.
    fn give_back(self: &Arc<Self>, key: Key, session: Session) {
        let wanted = self.room.available_permits() == 0 && self.waiting.load(Ordering::Relaxed) > 0;
        if wanted || self.stop.is_cancelled() || session.shared.gone.is_cancelled() {
            return self.end(session, None, Vec::new(), None);
        }
        let runtime = session.shared.runtime.clone();
        let mut pool = self.pool.lock();
        pool.idle.push(Idle {
            key,
            session,
            since: tokio::time::Instant::now(),
        });
        if !std::mem::replace(&mut pool.sweeping, true) {
            drop(self.tasks.spawn_on(sweep(Arc::clone(self)), &runtime));
        }
    }

    /// A caller that uses nothing is not remembered.
    fn forget(&self, caller: &Arc<Caller>) {
        let mut pool = self.pool.lock();
        if pool.callers.get(caller).is_some_and(|turns| {
            Arc::strong_count(turns) == 1 && turns.available_permits() == self.limits.per_caller_max
        }) {
            pool.callers.remove(caller);
        }
    }

    /// Ends a session: first the answers that its server still waits for, then the cancellation of its open call.
    fn end(&self, session: Session, live: Option<Arc<Live>>, answers: Vec<Vec<u8>>, open: Option<u64>) {
        let runtime: Handle = session.shared.runtime.clone();
        let goodbye = async move {
            let shared = &session.shared;
            let mut words = answers;
            words.extend(open.map(|id| cancelled(id, "the caller is gone")));
            let said = async {
                if !shared.gone.is_cancelled() {
                    let live = live.unwrap_or_else(|| shared.live());
                    errands::say_all(shared, &live.headers, words).await;
                }
                shared.end().await;
                if let Link::Stdio(link) = &shared.link {
                    link.close().await;
                }
            };
            let _ = tokio::time::timeout(GOODBYE_MAX, said).await;
        };
        drop(self.tasks.spawn_on(goodbye, &runtime));
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own")
            .field("parked", &self.parked())
            .finish_non_exhaustive()
    }
}

/// Ends sessions that nobody has used for long, as long as there are any.
async fn sweep(own: Arc<Own>) {
    loop {
        tokio::select! {
            () = own.stop.cancelled() => return,
            () = tokio::time::sleep(SESSION_SWEEP) => {}
        }
        let mut over = Vec::new();
        {
            let mut pool = own.pool.lock();
            let (kept, old) = std::mem::take(&mut pool.idle).into_iter().partition(|idle: &Idle| {
                idle.since.elapsed() < SESSION_IDLE_MAX && !idle.session.shared.gone.is_cancelled()
            });
            pool.idle = kept;
            over.extend(old);
            pool.sweeping = !pool.idle.is_empty();
            if !pool.sweeping && over.is_empty() {
                return;
            }
            pool.sweeping = true;
        }
        for one in over {
            own.end(one.session, None, Vec::new(), None);
        }
    }
}

/// A call that waits for a session.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let joined = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
            (waiting < SESSION_WAITERS_MAX).then(|| waiting + 1)
        });
        joined.ok().map(|_| Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A session that one call has, until it is dropped.
pub(super) struct Lease {
    own: Arc<Own>,
    /// `None` once it has been given back.
    session: Option<Session>,
    key: Key,
    turn: Option<OwnedSemaphorePermit>,
    /// What the server waits for.
    pub(super) asked: Asked,
    /// The session at the server that the call was made in. What the call leaves open is said there and nowhere else: a
    /// session that the server has lost meanwhile is made anew, and knows nothing of the call.
    pub(super) live: Option<Arc<Live>>,
    /// The request that the server has not answered.
    pub(super) open: Option<u64>,
    /// Whether the server has nothing more to say about the call.
    pub(super) clean: bool,
}

impl Lease {
    pub(super) fn own(&self) -> &Arc<Own> {
        &self.own
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn shared(&self) -> Option<&Arc<Shared>> {
        self.session.as_ref().map(|session| &session.shared)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let answers = self.asked.give_up();
        if self.clean && answers.is_empty() {
            self.own.give_back(self.key.clone(), session);
        } else {
            self.own.end(session, self.live.take(), answers, self.open.take());
        }
        drop(self.turn.take());
        self.own.forget(&self.key.caller);
    }
}

fn full(rule: &'static str) -> Refusal {
    let message = "every session with this server that may be opened for a caller that can be asked is in use; answer or \
        give up what is open, or come back later";
    Refusal::new(Reason::Overloaded, message)
        .rule(rule)
        .retry(std::time::Duration::from_secs(1))
}

fn stopped() -> Refusal {
    Refusal::server(Reason::ServerAway, Executed::No, "server is being stopped")
}
