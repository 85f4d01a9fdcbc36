//! The endpoints of one group, and which of them a call goes to.
//!
//! The pool follows the table: what joins is connected to at once, what leaves has no new calls and ends with its last. Of
//! the endpoints that work, two are looked at for each call and the one with less under way gets it. One that does not
//! work has no calls until it does, but never the last: a call that fails is better than a call that nobody tries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Request, Uri};
use meshgate_identity::svid::Svid;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::HopOptions;
use super::end::{Carries, End, Ticket, stopped};
use super::exchange::{Failed, Inbound, exchange};
use super::table::{Endpoint, Known};
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

/// Which endpoints of a group are called.
pub(super) type Accepts = Box<dyn Fn(&Endpoint) -> bool + Send + Sync>;

/// The endpoints of one group.
pub(super) struct Pool {
    pub(super) shared: Arc<Shared>,
}

/// What the pool, its endpoints and their connections share.
pub(super) struct Shared {
    pub(super) options: HopOptions,
    ends: ArcSwap<Ends>,
    /// Held by whoever writes `ends`.
    writing: Mutex<()>,
    /// Counts what may have changed whether anybody can be reached.
    changes: watch::Sender<u64>,
    /// Counts connections that stand.
    opened: watch::Sender<u64>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
    chance: AtomicU64,
}

#[derive(Default)]
struct Ends {
    all: Vec<Arc<End>>,
    /// Those that get calls: never none while there are any.
    usable: Vec<Arc<End>>,
}

/// What is sent.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) uri: &'a Uri,
    pub(super) body: &'a Bytes,
    pub(super) carries: Carries,
    pub(super) to: To,
    pub(super) until: Instant,
}

/// Where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Anywhere.
    Any,
    /// To the endpoint that holds what this goes on with, as long as it can be reached.
    Rather(u64),
    /// To that endpoint or nowhere.
    Only(u64),
}

/// The begin of an answer.
pub(super) struct Reached {
    pub(super) instance: u64,
    pub(super) parts: Parts,
    pub(super) body: Inbound,
}

/// Endpoints that one call has been given to.
pub(super) type Tried = SmallVec<[u64; 4]>;

impl Pool {
    /// Follows what is known of a group. Must be called on the runtime that serves calls.
    pub(super) fn start(options: HopOptions, mut known: watch::Receiver<Known>, accepts: Accepts) -> Self {
        let shared = Arc::new(Shared {
            options,
            ends: ArcSwap::default(),
            writing: Mutex::default(),
            changes: watch::Sender::new(0),
            opened: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            chance: AtomicU64::new(simulated::random()),
        });
        let now = known.borrow_and_update().clone();
        shared.take_over(&now, &accepts);
        shared.tasks.spawn(follow(Arc::clone(&shared), known, accepts));
        Self { shared }
    }

