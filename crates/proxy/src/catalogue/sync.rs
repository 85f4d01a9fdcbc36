//! Keeping catalogues current: one task per server, each at its own pace, none waiting for another.
//!
//! A task reads its server's catalogue, publishes it, then holds a subscription to the server's list changes and reads
//! again when one comes, when the subscription is lost, or when the configured time has passed. A server that cannot be
//! read is published as away and tried again with growing pauses. Publishing rebuilds the views it is in and swaps the
//! routing at once; who listens to a view hears of it only when what they see has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use meshgate_mcp::{Method, Rules, scan};
use meshgate_model::{Server, Snapshot};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::build::view_state;
use super::{Capabilities, CurrentRouting, ListKind, Routing, ServerCatalogue, ServerInView, read};
use crate::call::{Messages, Reply};
use crate::refusal::Refusal;
use crate::upstream::{State, Upstream};

/// The first pause after a server could not be read; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long changes are gathered before a catalogue is read again.
const GATHER: Duration = Duration::from_millis(20);
/// The shortest time between two readings of one catalogue for changes that its server announces.
const SPACING: Duration = Duration::from_millis(250);
/// The first pause before a server that was read is read from the start again; it doubles up to [`PAUSE_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// How long the catalogue waits for a subscription to be acknowledged before it is read without one.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(2);
/// How often a server without subscriptions is looked at for having gone away.
const LOOK: Duration = Duration::from_secs(1);
/// Events that a slow listener may fall behind.
const EVENTS_MAX: usize = 1024;

/// A list of a view has changed.
#[derive(Clone, Debug)]
pub struct ListEvent {
    /// The view's path.
    pub path: Arc<str>,
    /// Which lists.
    pub kinds: Vec<ListKind>,
}

#[derive(Clone, Default)]
struct Known {
    catalogue: Option<Arc<ServerCatalogue>>,
    away: Option<(String, Instant)>,
    asked: bool,
}

/// All servers' catalogues and the routing made of them.
pub struct Catalogues {
    snapshot: Arc<Snapshot>,
    upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
    known: Mutex<BTreeMap<Arc<str>, Known>>,
    routing: Arc<CurrentRouting>,
    events: broadcast::Sender<ListEvent>,
    asked: watch::Sender<usize>,
    ids: Arc<AtomicU64>,
    items_max: usize,
    revision: AtomicU64,
}

impl Catalogues {
    /// Starts with empty catalogues; nothing is read before [`Catalogues::run`].
    pub fn new(
        snapshot: Arc<Snapshot>,
        upstreams: BTreeMap<Arc<str>, Arc<Upstream>>,
        ids: Arc<AtomicU64>,
        items_max: usize,
    ) -> Arc<Self> {
        let routing = Arc::new(CurrentRouting::from_pointee(Routing {
            snapshot: snapshot.clone(),
            views: HashMap::new(),
            revision: 0,
        }));
        let known = upstreams.keys().map(|name| (name.clone(), Known::default())).collect();
        let this = Arc::new(Self {
            snapshot,
            upstreams,
            known: Mutex::new(known),
            routing,
            events: broadcast::channel(EVENTS_MAX).0,
            asked: watch::channel(0).0,
            ids,
            items_max,
            revision: AtomicU64::new(0),
        });
        this.rebuild(None, &[]);
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

    /// The servers and the ways to them.
    pub fn upstreams(&self) -> &BTreeMap<Arc<str>, Arc<Upstream>> {
        &self.upstreams
    }

    /// The tools a server has shown, and why and since when it is away, if it is.
    pub fn server_state(&self, name: &str) -> (Option<Arc<ServerCatalogue>>, Option<(String, Instant)>) {
        self.known
            .lock()
            .get(name)
            .map(|k| (k.catalogue.clone(), k.away.clone()))
            .unwrap_or_default()
    }

    /// Ends when every server has answered or failed once, or after `patience`.
    pub async fn asked_all(&self, patience: Duration) {
        let mut asked = self.asked.subscribe();
        let all = self.upstreams.len();
        let _ = tokio::time::timeout(patience, asked.wait_for(|n| *n >= all)).await;
    }

    /// Keeps all catalogues until `stop` ends.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut tasks = JoinSet::new();
        for (name, upstream) in &self.upstreams {
            if let Some(server) = self.snapshot.servers.get(name) {
                tasks.spawn(self.clone().follow(server.clone(), upstream.clone()));
            }
        }
        stop.await;
        tasks.shutdown().await;
    }

