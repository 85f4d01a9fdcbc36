//! Who watches which resources of one server.
//!
//! A hundred clients that watch one file are one subscription at its server. The book counts them: a resource is asked
//! for when the first client wants it and let go some time after the last one has left. What a client is told it has,
//! the server has granted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::limits::{CALLER_RESOURCES_MAX, LINGER, SERVER_RESOURCES_MAX, WOKEN_AT_ONCE};
use super::outlet::{Outlet, Update};
use crate::upstream::Upstream;

/// A listener of the hub.
pub(super) type Listener = u64;

/// What a server has granted to one listener.
pub(super) type Grant = oneshot::Receiver<Vec<Arc<str>>>;

/// The subscriptions at one server.
pub(super) struct Feed {
    /// Tells servers apart in a listener's queue.
    pub(super) number: u64,
    pub(super) upstream: Arc<Upstream>,
    /// Ids of requests on the hop.
    pub(super) ids: Arc<AtomicU64>,
    book: Mutex<Book>,
    /// Something in the book asks for a new subscription.
    pub(super) wished: Notify,
}

#[derive(Default)]
struct Book {
    /// Set when the line has ended: who comes now needs a new feed.
    closed: bool,
    /// What the server grants now.
    granted: HashSet<Arc<str>>,
    watched: HashMap<Arc<str>, Watched>,
    listeners: HashMap<Listener, Seated>,
    /// Resources that each caller has asked for.
    by_caller: HashMap<Arc<[u8]>, usize>,
    asks: Vec<Ask>,
    /// Resources in `asks`, and in those that the server is being asked for.
    asked: usize,
    /// When the first of the resources that nobody watches may be let go.
    idle: Option<Instant>,
}

#[derive(Default)]
struct Watched {
    by: Vec<Listener>,
    idle_since: Option<Instant>,
}

struct Seated {
    outlet: Arc<Outlet>,
    alias: Option<Arc<str>>,
    caller: Arc<[u8]>,
    /// Counted for the caller.
    counted: usize,
    uris: Vec<Arc<str>>,
}

/// A listener's wish that the server has not been asked for yet.
pub(super) struct Ask {
    listener: Listener,
    pub(super) uris: Vec<Arc<str>>,
    answer: oneshot::Sender<Vec<Arc<str>>>,
}

/// Who wishes to watch.
pub(super) struct Wish {
    pub(super) listener: Listener,
    pub(super) outlet: Arc<Outlet>,
    /// The server's alias where the view is merged.
    pub(super) alias: Option<Arc<str>>,
    pub(super) caller: Arc<[u8]>,
    /// Whether the caller's share does not apply.
    pub(super) lifted: bool,
    pub(super) uris: Vec<Arc<str>>,
}

/// What is to be done next at the server.
pub(super) enum Move {
    /// Ask for these beside what is granted: wishes, and what was lost.
    Grow { asks: Vec<Ask>, restore: Vec<Arc<str>> },
    /// Ask for less.
    Shrink,
    /// Nobody watches anything.
    Nothing,
    /// Wait.
    Wait,
}

