//! One endpoint as it is called: its connections, its calls, its health.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use meshgate_identity::svid::Svid;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::conn::{Conn, Unopened, Watch, Worn, open};
use super::health::Health;
use super::lane::{Lane, Next};
use super::pool::Shared;
use super::table::Endpoint;
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

/// A connection that ends sooner is not replaced at once before somebody asks for it: an end that takes each connection
/// and ends it would otherwise be connected to without a pause.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Calls, which end.
    Calls,
    /// Streams that are open for hours.
    Streams,
}

/// One endpoint.
pub(super) struct End {
    pub(super) endpoint: Endpoint,
    pub(super) health: Health,
    calls: Lane,
    streams: Lane,
    in_flight: AtomicUsize,
    pool: Weak<Shared>,
    /// Ends its connections at once.
    cut: CancellationToken,
}

/// One stream of a connection; given back when it is dropped.
pub(super) struct Ticket {
    pub(super) end: Arc<End>,
    pub(super) conn: Arc<Conn>,
}

impl Ticket {
    /// The SVID that the connection was made with.
    pub(super) fn svid(&self) -> &Arc<Svid> {
        &self.conn.svid
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.conn.leave();
        self.end.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl End {
    pub(super) fn new(endpoint: Endpoint, pool: &Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            health: Health::default(),
            calls: Lane::default(),
            streams: Lane::default(),
            in_flight: AtomicUsize::new(0),
            pool: Arc::downgrade(pool),
            cut: pool.stop.child_token(),
        })
    }

    fn lane(&self, carries: Carries) -> &Lane {
        match carries {
            Carries::Calls => &self.calls,
            Carries::Streams => &self.streams,
        }
    }

    /// Calls and streams that are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a call could leave now.
    pub(super) fn is_open(&self) -> bool {
        self.calls.len() > 0
    }

    /// Whether the last attempt to connect has failed, and nothing is open.
    pub(super) fn is_failing(&self) -> bool {
        self.calls.len() == 0 && self.calls.is_failing()
    }

    /// Where work goes on that its call does not wait for; none once the pool has ended.
    pub(super) fn tasks(&self) -> Option<TaskTracker> {
        self.pool.upgrade().map(|pool| pool.tasks.clone())
    }

    /// Open connections of a kind.
    pub(super) fn connections(&self, carries: Carries) -> usize {
        self.lane(carries).len()
    }

