//! Whose turn it is at a server that has as many calls as it may.
//!
//! A server that hangs, or is merely slow, must fill its own room and nobody else's. So each has a number of calls it is
//! given at once, a bounded queue for those beyond, and a time after which a call in the queue is turned away. Callers
//! take turns in the queue, and when it is full the caller with the most calls in it makes room: one noisy caller
//! delays itself. As long as nobody has to wait, a turn costs one atomic operation to take and one to give back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use meshgate_mcp::Method;
use meshgate_model::Concurrency;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::call::{Caller, Outbound};
use crate::refusal::{Reason, Refusal};

/// One waiting call in [`Room::state`], where the lower half counts calls in flight and the upper half those that wait.
const WAITING: u64 = 1 << 32;
/// The longest that a caller is asked to stay away, in seconds.
const AWAY_SECONDS_MAX: usize = 5;

/// The turns of one server.
#[derive(Clone)]
pub(super) struct Turns(Arc<Room>);

struct Room {
    state: AtomicU64,
    /// Subscriptions, which take no turn: they are silent for hours.
    listens: AtomicUsize,
    limits: Concurrency,
    turned_away: AtomicUsize,
    /// Everything that changes the number of waiting calls happens under this lock.
    queue: Mutex<Queue>,
}

/// One call's turn; given back when it is dropped.
pub(super) struct Turn {
    /// `None` once it has been passed on.
    room: Option<Arc<Room>>,
    listen: bool,
}

#[derive(Default)]
struct Queue {
    /// Callers with waiting calls, in the order of their turns.
    order: VecDeque<Arc<Caller>>,
    calls: HashMap<Arc<Caller>, VecDeque<Waiting>>,
    tickets: u64,
}

struct Waiting {
    ticket: u64,
    /// Dropped without a word to turn the call away.
    turn: oneshot::Sender<Turn>,
}

fn in_flight(state: u64) -> usize {
    usize::try_from(state % WAITING).unwrap_or(usize::MAX)
}

fn waiting(state: u64) -> usize {
    usize::try_from(state / WAITING).unwrap_or(usize::MAX)
}

impl Turns {
    pub(super) fn new(limits: Concurrency) -> Self {
        Self(Arc::new(Room {
            state: AtomicU64::new(0),
            listens: AtomicUsize::new(0),
            limits,
            turned_away: AtomicUsize::new(0),
            queue: Mutex::default(),
        }))
    }

    /// A turn that need not be waited for. Subscriptions and the gateway's own few calls never wait: a busy server is
    /// no reason to lose sight of it.
    pub(super) fn take(&self, out: &Outbound) -> Option<Turn> {
        let room = &self.0;
        let listen = out.method == Method::Listen;
        if listen {
            room.listens.fetch_add(1, Ordering::Relaxed);
        } else if out.caller.is_none() {
            room.state.fetch_add(1, Ordering::AcqRel);
        } else if !room.enter() {
            return None;
        }
        Some(Turn {
            room: Some(Arc::clone(room)),
            listen,
        })
    }

    /// Waits for a turn behind the other callers. What is refused here has not been sent.
    pub(super) async fn wait(&self, out: &Outbound) -> Result<Turn, Refusal> {
        let Some(caller) = &out.caller else {
            return self.take(out).ok_or_else(|| self.0.full());
        };
        let until = Instant::now() + self.0.limits.queue_time;
        let until = until.min(Instant::from_std(out.deadline));
        let mut place = match self.0.join(caller)? {
            Joined::At(turn) => return Ok(turn),
            Joined::Behind(place) => place,
        };
        match timeout_at(until, &mut place.turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(self.0.full()),
            // It may have come at the very last moment, and is given back with the place.
            Err(_) => Err(self.0.late()),
        }
    }

    /// Calls that the server is working on; subscriptions are none.
    pub(super) fn calls(&self) -> usize {
        in_flight(self.0.state.load(Ordering::Relaxed))
    }

    /// Calls that the server is working on, and subscriptions.
    pub(super) fn in_flight(&self) -> usize {
        self.calls() + self.0.listens.load(Ordering::Relaxed)
    }

    /// Calls that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        waiting(self.0.state.load(Ordering::Relaxed))
    }
}

/// What became of a call that wants to wait.
enum Joined {
    /// Somebody has just left.
    At(Turn),
    Behind(Place),
}

/// A place in the queue; given up when it is dropped.
struct Place {
    room: Arc<Room>,
    caller: Arc<Caller>,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let given_up = self.room.queue.lock().remove(&self.caller, self.ticket);
        if given_up.is_some() {
            self.room.state.fetch_sub(WAITING, Ordering::AcqRel);
        }
    }
}