impl Feed {
    pub(super) fn new(number: u64, upstream: Arc<Upstream>, ids: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(Self {
            number,
            upstream,
            ids,
            book: Mutex::default(),
            wished: Notify::new(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.book.lock().closed
    }

    /// Enters a wish; answers what of it is granted, now or when the server has said so. `None` when the feed is closed.
    pub(super) fn watch(&self, wish: &Wish) -> Option<Grant> {
        let mut book = self.book.lock();
        if book.closed {
            return None;
        }
        let (answer, grant) = oneshot::channel();
        let uris = book.within_limits(wish);
        book.seat(wish, uris.len());
        let (known, fresh): (Vec<_>, Vec<_>) = uris.into_iter().partition(|uri| book.granted.contains(uri));
        if fresh.is_empty() {
            book.grant(wish.listener, &known);
            let _ = answer.send(known);
        } else {
            book.asked += known.len() + fresh.len();
            let uris = known.into_iter().chain(fresh).collect();
            book.asks.push(Ask {
                listener: wish.listener,
                uris,
                answer,
            });
            self.wished.notify_one();
        }
        Some(grant)
    }

    /// A listener has left.
    pub(super) fn leave(&self, listener: Listener) {
        let mut book = self.book.lock();
        let Some(seated) = book.listeners.remove(&listener) else {
            return;
        };
        if let Some(count) = book.by_caller.get_mut(&seated.caller) {
            *count = count.saturating_sub(seated.counted);
            if *count == 0 {
                book.by_caller.remove(&seated.caller);
            }
        }
        book.let_go(listener, &seated.uris);
        self.wished.notify_one();
    }

    /// When the book next wants to be looked at for resources that nobody watches.
    pub(super) fn idle_at(&self) -> Option<Instant> {
        self.book.lock().idle
    }

    /// Puts off letting go, after the server would not have it.
    pub(super) fn put_off(&self, until: Instant) {
        self.book.lock().idle = Some(until);
    }

    /// What is to be done next. `restoring`: what the server no longer grants is asked for again.
    pub(super) fn next_move(&self, now: Instant, restoring: bool) -> Move {
        let mut book = self.book.lock();
        book.drop_unheard();
        let lost = book.lost();
        if !book.asks.is_empty() || (restoring && !lost.is_empty()) {
            let asks = std::mem::take(&mut book.asks);
            return Move::Grow { asks, restore: lost };
        }
        if book.idle.is_some_and(|at| at <= now) {
            book.forget_idle(now);
            let kept = book.kept().count();
            if 0 < kept && kept < book.granted.len() {
                return Move::Shrink;
            }
        }
        let empty = book.watched.is_empty() && book.asks.is_empty();
        if empty { Move::Nothing } else { Move::Wait }
    }

    /// Ends the feed if nobody watches anything; whether it has ended.
    pub(super) fn close_if_unused(&self) -> bool {
        let mut book = self.book.lock();
        book.closed = book.watched.is_empty() && book.asks.is_empty();
        book.closed
    }

    /// The server is gone for good: every listener's stream ends, so that its client listens to what took its place.
    pub(super) fn end(&self) {
        let outlets: Vec<_> = {
            let mut book = self.book.lock();
            book.closed = true;
            book.asks.clear();
            book.listeners.values().map(|seated| seated.outlet.clone()).collect()
        };
        for outlet in outlets {
            outlet.end();
        }
    }

    /// What the server grants and somebody watches, or has until just now.
    pub(super) fn kept(&self) -> HashSet<Arc<str>> {
        self.book.lock().kept().cloned().collect()
    }

    /// The server grants these from now on; answers what is watched and not among them.
    pub(super) fn grants(&self, granted: HashSet<Arc<str>>) -> Vec<Arc<str>> {
        let mut book = self.book.lock();
        book.granted = granted;
        book.lost()
    }

    /// Answers a wish with what the server grants of it.
    pub(super) fn answer(&self, ask: Ask) {
        let mut book = self.book.lock();
        book.asked = book.asked.saturating_sub(ask.uris.len());
        let granted: Vec<_> = ask.uris.into_iter().filter(|uri| book.granted.contains(uri)).collect();
        book.grant(ask.listener, &granted);
        if let Err(unheard) = ask.answer.send(granted) {
            book.let_go(ask.listener, &unheard);
        }
    }

    /// Hands an update to everybody whom it concerns. One that no subscription explains is for everybody who watches this
    /// server: it belongs to the subscription that they share.
    pub(super) async fn deliver(&self, uri: &Arc<str>, body: &Bytes) {
        // Very many listeners that wake at once would keep everybody else waiting.
        for some in self.concerned(uri).chunks(WOKEN_AT_ONCE) {
            for (outlet, alias) in some {
                outlet.updated(Update {
                    server: self.number,
                    uri: uri.clone(),
                    body: body.clone(),
                    alias: alias.clone(),
                });
            }
            tokio::task::yield_now().await;
        }
    }

    /// The same for one that the server has not said.
    pub(super) async fn deliver_if_watched(&self, uri: &Arc<str>, body: &Bytes) {
        let watched = self.book.lock().watched.contains_key(uri);
        if watched {
            self.deliver(uri, body).await;
        }
    }

    fn concerned(&self, uri: &Arc<str>) -> Vec<(Arc<Outlet>, Option<Arc<str>>)> {
        let book = self.book.lock();
        let mut explained = false;
        let mut concerned: Vec<Listener> = Vec::new();
        for whole in wholes(uri) {
            if let Some(watched) = book.watched.get(whole) {
                explained = true;
                concerned.extend_from_slice(&watched.by);
            }
        }
        if explained {
            concerned.sort_unstable();
            concerned.dedup();
        } else {
            let watching = book.listeners.iter().filter(|(_, seated)| !seated.uris.is_empty());
            concerned = watching.map(|(listener, _)| *listener).collect();
        }
        let seated = concerned.iter().filter_map(|listener| book.listeners.get(listener));
        seated
            .map(|seated| (seated.outlet.clone(), seated.alias.clone()))
            .collect()
    }
}

impl Book {
    /// The wish without what the caller or everybody has too much of already.
    fn within_limits(&self, wish: &Wish) -> Vec<Arc<str>> {
        let taken = self.by_caller.get(&wish.caller).copied().unwrap_or_default();
        let share = if wish.lifted {
            usize::MAX
        } else {
            CALLER_RESOURCES_MAX.saturating_sub(taken)
        };
        let mut room = SERVER_RESOURCES_MAX.saturating_sub(self.watched.len() + self.asked);
        let uris = wish.uris.iter().take(share).filter(|uri| {
            let known = self.watched.contains_key(*uri);
            let fits = known || room > 0;
            room -= usize::from(!known && fits);
            fits
        });
        uris.cloned().collect()
    }

    fn seat(&mut self, wish: &Wish, counted: usize) {
        *self.by_caller.entry(wish.caller.clone()).or_default() += counted;
        let seated = Seated {
            outlet: wish.outlet.clone(),
            alias: wish.alias.clone(),
            caller: wish.caller.clone(),
            counted,
            uris: Vec::new(),
        };
        self.listeners.insert(wish.listener, seated);
    }

    /// Notes that a listener has these; nothing if it has left meanwhile.
    fn grant(&mut self, listener: Listener, uris: &[Arc<str>]) {
        let Some(seated) = self.listeners.get_mut(&listener) else {
            return;
        };
        for uri in uris {
            seated.uris.push(uri.clone());
            let watched = self.watched.entry(uri.clone()).or_default();
            watched.by.push(listener);
            watched.idle_since = None;
        }
    }

    fn let_go(&mut self, listener: Listener, uris: &[Arc<str>]) {
        let now = Instant::now();
        if let Some(seated) = self.listeners.get_mut(&listener) {
            seated.uris.retain(|uri| !uris.contains(uri));
        }
        for uri in uris {
            let Some(watched) = self.watched.get_mut(uri) else {
                continue;
            };
            watched.by.retain(|other| *other != listener);
            if watched.by.is_empty() {
                watched.idle_since = Some(now);
                self.idle.get_or_insert(now + LINGER);
            }
        }
    }

    fn kept(&self) -> impl Iterator<Item = &Arc<str>> {
        self.granted.iter().filter(|uri| self.watched.contains_key(*uri))
    }

    /// Forgets wishes that nobody waits for any more.
    fn drop_unheard(&mut self) {
        let asked = &mut self.asked;
        self.asks.retain(|ask| {
            let heard = !ask.answer.is_closed();
            *asked = asked.saturating_sub(if heard { 0 } else { ask.uris.len() });
            heard
        });
    }

    /// What is watched and not granted any more.
    fn lost(&self) -> Vec<Arc<str>> {
        let lost = self
            .watched
            .iter()
            .filter(|(uri, watched)| !watched.by.is_empty() && !self.granted.contains(*uri));
        lost.map(|(uri, _)| uri.clone()).collect()
    }

    fn forget_idle(&mut self, now: Instant) {
        self.watched
            .retain(|_, watched| watched.idle_since.is_none_or(|since| since + LINGER > now));
        self.idle = self
            .watched
            .values()
            .filter_map(|watched| watched.idle_since)
            .min()
            .map(|since| since + LINGER);
    }
}

/// The resources that an update of `uri` may be about: itself, and whatever it is a part of by its spelling.
fn wholes(uri: &str) -> impl Iterator<Item = &str> {
    let inner = uri.match_indices(['/', '#', '?']).flat_map(move |(at, mark)| {
        let before = uri.get(..at).filter(|whole| !whole.is_empty() && !whole.ends_with('/'));
        let with = uri.get(..=at).filter(|whole| mark == "/" && whole.len() < uri.len());
        before.into_iter().chain(with)
    });
    std::iter::once(uri).chain(inner)
}

#[cfg(test)]
mod tests {
    use super::wholes;

    #[test]
    fn a_part_of_a_resource_is_spelled_as_one() {
        let of = |uri| wholes(uri).collect::<Vec<_>>();
        assert_eq!(
            of("file:///a/b"),
            [
                "file:///a/b",
                "file:",
                "file:/",
                "file://",
                "file:///",
                "file:///a",
                "file:///a/"
            ]
        );
        assert_eq!(of("x:a#p?q"), ["x:a#p?q", "x:a", "x:a#p"]);
        assert_eq!(of("x:dir/"), ["x:dir/", "x:dir"]);
        assert!(!of("file:///ab").contains(&"file:///a"));
    }
}