    /// Ends every connection and waits for what carried them.
    pub(super) async fn close(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn follow(shared: Arc<Shared>, mut known: watch::Receiver<Known>, accepts: Accepts) {
    loop {
        let changed = tokio::select! {
            () = shared.stop.cancelled() => false,
            changed = known.changed() => changed.is_ok(),
        };
        if !changed {
            break;
        }
        let now = known.borrow_and_update().clone();
        shared.take_over(&now, &accepts);
    }
    shared.stop.cancelled().await;
    // Endpoints and pool know each other.
    shared.ends.store(Arc::default());
}

impl Shared {
    fn take_over(self: &Arc<Self>, known: &Known, accepts: &Accepts) {
        let (mut came, mut left) = (Vec::new(), Vec::new());
        {
            let _writing = self.writing.lock();
            let before = self.ends.load_full();
            let all = known.iter().filter(|endpoint| {
                let accepted = accepts(endpoint);
                if !accepted {
                    tracing::debug!(endpoint = ?endpoint, "an endpoint is not for this pool");
                }
                accepted
            });
            let all: Vec<_> = all
                .map(|endpoint| {
                    let same = before.all.iter().find(|end| end.endpoint == *endpoint);
                    same.cloned().unwrap_or_else(|| {
                        let end = End::new(endpoint.clone(), self);
                        came.push(Arc::clone(&end));
                        end
                    })
                })
                .collect();
            let stays = |end: &Arc<End>| all.iter().any(|other| Arc::ptr_eq(end, other));
            left.extend(before.all.iter().filter(|end| !stays(end)).cloned());
            self.ends.store(Arc::new(Ends::of(all)));
        }
        for end in came {
            end.warm(Carries::Calls);
        }
        for end in left {
            end.leave();
        }
        self.changed();
    }

    /// Looks anew at who gets calls.
    fn refresh(&self) {
        let _writing = self.writing.lock();
        let all = self.ends.load().all.clone();
        self.ends.store(Arc::new(Ends::of(all)));
    }

    /// An endpoint cannot be connected to.
    pub(super) fn unreachable(self: &Arc<Self>, end: &Arc<End>) {
        if end.health.unreachable() {
            self.take_out(end);
        }
        self.changed();
    }

    /// A call to an endpoint broke.
    fn broke(self: &Arc<Self>, end: &Arc<End>) {
        if end.health.failed(self.options.limits.failures_to_eject) {
            self.take_out(end);
        }
    }

    fn take_out(self: &Arc<Self>, end: &Arc<End>) {
        tracing::info!(
            address = &*end.endpoint.address,
            "an endpoint has no calls until it works again"
        );
        self.refresh();
        self.tasks.spawn(Arc::clone(end).mend(Arc::clone(self)));
    }

    /// A connection to an endpoint stands.
    pub(super) fn reached(&self, end: &Arc<End>) {
        if end.health.back() {
            self.refresh();
        }
        self.opened.send_modify(|count| *count += 1);
        self.changed();
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Counts connections that stand.
    pub(super) fn opened(&self) -> watch::Receiver<u64> {
        self.opened.subscribe()
    }

    /// All endpoints, whether they work or not.
    pub(super) fn all(&self) -> Vec<Arc<End>> {
        self.ends.load().all.clone()
    }

    /// Whether there is an endpoint of this number.
    pub(super) fn has(&self, instance: u64) -> bool {
        self.ends.load().all.iter().any(|end| end.endpoint.instance == instance)
    }

    /// Resolves when an endpoint can be called; refuses when for a while there is none, or none can be connected to.
    pub(super) async fn ready(&self) -> Result<(), Refusal> {
        let mut changes = self.changes.subscribe();
        let give_up = Instant::now() + self.options.limits.hold_time;
        loop {
            changes.borrow_and_update();
            let all = self.all();
            if all.iter().any(|end| end.is_open()) {
                return Ok(());
            }
            // A failure is looked at again by whoever mends it; what is here is only how long that may take.
            let hopeless = all.iter().all(|end| end.is_failing());
            let changed = tokio::select! {
                changed = changes.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(give_up), if hopeless => {
                    return Err(if all.is_empty() { nobody() } else { unreachable() });
                }
            };
            if !changed {
                return Err(stopped());
            }
        }
    }

    /// Resolves when no endpoint can be called any more.
    pub(super) async fn lost(&self) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let all = self.all();
            if all.iter().all(|end| !end.is_open() && end.is_failing()) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The endpoint for a call; none when all have been tried.
    fn choose(&self, to: To, tried: &[u64]) -> Option<Arc<End>> {
        let ends = self.ends.load();
        let is_new = |end: &&Arc<End>| !tried.contains(&end.endpoint.instance);
        if let To::Rather(owner) | To::Only(owner) = to {
            let end = ends.all.iter().find(|end| end.endpoint.instance == owner);
            let end = end.filter(is_new).cloned();
            if end.is_some() || to == To::Only(owner) {
                return end;
            }
        }
        let usable = ends.usable.as_slice();
        if let [only] = usable {
            return Some(only).filter(is_new).cloned();
        }
        let (first, second) = two_of(usable.len(), self.chance());
        let pair = [usable.get(first), usable.get(second)];
        let pair = pair.into_iter().flatten().filter(is_new);
        let best = pair.min_by_key(|end| end.in_flight());
        best.or_else(|| usable.iter().find(is_new)).cloned()
    }

    /// Whether there is somebody who works and has not been tried.
    pub(super) fn has_other(&self, tried: &[u64]) -> bool {
        let ends = self.ends.load();
        let mut usable = ends.usable.iter();
        usable.any(|end| !tried.contains(&end.endpoint.instance))
    }

    /// A number that is spread well enough; one atomic step, so that threads do not draw the same.
    fn chance(&self) -> u64 {
        let drawn = self.chance.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^ (mixed >> 31)
    }

    /// Sends a request to an endpoint that none of `tried` is, and notes which. As long as nobody has taken a byte of it
    /// the next endpoint gets it, or the same one over another connection; `fields` is asked for each attempt, with the
    /// SVID of its connection.
    pub(super) async fn send(
        self: &Arc<Self>,
        outgoing: &Outgoing<'_>,
        tried: &mut Tried,
        fields: impl Fn(&Endpoint, &Arc<Svid>) -> Result<HeaderMap, Refusal>,
    ) -> Result<Reached, Refusal> {
        let mut why = None;
        let mut again = None;
        for _attempt in 0..self.options.limits.attempts {
            let chosen = self.choose(outgoing.to, tried).or_else(|| again.take());
            let Some(end) = chosen else { break };
            let ticket = match end.enter(outgoing.carries, outgoing.until).await {
                Ok(ticket) => ticket,
                Err(refusal) => {
                    tried.push(end.endpoint.instance);
                    why = Some(refusal);
                    continue;
                }
            };
            let request = |ticket: &Ticket| {
                let mut request = Request::new(());
                *request.method_mut() = outgoing.method.clone();
                *request.uri_mut() = outgoing.uri.clone();
                *request.headers_mut() = fields(&end.endpoint, ticket.svid())?;
                Ok(request)
            };
            let sent = exchange(ticket, request, outgoing.body, outgoing.until).await;
            tried.push(end.endpoint.instance);
            match sent {
                Ok((parts, body)) => {
                    end.health.worked();
                    let instance = end.endpoint.instance;
                    return Ok(Reached { instance, parts, body });
                }
                Err(Failed::Untaken(refusal)) => {
                    why = Some(refusal);
                    again = Some(end);
                }
                Err(Failed::Unmade(refusal)) => return Err(refusal),
                Err(Failed::Taken(refusal)) => {
                    self.broke(&end);
                    return Err(refusal);
                }
            }
        }
        Err(why.unwrap_or_else(nobody))
    }
}

impl Ends {
    fn of(all: Vec<Arc<End>>) -> Self {
        let working = all.iter().filter(|end| !end.health.is_out());
        let mut usable: Vec<_> = working.cloned().collect();
        if usable.is_empty() {
            usable.clone_from(&all);
        }
        Self { all, usable }
    }
}

/// Two different places of `count`, as far as there are two.
fn two_of(count: usize, chance: u64) -> (usize, usize) {
    let wide = count.max(1) as u64;
    let first = (chance >> 32) % wide;
    let step = (chance & 0xFFFF_FFFF) % wide.saturating_sub(1).max(1) + 1;
    let place = |n: u64| usize::try_from(n % wide).unwrap_or(0);
    (place(first), place(first + step))
}

fn unreachable() -> Refusal {
    Refusal::server(
        Reason::ServerAway,
        Executed::No,
        "server is away: none of its sidecars can be reached",
    )
    .rule("hop/connect")
}

fn nobody() -> Refusal {
    Refusal::server(
        Reason::ServerAway,
        Executed::No,
        "server is away: no sidecar in the mesh has it up",
    )
    .rule("hop/endpoints")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_ones_are_looked_at_and_each_as_often_as_the_others() {
        for count in 2..7 {
            let mut seen = vec![0_u32; count];
            for n in 0..60_000_u64 {
                let chance = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let (first, second) = two_of(count, chance ^ (chance >> 29));
                assert_ne!(first, second);
                for place in [first, second] {
                    if let Some(times) = seen.get_mut(place) {
                        *times += 1;
                    }
                }
            }
            let fair = 120_000 / u32::try_from(count).unwrap_or(1);
            assert!(seen.iter().all(|times| times.abs_diff(fair) < fair / 10), "{seen:?}");
        }
        assert_eq!(two_of(1, 12345), (0, 0));
    }
}
