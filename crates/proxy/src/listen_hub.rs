//! `subscriptions/listen`: many streams of clients over few subscriptions at servers.
//!
//! List changes come from the catalogues, which hear them from the servers anyway, so a thousand listeners cost a server
//! nothing. Subscribed resources are shared: whoever watches a resource of a server is entered into that server's
//! [`feed`], and the feed has one subscription open ([`line`](mod@line)) to all that anybody watches. What a client has
//! not read yet is bounded ([`outlet`]), so one that stopped reading costs little and holds up nobody.
//!
//! The first message says what was granted; every message names the client's own subscription. Servers do not see
//! callers, so a server's feed is for all of them; it is known by the way to the server ([`Upstream`]), and a server that
//! shows each caller something else is reached in as many ways.

mod feed;
mod limits;
mod line;
mod outlet;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use meshgate_mcp::content::UriKind;
use meshgate_mcp::{Kind, Object, elements};
use meshgate_model::naming;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use self::feed::{Feed, Grant, Listener, Wish};
use self::limits::{ACK_PATIENCE, LISTEN_RESOURCES_MAX, WOKEN_AT_ONCE};
use self::outlet::Outlet;
use self::words::Lists;
use crate::call::{Caller, Telling, Told};
use crate::catalogue::{ListEvent, ListKind, ServerInView, ViewState, wrapped};
use crate::drain::Drain;
use crate::refusal::{Reason, Refusal};
use crate::resolve::Call;
use crate::upstream::Upstream;

/// Every open stream of a gateway's clients, and what they have open at servers.
pub struct Hub {
    rooms: Mutex<Rooms>,
    /// The feeds' lines.
    tasks: Mutex<JoinSet<()>>,
    ids: Arc<AtomicU64>,
    numbers: AtomicU64,
    stream_bytes_max: usize,
}

#[derive(Default)]
struct Rooms {
    /// Who listens to lists, by the view's path.
    views: HashMap<Arc<str>, HashMap<Listener, Arc<Outlet>>>,
    feeds: HashMap<FeedKey, Arc<Feed>>,
}

/// The way to a server. A feed holds it, so no other way can have the same address while the key is in use.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FeedKey(usize);

impl FeedKey {
    fn of(upstream: &Arc<Upstream>) -> Self {
        Self(Arc::as_ptr(upstream) as usize)
    }
}

/// What a client wants to hear of.
#[derive(Default)]
struct Filter {
    lists: Lists,
    /// Each once; `None` where the member is missing.
    uris: Option<Vec<String>>,
}