impl Room {
    /// Counts one call more, unless it would have to wait.
    fn enter(&self) -> bool {
        let entered = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (waiting(state) == 0 && in_flight(state) < self.limits.max).then(|| state + 1)
        });
        entered.is_ok()
    }

    fn join(self: &Arc<Self>, caller: &Arc<Caller>) -> Result<Joined, Refusal> {
        if self.enter() {
            let room = Some(Arc::clone(self));
            return Ok(Joined::At(Turn { room, listen: false }));
        }
        let (turn, receiver) = oneshot::channel();
        let mut queue = self.queue.lock();
        if waiting(self.state.load(Ordering::Acquire)) >= self.limits.queue {
            let Some(evicted) = queue.evict(caller) else {
                drop(queue);
                return Err(self.full());
            };
            self.state.fetch_sub(WAITING, Ordering::AcqRel);
            // Wakes its task, which takes no lock of ours before it runs.
            drop(evicted);
        }
        let joined = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (waiting(state) > 0 || in_flight(state) >= self.limits.max).then(|| state + WAITING)
        });
        if joined.is_err() {
            // Somebody left between the two looks.
            drop(queue);
            return self.join(caller);
        }
        let ticket = queue.push(caller, turn);
        Ok(Joined::Behind(Place {
            room: Arc::clone(self),
            caller: Arc::clone(caller),
            ticket,
            turn: receiver,
        }))
    }

    /// Gives a turn to the next call that waits, or back to the server.
    fn leave(self: Arc<Self>) {
        loop {
            let left = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (waiting(state) == 0 || in_flight(state) > self.limits.max).then(|| state - 1)
            });
            if left.is_ok() {
                return;
            }
            let next = {
                let mut queue = self.queue.lock();
                let next = queue.pop();
                if next.is_some() {
                    self.state.fetch_sub(WAITING, Ordering::AcqRel);
                }
                next
            };
            let Some(next) = next else { continue };
            let turn = Turn {
                room: Some(Arc::clone(&self)),
                listen: false,
            };
            match next.turn.send(turn) {
                Ok(()) => return,
                // It has just gone away: the turn is still ours to give.
                Err(mut turn) => drop(turn.room.take()),
            }
        }
    }

    fn full(&self) -> Refusal {
        self.refuse("this server has as many calls as it may, and as many wait; come back when `Retry-After` says")
    }

    fn late(&self) -> Refusal {
        self.refuse(
            "this server has as many calls as it may, and none ended in time; come back when `Retry-After` says",
        )
    }

    fn refuse(&self, message: &'static str) -> Refusal {
        // Spread, so that those turned away together do not come back together.
        let count = self.turned_away.fetch_add(1, Ordering::Relaxed);
        let away = u64::try_from(1 + count % AWAY_SECONDS_MAX).unwrap_or(1);
        Refusal::new(Reason::Overloaded, message)
            .rule("server/concurrency")
            .retry(Duration::from_secs(away))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.room.take() {
            Some(room) if self.listen => drop(room.listens.fetch_sub(1, Ordering::Relaxed)),
            Some(room) => room.leave(),
            None => {}
        }
    }
}

impl Queue {
    fn push(&mut self, caller: &Arc<Caller>, turn: oneshot::Sender<Turn>) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let calls = self.calls.entry(Arc::clone(caller)).or_default();
        if calls.is_empty() {
            self.order.push_back(Arc::clone(caller));
        }
        calls.push_back(Waiting { ticket, turn });
        ticket
    }

    /// The first call of the caller whose turn it is.
    fn pop(&mut self) -> Option<Waiting> {
        let caller = self.order.pop_front()?;
        let calls = self.calls.get_mut(&caller)?;
        let next = calls.pop_front();
        if calls.is_empty() {
            self.calls.remove(&caller);
        } else {
            self.order.push_back(caller);
        }
        next
    }

    /// Makes room for `caller`: the last call of whoever has the most. Nothing where that is no more than `caller` would
    /// have itself.
    fn evict(&mut self, caller: &Caller) -> Option<Waiting> {
        let own = self.calls.get(caller).map_or(0, VecDeque::len);
        let most = self.calls.values_mut().max_by_key(|calls| calls.len())?;
        // At least one of its calls stays, so its place in the order does, too.
        if most.len() > own + 1 { most.pop_back() } else { None }
    }

    fn remove(&mut self, caller: &Arc<Caller>, ticket: u64) -> Option<Waiting> {
        let calls = self.calls.get_mut(caller)?;
        let at = calls.iter().position(|waiting| waiting.ticket == ticket)?;
        let removed = calls.remove(at);
        if calls.is_empty() {
            self.calls.remove(caller);
            self.order.retain(|other| other != caller);
        }
        removed
    }
}

#[cfg(test)]
mod tests;
