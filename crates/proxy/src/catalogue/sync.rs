//! Keeping catalogues current: one follower per server, each at its own pace, none waiting for another.
//!
//! What a follower reads it publishes: the views that its server is in are built again and the routing is swapped at
//! once; who listens to a view hears of it only when what they see has changed.
//!
//! The set of servers is the configuration's, and a new configuration is taken over here ([`Catalogues::apply`]) while
//! calls run. A server that stays as it was keeps its process, its connections and its calls. One that is reached in
//! another way is connected to beside the old one, which serves until the new one has answered, because a call must not
//! fail for a change. What is left behind is closed when nobody can use it any more ([`super::leaving`]).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshgate_bridge::Capabilities;
use meshgate_model::{Server, Snapshot, View};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::build::view_state;
use super::follow::Follower;
use super::kept::{Applied, Kept, Replaced};
use super::leaving::Leaving;
use super::own::OwnViews;
use super::read::Reader;
use super::{CurrentRouting, ListKind, Routing, ServerCatalogue, ServerInView, ViewState};
use crate::call::Caller;
use crate::upstream::Upstream;

/// Events that a slow listener may fall behind.
const EVENTS_MAX: usize = 1024;
/// How long a server that is reached in a new way may take to answer before it takes over all the same.
const TAKE_OVER_MAX: Duration = Duration::from_secs(10);

/// A list of a view has changed.
#[derive(Clone, Debug)]
pub struct ListEvent {
    /// The view's path.
    pub path: Arc<str>,
    /// Which lists.
    pub kinds: Vec<ListKind>,
}

/// All servers' catalogues and the routing made of them.
pub struct Catalogues {
    state: Mutex<Kept>,
    tasks: Mutex<Tasks>,
    own: OwnViews,
    routing: Arc<CurrentRouting>,
    events: broadcast::Sender<ListEvent>,
    asked: watch::Sender<u64>,
    rebuilt: watch::Sender<u64>,
    reconfigured: watch::Sender<u64>,
    ids: Arc<AtomicU64>,
    items_max: usize,
    revision: AtomicU64,
}

/// What runs for the catalogues; nothing before [`Catalogues::run`] and nothing after it.
#[derive(Default)]
struct Tasks {
    runtime: Option<Handle>,
    set: JoinSet<()>,
}

/// The tools a server has shown, and why and since when it is away, if it is.
pub type ServerState = (Option<Arc<ServerCatalogue>>, Option<(String, Instant)>);

impl Catalogues {
    /// Starts with empty catalogues; nothing is read before [`Catalogues::run`].
    pub fn new(
        snapshot: Arc<Snapshot>,
        start: impl FnMut(&Arc<Server>) -> Arc<Upstream>,
        ids: Arc<AtomicU64>,
        items_max: usize,
    ) -> Arc<Self> {
        let routing = Arc::new(CurrentRouting::from_pointee(Routing {
            snapshot: snapshot.clone(),
            views: HashMap::new(),
            revision: 0,
        }));
        let this = Arc::new(Self {
            state: Mutex::new(Kept::new(snapshot, start)),
            tasks: Mutex::default(),
            own: OwnViews::default(),
            routing,
            events: broadcast::channel(EVENTS_MAX).0,
            asked: watch::channel(0).0,
            rebuilt: watch::channel(0).0,
            reconfigured: watch::channel(0).0,
            ids,
            items_max,
            revision: AtomicU64::new(0),
        });
        this.rebuild(&mut this.state.lock(), None, &[]);
        this
    }

    /// What calls load.
    pub fn routing(&self) -> &Arc<CurrentRouting> {
        &self.routing
    }

    /// Changes of lists from now on.
    pub fn events(&self) -> broadcast::Receiver<ListEvent> {
        self.events.subscribe()
    }