    fn ticket(self: &Arc<Self>, carries: Carries) -> Option<Ticket> {
        let conn = self.lane(carries).take()?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Ticket {
            end: Arc::clone(self),
            conn,
        })
    }

    /// A stream of a connection, waited for if need be. What is refused here has not been sent.
    pub(super) async fn enter(self: &Arc<Self>, carries: Carries, until: Instant) -> Result<Ticket, Refusal> {
        match self.ticket(carries) {
            Some(ticket) => Ok(ticket),
            None => Box::pin(self.wait(carries, until)).await,
        }
    }

    async fn wait(self: &Arc<Self>, carries: Carries, until: Instant) -> Result<Ticket, Refusal> {
        let mut opened = self.lane(carries).follow();
        loop {
            opened.borrow_and_update();
            if let Some(ticket) = self.ticket(carries) {
                return Ok(ticket);
            }
            match self.next(carries)? {
                Next::Open => self.begin(carries),
                Next::Wait | Next::GiveUp(_) => {}
            }
            if timeout_at(until, opened.changed()).await.is_err() {
                let text = "server did not answer before the deadline: no connection to it could be opened";
                return Err(Refusal::server(Reason::Deadline, Executed::No, text));
            }
        }
    }

    fn next(&self, carries: Carries) -> Result<Next, Refusal> {
        let pool = self.pool.upgrade().ok_or_else(stopped)?;
        match self.lane(carries).next(&pool.options.limits) {
            Next::GiveUp(refusal) => Err(refusal),
            other => Ok(other),
        }
    }

    /// Opens a connection before anybody needs it, unless that is under way or was tried just now.
    pub(super) fn warm(self: &Arc<Self>, carries: Carries) {
        if let Ok(Next::Open) = self.next(carries) {
            self.begin(carries);
        }
    }

    fn begin(self: &Arc<Self>, carries: Carries) {
        if let Some(pool) = self.pool.upgrade() {
            let this = Arc::clone(self);
            let options = Arc::clone(&pool);
            pool.tasks.spawn(async move { this.open(carries, &options).await });
        }
    }

    /// Opens a connection, and carries it until it has ended.
    async fn open(self: Arc<Self>, carries: Carries, pool: &Arc<Shared>) {
        let opened = tokio::select! {
            () = self.cut.cancelled() => Err(Unopened { refusal: stopped(), was_taken: false }),
            opened = open(&self.endpoint, &pool.options) => opened,
        };
        let (conn, watch) = match opened {
            Ok(opened) => opened,
            Err(unopened) => {
                tracing::debug!(endpoint = &*self.endpoint.address, why = %unopened.refusal, "no connection");
                self.lane(carries).failed(unopened, &pool.options.limits);
                pool.unreachable(&self);
                return;
            }
        };
        self.carry(carries, (conn, watch), pool).await;
    }

    /// Gives a connection to the calls and carries it until it has ended.
    async fn carry(self: Arc<Self>, carries: Carries, (conn, watch): (Arc<Conn>, Watch), pool: &Arc<Shared>) {
        if !self.lane(carries).opened(&conn) {
            return;
        }
        pool.reached(&self);
        let known = Arc::downgrade(&conn);
        drop(conn);
        let began = Instant::now();
        let worn = |worn| {
            if worn == Worn::Old {
                self.replace(carries, &known, pool);
            } else {
                self.lost(carries, &known, pool, began);
            }
        };
        watch.run(&pool.options, self.cut.child_token(), worn).await;
    }

    /// A connection that is to go takes no more work once there is another one.
    fn replace(self: &Arc<Self>, carries: Carries, old: &Weak<Conn>, pool: &Arc<Shared>) {
        let (this, old, options) = (Arc::clone(self), old.clone(), Arc::clone(pool));
        pool.tasks.spawn(async move {
            let limits = options.options.limits;
            let lane = this.lane(carries);
            while old.upgrade().is_some_and(|old| !old.is_closed()) {
                let mut opened = lane.follow();
                let before = lane.len();
                match lane.next(&limits) {
                    Next::Open => this.begin(carries),
                    Next::Wait => {}
                    Next::GiveUp(_) => {
                        tokio::select! {
                            () = this.cut.cancelled() => return,
                            () = tokio::time::sleep(limits.pause_min) => continue,
                        }
                    }
                }
                tokio::select! {
                    () = this.cut.cancelled() => return,
                    _ = opened.changed() => {}
                }
                if lane.len() > before
                    && let Some(old) = old.upgrade()
                {
                    lane.forget(&old);
                    return;
                }
            }
        });
    }

    /// A connection takes no new work.
    pub(super) fn spent(&self, conn: &Arc<Conn>) {
        self.calls.forget(conn);
        self.streams.forget(conn);
    }

    /// A connection has ended by itself.
    fn lost(self: &Arc<Self>, carries: Carries, old: &Weak<Conn>, pool: &Arc<Shared>, began: Instant) {
        if let Some(old) = old.upgrade() {
            self.lane(carries).forget(&old);
        }
        // Calls should not have to wait for a handshake, and whether the endpoint is still there is good to know.
        if carries == Carries::Calls && self.calls.len() == 0 {
            if began.elapsed() >= SHORT_LIFE {
                self.warm(carries);
            } else {
                let (this, pause) = (Arc::clone(self), pool.options.limits.pause_min);
                pool.tasks.spawn(async move {
                    tokio::select! {
                        () = this.cut.cancelled() => {}
                        () = tokio::time::sleep(pause) => this.warm(carries),
                    }
                });
            }
        }
        pool.changed();
    }

    /// Looks for an endpoint that has no calls until a connection to it stands.
    pub(super) async fn mend(self: Arc<Self>, pool: Arc<Shared>) {
        let limits = pool.options.limits;
        while self.health.is_out() {
            let pause = self
                .health
                .pause(limits.pause_min, limits.pause_max, simulated::random());
            tokio::select! {
                () = self.cut.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let opened = tokio::select! {
                () = self.cut.cancelled() => return,
                opened = open(&self.endpoint, &pool.options) => opened,
            };
            match opened {
                Ok(opened) => {
                    let (this, pool) = (Arc::clone(&self), Arc::clone(&pool));
                    let tasks = pool.tasks.clone();
                    tasks.spawn(async move { this.carry(Carries::Calls, opened, &pool).await });
                    return;
                }
                Err(_) => self.health.still_out(),
            }
        }
    }

    /// No new work. What is under way goes on.
    pub(super) fn leave(&self) {
        self.calls.leave();
        self.streams.leave();
    }
}

pub(super) fn stopped() -> Refusal {
    Refusal::server(Reason::ServerAway, Executed::No, "server is being stopped")
}