    async fn follow(self: Arc<Self>, server: Arc<Server>, upstream: Arc<Upstream>) {
        let mut pause = PAUSE_MIN;
        let mut again = AGAIN_MIN;
        loop {
            let mut connections = upstream.connections();
            match self.begin(&server, &upstream, &mut connections).await {
                Ok((catalogue, changes)) => {
                    pause = PAUSE_MIN;
                    self.publish(&server.name, Ok(catalogue), &[]);
                    let began = tokio::time::Instant::now();
                    self.watch(&server, &upstream, changes, connections).await;
                    // A server that ends each subscription at once would be read without end.
                    if began.elapsed() >= PAUSE_MAX {
                        again = AGAIN_MIN;
                    }
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(PAUSE_MAX);
                }
                Err(refusal) => {
                    self.publish(&server.name, Err(refusal.to_string()), &[]);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Reads a server from the start. The subscription is opened before the lists are read, so that no change falls
    /// between the two.
    async fn begin(
        &self,
        server: &Server,
        upstream: &Upstream,
        connections: &mut watch::Receiver<u64>,
    ) -> Result<(ServerCatalogue, Option<Messages>), Refusal> {
        let discover = upstream.discover().await?;
        // Asking may itself have made the connection; one made after that is another server.
        connections.mark_unchanged();
        let changes = self.subscribe(server, upstream, read::capabilities(&discover)).await;
        Ok((self.read(server, upstream).await?, changes))
    }

    async fn read(&self, server: &Server, upstream: &Upstream) -> Result<ServerCatalogue, Refusal> {
        let ids = self.ids.clone();
        let next_id = move || ids.fetch_add(1, Ordering::Relaxed);
        read::catalogue(upstream, server, &next_id, &now).await
    }

    /// Follows a server that has been read until it should be read from the start.
    async fn watch(
        &self,
        server: &Server,
        upstream: &Upstream,
        mut changes: Option<Messages>,
        mut connections: watch::Receiver<u64>,
    ) {
        let mut read_at = tokio::time::Instant::now();
        let mut refresh = tokio::time::interval(server.catalogue_refresh);
        refresh.tick().await;
        loop {
            let mut kinds = Vec::new();
            tokio::select! {
                next = next_change(&mut changes) => match next {
                    Some(Some(kind)) => kinds.push(kind),
                    Some(None) => continue,
                    None => return,
                },
                _ = refresh.tick() => {}
                () = gone(upstream, &mut connections) => return,
            }
            if !kinds.is_empty() {
                // Whoever announces changes without end is read from time to time.
                let until = (read_at + SPACING).max(tokio::time::Instant::now() + GATHER);
                let gather = tokio::time::sleep_until(until);
                tokio::pin!(gather);
                loop {
                    tokio::select! {
                        () = &mut gather => break,
                        next = next_change(&mut changes) => match next {
                            Some(Some(kind)) if !kinds.contains(&kind) => kinds.push(kind),
                            Some(_) => {}
                            None => break,
                        },
                    }
                }
            }
            read_at = tokio::time::Instant::now();
            match self.read(server, upstream).await {
                Ok(catalogue) => self.publish(&server.name, Ok(catalogue), &kinds),
                Err(refusal) => {
                    tracing::info!(server = %server.name, why = %refusal, "the catalogue could not be read again");
                    return;
                }
            }
        }
    }

    /// Opens a subscription to the list changes that the server announces; `None` where it announces none.
    async fn subscribe(&self, server: &Server, upstream: &Upstream, capabilities: Capabilities) -> Option<Messages> {
        let [tools, resources, prompts] = capabilities.list_changed;
        if !(tools || resources || prompts) {
            return None;
        }
        let mut wanted = Vec::new();
        for (on, member) in [
            (tools, "toolsListChanged"),
            (resources, "resourcesListChanged"),
            (prompts, "promptsListChanged"),
        ] {
            if on {
                wanted.push(format!("\"{member}\":true"));
            }
        }
        let params = format!("\"notifications\":{{{}}}", wanted.join(","));
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        // A subscription has no end of its own: the deadline of calls does not apply to it.
        let forever = now() + Duration::from_secs(365 * 24 * 3600);
        let out = read::internal_request(id, Method::Listen, params.as_bytes(), forever);
        match tokio::time::timeout(SUBSCRIBE_MAX, upstream.call(out)).await {
            Ok(Ok(Reply::Stream(messages))) => Some(messages),
            Ok(Ok(Reply::One(_))) => None,
            Err(_) => {
                tracing::info!(server = %server.name, "a subscription is not acknowledged; the catalogue is read by the clock");
                None
            }
            Ok(Err(refusal)) => {
                tracing::info!(server = %server.name, why = %refusal, "no subscription; the catalogue is read by the clock");
                None
            }
        }
    }

    fn publish(&self, name: &Arc<str>, outcome: Result<ServerCatalogue, String>, announced: &[ListKind]) {
        {
            let mut known = self.known.lock();
            let Some(entry) = known.get_mut(name) else { return };
            match outcome {
                Ok(catalogue) => {
                    if entry.away.take().is_some() {
                        tracing::info!(server = %name, "the server is back");
                    }
                    entry.catalogue = Some(Arc::new(catalogue));
                }
                Err(why) => {
                    if entry.away.is_none() {
                        tracing::warn!(server = %name, %why, "the server is away");
                        entry.away = Some((why, now()));
                    }
                }
            }
            if !entry.asked {
                entry.asked = true;
                self.asked.send_modify(|n| *n += 1);
            }
        }
        self.rebuild(Some(name), announced);
    }

    /// Rebuilds the views that a server is in (all of them for `None`) and swaps the routing.
    fn rebuild(&self, changed: Option<&Arc<str>>, announced: &[ListKind]) {
        let known = self.known.lock();
        let before = self.routing.load_full();
        let mut views = before.views.clone();
        let mut events = Vec::new();
        for view in &self.snapshot.views {
            let contains = changed.is_none_or(|name| view.servers.iter().any(|s| s.server.name == *name));
            if !contains {
                continue;
            }
            let servers = view.servers.iter().filter_map(|entry| {
                let upstream = self.upstreams.get(&entry.server.name)?.clone();
                let known = known.get(&entry.server.name).cloned().unwrap_or_default();
                let away = known.away.is_some() || known.catalogue.is_none();
                Some(ServerInView {
                    server: entry.server.clone(),
                    upstream,
                    catalogue: known.catalogue,
                    away,
                })
            });
            let state = view_state(view, servers.collect(), self.items_max);
            let kinds: Vec<ListKind> = ListKind::ALL
                .into_iter()
                .filter(|kind| {
                    // A view of one server passes on what its server announces; a merged one only real changes.
                    let passed_on = !view.is_merged() && announced.contains(kind);
                    let differs = before
                        .views
                        .get(&view.path)
                        .is_some_and(|b| b.list(*kind).digest != state.list(*kind).digest);
                    passed_on || differs
                })
                .collect();
            if !kinds.is_empty() {
                events.push(ListEvent {
                    path: view.path.clone(),
                    kinds,
                });
            }
            views.insert(view.path.clone(), Arc::new(state));
        }
        let revision = self.revision.fetch_add(1, Ordering::Relaxed) + 1;
        self.routing.store(Arc::new(Routing {
            snapshot: self.snapshot.clone(),
            views,
            revision,
        }));
        drop(known);
        for event in events {
            // Nobody listening is no fault.
            let _ = self.events.send(event);
        }
    }
}

/// Waits for the next change: `None` when the subscription is lost, `Some(None)` for what is not a list change.
async fn next_change(changes: &mut Option<Messages>) -> Option<Option<ListKind>> {
    let Some(messages) = changes else {
        return std::future::pending().await;
    };
    let body = messages.next().await?.ok()?;
    let message = scan(&body, &Rules::SERVER).ok()?;
    let method = Method::parse(&message.method?.str(&body)?);
    Some(match method {
        Method::ToolsChanged => Some(ListKind::Tools),
        Method::ResourcesChanged => Some(ListKind::Resources),
        Method::PromptsChanged => Some(ListKind::Prompts),
        _ => None,
    })
}

/// Ends when the server is seen to be away, or has been connected to again since its catalogue was read.
async fn gone(upstream: &Upstream, connections: &mut watch::Receiver<u64>) {
    loop {
        tokio::select! {
            changed = connections.changed() => if changed.is_ok() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
        if matches!(upstream.status().state, State::Away { .. }) {
            return;
        }
    }
}

/// Monotonic time; timers of catalogues never decide anything about a call.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
