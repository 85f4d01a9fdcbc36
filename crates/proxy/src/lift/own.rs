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
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use meshgate_bridge::Capabilities;
use meshgate_bridge::lift::{Handshake, ParkLimits, Parking, cancelled};
use meshgate_mcp::Revision;
use meshgate_telemetry::ParkedLevels;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::flow::Flow;
use super::limits::{
    CHILDREN_PER_CALLER_MAX, CHILDREN_PER_SERVER_MAX, FOLLOWED_MAX, GOODBYE_MAX, LAST_CALLS_LOOK, PARK_MAX,
    PARKED_SHARE, ROUNDS_MAX, SESSION_IDLE_MAX, SESSION_SWEEP, SESSION_WAITERS_MAX, SESSIONS_PER_CALLER_MAX,
    SESSIONS_PER_SERVER_MAX,
};
use super::per_caller::CallerSessions;
use super::shared::{Live, Shared, now};
use super::{Link, background, errands, handshake};
use crate::call::Caller;
use crate::refusal::{Executed, Reason, Refusal};

mod lease;

pub(super) use self::lease::Lease;

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
    /// Sessions of callers for whom all calls share one; `None` where all callers share one.
    pub(super) by_caller: Option<CallerSessions>,
    pub(super) parking: Mutex<Parking<Arc<Caller>, Waits>>,
    pub(super) counts: ParkedCounts,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

/// What became of parked calls, since the start.
#[derive(Debug, Default)]
pub(super) struct ParkedCounts {
    pub(super) resumed: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) refused: AtomicU64,
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
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    _counted: OwnedSemaphorePermit,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Own {
    /// None yet. `dial` opens the way that a session needs: for a server over HTTP the same for all, otherwise one each
    /// (`children`). With `per_caller`, also callers that cannot be asked anything have a session each.
    pub fn new(dial: Dial, owner: u64, children: bool, per_caller: bool) -> Arc<Self> {
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
            by_caller: per_caller.then(CallerSessions::default),
            parking: Mutex::new(Parking::new(owner, parked)),
            counts: ParkedCounts::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Calls that wait for their client, the sessions there are, and what became of calls that waited.
    pub fn levels(&self) -> ParkedLevels {
        ParkedLevels {
            parked: self.parking.lock().len(),
            own_sessions: self.limits.per_server_max - self.room.available_permits(),
            resumed: self.counts.resumed.load(Ordering::Relaxed),
            expired: self.counts.expired.load(Ordering::Relaxed),
            refused: self.counts.refused.load(Ordering::Relaxed),
        }
    }

    /// Gives one parked call up: its server is told, and nobody can go on with it.
    pub fn give_up(&self, caller: &Arc<Caller>, state: &str) {
        let taken = self.parking.lock().take(state, caller, now());
        drop(taken);
    }

    /// Gives up the parked calls of callers that may not go on with them any more.
    pub fn keep_only(&self, keep: impl Fn(&Caller) -> bool) {
        drop(self.parking.lock().keep_only(|caller| keep(caller)));
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
        let of_callers = self.by_caller.iter().flat_map(CallerSessions::take_all);
        for session in idle.into_iter().map(|idle| idle.session).chain(of_callers) {
            self.end(session, None, Vec::new(), None);
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
        Ok(Lease::new(self, session, key, turn))
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

    /// Opens a session, as soon as there may be one more.
    pub(super) async fn open(
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

    /// Sees to it that unused sessions end.
    pub(super) fn keep_sweeping(self: &Arc<Self>, session: &Session) {
        if !std::mem::replace(&mut self.pool.lock().sweeping, true) {
            drop(self.tasks.spawn_on(sweep(Arc::clone(self)), &session.shared.runtime));
        }
    }

    /// Keeps a session for its caller's next call.
    fn give_back(self: &Arc<Self>, key: Key, session: Session) {
        let wanted = self.room.available_permits() == 0 && self.waiting.load(Ordering::Relaxed) > 0;
        if wanted || self.stop.is_cancelled() || session.shared.gone.is_cancelled() {
            return self.end(session, None, Vec::new(), None);
        }
        self.keep_sweeping(&session);
        self.pool.lock().idle.push(Idle {
            key,
            session,
            since: tokio::time::Instant::now(),
        });
    }

    /// Ends the sessions of callers that were in use when everything was told to end, each when its last call has ended.
    async fn end_with_calls(&self) {
        while let Some(of_callers) = self.by_caller.as_ref().filter(|all| !all.is_empty()) {
            for session in of_callers.take_all() {
                self.end(session, None, Vec::new(), None);
            }
            tokio::time::sleep(LAST_CALLS_LOOK).await;
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
            .field("levels", &self.levels())
            .finish_non_exhaustive()
    }
}

/// Ends sessions that nobody has used for long, as long as there are any.
async fn sweep(own: Arc<Own>) {
    loop {
        tokio::select! {
            () = own.stop.cancelled() => return own.end_with_calls().await,
            () = tokio::time::sleep(SESSION_SWEEP) => {}
        }
        let mut over: Vec<Session> = own.by_caller.iter().flat_map(CallerSessions::take_unused).collect();
        {
            let mut pool = own.pool.lock();
            let (kept, old): (Vec<Idle>, Vec<Idle>) = std::mem::take(&mut pool.idle)
                .into_iter()
                .partition(|idle| idle.since.elapsed() < SESSION_IDLE_MAX && !idle.session.shared.gone.is_cancelled());
            pool.idle = kept;
            over.extend(old.into_iter().map(|idle| idle.session));
            pool.sweeping = !pool.idle.is_empty() || own.by_caller.as_ref().is_some_and(|all| !all.is_empty());
            if !pool.sweeping && over.is_empty() {
                return;
            }
            pool.sweeping = true;
        }
        for session in over {
            own.end(session, None, Vec::new(), None);
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