    /// Changes whenever the routing does: by a configuration, or by what servers offer or whether they are away.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.rebuilt.subscribe()
    }

    /// Changes whenever what a long stream was opened under may no longer hold: a configuration has been applied, or
    /// another way to a server has taken over.
    pub fn reconfigured(&self) -> watch::Receiver<u64> {
        self.reconfigured.subscribe()
    }

    /// The servers and the ways to them, by name.
    pub fn upstreams(&self) -> Vec<(Arc<str>, Arc<Upstream>)> {
        self.state.lock().servers.upstreams()
    }

    /// Ways to servers that the configuration has no longer and whose last calls have not ended.
    pub fn leaving(&self) -> usize {
        self.state.lock().leaving()
    }

    /// What is known of a server.
    pub fn server_state(&self, name: &str) -> ServerState {
        self.state.lock().servers.state(name)
    }

    /// Ends when every server has answered or failed once, or after `patience`.
    pub async fn asked_all(&self, patience: Duration) {
        let mut asked = self.asked.subscribe();
        let all = async {
            while !self.state.lock().servers.all_asked() {
                if asked.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
    }

    /// Keeps all catalogues until `stop` ends, then ends every way to a server, also those that were being left.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        self.tasks.lock().runtime = Some(Handle::current());
        let followers = self.state.lock().servers.follow_all(&self);
        self.spawn_followers(followers);
        stop.await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.set.shutdown().await;
        let all = self.state.lock().every_upstream();
        futures_util::future::join_all(all.iter().map(|upstream| upstream.close())).await;
    }

    /// Takes over a configuration. Servers that are as they were stay untouched, unless they are `touched`: something
    /// outside the configuration that they depend on has changed. `start` begins to connect to a server.
    ///
    /// The next call sees the new configuration; each that has begun ends on what it began with.
    pub fn apply(
        self: &Arc<Self>,
        snapshot: Arc<Snapshot>,
        touched: &BTreeSet<Arc<str>>,
        start: impl FnMut(&Arc<Server>) -> Arc<Upstream>,
    ) -> Applied {
        let mut state = self.state.lock();
        let drain = snapshot.mesh.limits.drain;
        let Replaced {
            applied,
            left,
            followers,
        } = state.servers.replace(self, &snapshot, touched, start);
        state.snapshot = snapshot;
        self.rebuild(&mut state, None, &[]);
        let left = state.leave(left);
        drop(state);
        self.leave(left, drain);
        let taking_over: Vec<_> = followers.iter().filter(|f| f.1).map(|f| f.0.key()).collect();
        self.spawn_followers(followers.into_iter().map(|f| f.0).collect());
        for (name, number) in taking_over {
            let this = self.clone();
            self.spawn(async move {
                tokio::time::sleep(TAKE_OVER_MAX).await;
                this.take_over_late(&name, number);
            });
        }
        self.reconfigured.send_modify(|n| *n += 1);
        self.asked.send_modify(|n| *n += 1);
        applied
    }

    /// What the views of a configuration would be with what is known of the servers now.
    pub fn preview(
        &self,
        snapshot: &Snapshot,
        mut unknown: impl FnMut(&Arc<Server>) -> Arc<Upstream>,
    ) -> Vec<ViewState> {
        let state = self.state.lock();
        let made = snapshot.views.iter().map(|view| {
            let servers = view.servers.iter().map(|entry| {
                state.servers.in_view(&entry.server).unwrap_or_else(|| ServerInView {
                    server: entry.server.clone(),
                    upstream: unknown(&entry.server),
                    catalogue: None,
                    away: true,
                })
            });
            view_state(view, servers.collect(), self.items_max)
        });
        made.collect()
    }

    /// A view as this caller is shown it, whose client can be asked this much.
    pub async fn shown_to(&self, view: &Arc<ViewState>, caller: &Arc<Caller>, can: Capabilities) -> Arc<ViewState> {
        let reader = Reader {
            caller: Some(caller.clone()),
            view: Some(view.view.name.clone()),
            can,
        };
        let next_id = || self.ids.fetch_add(1, Ordering::Relaxed);
        self.own.of(view, &reader, &next_id, self.items_max).await
    }

    pub(super) fn ids(&self) -> &Arc<AtomicU64> {
        &self.ids
    }

    /// What a follower has found.
    pub(super) fn publish(
        self: &Arc<Self>,
        name: &Arc<str>,
        number: u64,
        outcome: Result<ServerCatalogue, String>,
        announced: &[ListKind],
    ) {
        let mut state = self.state.lock();
        let Some(published) = state.servers.publish(name, number, outcome) else {
            return;
        };
        self.rebuild(&mut state, Some(name), announced);
        self.after_take_over(state, published.left);
        if published.first {
            self.asked.send_modify(|n| *n += 1);
        }
    }

    /// A new way to a server has been waited for long enough: from now on it is what the configuration says.
    fn take_over_late(self: &Arc<Self>, name: &Arc<str>, number: u64) {
        let mut state = self.state.lock();
        let Some(left) = state.servers.take_over(name, number) else {
            return;
        };
        tracing::warn!(server = %name, "the new way to the server does not answer yet and is used from now on");
        self.rebuild(&mut state, Some(name), &[]);
        self.after_take_over(state, Some(left));
    }

    fn after_take_over(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, Kept>, left: Option<Arc<Upstream>>) {
        let Some(left) = left else { return };
        let drain = state.snapshot.mesh.limits.drain;
        let left = state.leave(vec![left]);
        drop(state);
        self.leave(left, drain);
        self.reconfigured.send_modify(|n| *n += 1);
    }

    /// Rebuilds the views that a server is in (all of them for `None`) and swaps the routing.
    fn rebuild(&self, state: &mut Kept, changed: Option<&Arc<str>>, announced: &[ListKind]) {
        let before = self.routing.load_full();
        let mut views = HashMap::with_capacity(state.snapshot.views.len());
        let mut events = Vec::new();
        for view in &state.snapshot.views {
            let built = before.views.get(&view.path);
            let contains = changed.is_none_or(|name| view.servers.iter().any(|s| s.server.name == *name));
            if let (Some(built), false) = (built, contains) {
                views.insert(view.path.clone(), built.clone());
                continue;
            }
            let servers: Vec<_> = view
                .servers
                .iter()
                .filter_map(|entry| state.servers.in_view(&entry.server))
                .collect();
            if let Some(built) = built.filter(|built| announced.is_empty() && is_current(built, view, &servers)) {
                views.insert(view.path.clone(), built.clone());
                continue;
            }
            let made = view_state(view, servers, self.items_max);
            let kinds = changed_lists(built.map(|b| &**b), &made, announced);
            if !kinds.is_empty() {
                events.push(ListEvent {
                    path: view.path.clone(),
                    kinds,
                });
            }
            views.insert(view.path.clone(), Arc::new(made));
        }
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        let routing = Arc::new(Routing {
            snapshot: state.snapshot.clone(),
            views,
            revision,
        });
        state.remember(Arc::downgrade(&routing));
        self.routing.store(routing);
        self.rebuilt.send_replace(revision);
        for event in events {
            // Nobody listening is no fault.
            let _ = self.events.send(event);
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::AbortHandle> {
        let mut tasks = self.tasks.lock();
        while tasks.set.try_join_next().is_some() {}
        let runtime = tasks.runtime.clone()?;
        Some(tasks.set.spawn_on(task, &runtime))
    }

    fn spawn_followers(&self, followers: Vec<Follower>) {
        for follower in followers {
            let (name, number) = follower.key();
            if let Some(task) = self.spawn(follower.run()) {
                self.state.lock().servers.followed_by(&name, number, task);
            }
        }
    }

    fn leave(self: &Arc<Self>, left: Vec<Leaving>, drain: Duration) {
        for leaving in left {
            let this = self.clone();
            self.spawn(async move {
                leaving.close(drain).await;
                this.state.lock().gone(leaving.upstream());
            });
        }
    }
}

/// Whether a view would be built again as it is.
fn is_current(built: &ViewState, view: &View, servers: &[ServerInView]) -> bool {
    *built.view == *view
        && built.servers.len() == servers.len()
        && built.servers.iter().zip(servers).all(|(a, b)| {
            let catalogue = match (&a.catalogue, &b.catalogue) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            catalogue && Arc::ptr_eq(&a.upstream, &b.upstream) && a.away == b.away
        })
}

/// The lists of a view that whoever listens is told of.
fn changed_lists(before: Option<&ViewState>, made: &ViewState, announced: &[ListKind]) -> Vec<ListKind> {
    let is_news = |kind: &ListKind| {
        // A view of one server passes on what its server announces; a merged one only real changes.
        let passed_on = !made.view.is_merged() && announced.contains(kind);
        passed_on || before.is_some_and(|before| before.list(*kind).digest != made.list(*kind).digest)
    };
    ListKind::ALL.into_iter().filter(is_news).collect()
}

/// Monotonic time; timers of catalogues never decide anything about a call.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