impl Hub {
    /// A hub without listeners. `ids` are those of requests to servers; `stream_bytes_max` is what one stream may hold for
    /// a client that does not read.
    pub fn new(ids: Arc<AtomicU64>, stream_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            rooms: Mutex::default(),
            tasks: Mutex::default(),
            ids,
            numbers: AtomicU64::new(0),
            stream_bytes_max,
        })
    }

    /// Tells listeners of changed lists for as long as there are events.
    pub async fn run(self: Arc<Self>, mut events: broadcast::Receiver<ListEvent>) {
        loop {
            let outlets = match events.recv().await {
                Ok(event) => {
                    let lists = event
                        .kinds
                        .iter()
                        .fold(Lists::default(), |all, kind| all.or(Lists::of(*kind)));
                    self.listening(Some(&event.path))
                        .into_iter()
                        .map(|outlet| (outlet, lists))
                        .collect::<Vec<_>>()
                }
                // What was missed may have been about anybody.
                Err(broadcast::error::RecvError::Lagged(_)) => self
                    .listening(None)
                    .into_iter()
                    .map(|outlet| (outlet, Lists::ALL))
                    .collect(),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            // Very many listeners that wake at once would keep everybody else waiting.
            for some in outlets.chunks(WOKEN_AT_ONCE) {
                for (outlet, lists) in some {
                    outlet.changed(*lists);
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Ends everything that is open at servers.
    pub async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }

    fn listening(&self, path: Option<&Arc<str>>) -> Vec<Arc<Outlet>> {
        let rooms = self.rooms.lock();
        let views = rooms.views.iter().filter(|(of, _)| path.is_none_or(|path| path == *of));
        views.flat_map(|(_, outlets)| outlets.values().cloned()).collect()
    }

    /// Opens a client's stream. `lifted`: limits per caller do not apply to it. It ends in order on drain, and at once when
    /// its caller has `lost` the right to it.
    pub async fn listen(
        self: &Arc<Self>,
        view: &ViewState,
        call: &Call,
        caller: &Caller,
        lifted: bool,
        (drain, lost): (Drain, impl Future<Output = ()> + Send + 'static),
    ) -> Result<Telling, Refusal> {
        let filter = filter(call, view)?;
        // A copy, because the id would keep the whole request.
        let id = Bytes::copy_from_slice(&call.id());
        let outlet = Arc::new(Outlet::new(id.clone(), filter.lists, self.stream_bytes_max));
        let mut seat = self.seat(&view.view.path, outlet.clone());
        let caller: Arc<[u8]> = Arc::from(caller.binding());
        let mut waiting = Vec::new();
        for (index, uris) in by_server(view, filter.uris.as_deref().unwrap_or_default()) {
            let Some(server) = view.servers.get(index) else {
                continue;
            };
            let alias = view.view.is_merged().then(|| server.server.alias.clone());
            let wish = Wish {
                listener: seat.number,
                outlet: outlet.clone(),
                alias,
                caller: caller.clone(),
                lifted,
                uris,
            };
            let (feed, grant) = self.watch(&server.upstream, &wish);
            seat.feeds.push(feed);
            waiting.push(granted(server.clone(), wish.alias.is_some(), grant));
        }
        // All at once: the slowest server decides how long the client waits, not their number.
        let uris = join_all(waiting).await.concat();
        let first = words::acknowledgement(&id, filter.lists, filter.uris.is_some().then_some(&uris));
        Ok(stream(first, outlet, seat, drain, lost))
    }

    fn seat(self: &Arc<Self>, path: &Arc<str>, outlet: Arc<Outlet>) -> Seat {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let path = (!outlet.lists().is_empty()).then(|| path.clone());
        if let Some(path) = &path {
            let mut rooms = self.rooms.lock();
            rooms.views.entry(path.clone()).or_default().insert(number, outlet);
        }
        Seat {
            hub: Arc::downgrade(self),
            number,
            path,
            feeds: Vec::new(),
        }
    }

    /// Enters a wish into the feed of a server, which begins with the first one.
    fn watch(self: &Arc<Self>, upstream: &Arc<Upstream>, wish: &Wish) -> (Arc<Feed>, Grant) {
        loop {
            let feed = self.feed(upstream);
            if let Some(grant) = feed.watch(wish) {
                return (feed, grant);
            }
        }
    }

    fn feed(self: &Arc<Self>, upstream: &Arc<Upstream>) -> Arc<Feed> {
        let mut rooms = self.rooms.lock();
        let key = FeedKey::of(upstream);
        if let Some(feed) = rooms.feeds.get(&key).filter(|feed| !feed.is_closed()) {
            return feed.clone();
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let feed = Feed::new(number, upstream.clone(), self.ids.clone());
        rooms.feeds.insert(key, feed.clone());
        let (hub, kept) = (Arc::downgrade(self), feed.clone());
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            line::keep(kept.clone()).await;
            if let Some(hub) = hub.upgrade() {
                let mut rooms = hub.rooms.lock();
                if rooms.feeds.get(&key).is_some_and(|now| Arc::ptr_eq(now, &kept)) {
                    rooms.feeds.remove(&key);
                }
            }
        });
        feed
    }
}

/// A listener's place in the hub, for as long as somebody holds its stream.
struct Seat {
    hub: Weak<Hub>,
    number: Listener,
    path: Option<Arc<str>>,
    feeds: Vec<Arc<Feed>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        for feed in &self.feeds {
            feed.leave(self.number);
        }
        let (Some(hub), Some(path)) = (self.hub.upgrade(), &self.path) else {
            return;
        };
        let mut rooms = hub.rooms.lock();
        if let Some(outlets) = rooms.views.get_mut(path) {
            outlets.remove(&self.number);
            if outlets.is_empty() {
                rooms.views.remove(path);
            }
        }
    }
}

fn filter(call: &Call, view: &ViewState) -> Result<Filter, Refusal> {
    let body = &call.body;
    let wrong = || Refusal::new(Reason::InvalidParams, "`params.notifications` is required, an object");
    let wanted = call
        .param("notifications")
        .filter(|v| v.kind == Kind::Object)
        .ok_or_else(wrong)?;
    let wanted = Object::read(body, wanted.span).ok_or_else(wrong)?;
    let on = |name: &str| wanted.get(body, name).and_then(|v| v.bool(body)) == Some(true);
    let offered = [
        ("toolsListChanged", view.capabilities.tools, ListKind::Tools),
        ("promptsListChanged", view.capabilities.prompts, ListKind::Prompts),
        ("resourcesListChanged", view.capabilities.resources, ListKind::Resources),
    ];
    let granted = offered.iter().filter(|(name, offered, _)| *offered && on(name));
    let lists = granted.fold(Lists::default(), |all, (.., kind)| all.or(Lists::of(*kind)));
    let uris = wanted
        .get(body, "resourceSubscriptions")
        .filter(|v| v.kind == Kind::Array);
    let uris = uris.map(|uris| {
        let mut seen = std::collections::HashSet::new();
        let named = elements(body, uris.span).filter_map(|v| v.str(body).map(std::borrow::Cow::into_owned));
        named.filter(|uri| seen.insert(uri.clone())).collect::<Vec<_>>()
    });
    if uris.as_ref().is_some_and(|uris| uris.len() > LISTEN_RESOURCES_MAX) {
        let text =
            format!("`resourceSubscriptions` may name {LISTEN_RESOURCES_MAX} resources; open another stream for more");
        return Err(Refusal::new(Reason::InvalidParams, text).rule("limit/subscriptions"));
    }
    Ok(Filter {
        lists,
        // A filter without resources is a filter without subscriptions.
        uris: uris.filter(|uris| !uris.is_empty()),
    })
}

/// Subscribed resources by the server that has them, in its own words. What no server of the view has, or none that
/// offers subscriptions, is left out.
fn by_server(view: &ViewState, uris: &[String]) -> BTreeMap<usize, Vec<Arc<str>>> {
    let mut grouped: BTreeMap<usize, Vec<Arc<str>>> = BTreeMap::new();
    for uri in uris {
        let found = if view.view.is_merged() {
            naming::unwrap_uri(uri).and_then(|(alias, original)| Some((view.by_alias(&alias)?, original)))
        } else {
            Some((0, uri.clone()))
        };
        let Some((server, original)) = found else { continue };
        let catalogue = view.servers.get(server).and_then(|s| s.catalogue.as_ref());
        if catalogue.is_some_and(|c| c.capabilities.subscribe) {
            grouped.entry(server).or_default().push(Arc::from(original));
        }
    }
    grouped
}

/// What a server grants in time, in the client's words.
async fn granted(server: ServerInView, merged: bool, mut grant: Grant) -> Vec<String> {
    let granted = match tokio::time::timeout(ACK_PATIENCE, &mut grant).await {
        Ok(granted) => granted.unwrap_or_default(),
        Err(_) => {
            grant.close();
            grant.try_recv().unwrap_or_default()
        }
    };
    let exposed = |uri: &Arc<str>| {
        if merged {
            wrapped(&server.server.alias, uri, UriKind::Resource)
        } else {
            uri.to_string()
        }
    };
    granted.iter().map(exposed).collect()
}

/// Whether a listen names resources, which only their own server can tell of.
pub fn names_resources(call: &Call) -> bool {
    let wanted = call.param("notifications");
    let wanted = wanted.and_then(|v| Object::read(&call.body, v.span));
    wanted.is_some_and(|wanted| wanted.get(&call.body, "resourceSubscriptions").is_some())
}

/// Acknowledgement, changes, and the result that ends the subscription in order: on drain, when the outlet ends, or when
/// the caller may have it no longer; then without what it has not read yet.
fn stream(
    first: Bytes,
    outlet: Arc<Outlet>,
    seat: Seat,
    drain: Drain,
    lost: impl Future<Output = ()> + Send + 'static,
) -> Telling {
    let mut over = Some(Box::pin(async move {
        tokio::select! {
            biased;
            () = lost => true,
            () = drain.asked() => false,
        }
    }));
    let changes = futures_util::stream::poll_fn(move |cx| {
        let _held = &seat;
        if let Some(ending) = &mut over
            && let Poll::Ready(is_lost) = ending.as_mut().poll(cx)
        {
            over = None;
            if is_lost {
                outlet.cut();
            } else {
                outlet.end();
            }
        }
        outlet.poll_next(cx)
    });
    let first = futures_util::stream::once(std::future::ready(Told::Notice(first)));
    Box::pin(first.chain(changes).map(Ok))
}
