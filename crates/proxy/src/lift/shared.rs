//! What everybody who uses one lifted server has in common: the way to it, the session, who is in flight, who listens.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use meshgate_bridge::lift::{Filter, Handshake, Level, Logs, Session, Subscriptions};
use meshgate_mcp::Message;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Link;
use super::limits::{ANSWERS_MAX, ERRAND_MAX, LISTEN_MESSAGES_MAX, LOGS_WAITING_MAX, NOTICE_BYTES_MAX, STRAYS_MAX};

/// Our own requests have ids above those of calls, and below the largest integer that every server can hold.
static OWN_IDS: AtomicU64 = AtomicU64::new(1 << 52);

/// An id for a request of the gateway's own.
pub(super) fn own_id() -> u64 {
    OWN_IDS.fetch_add(1, Ordering::Relaxed)
}

/// One session with the server, replaced as a whole when the server has lost it.
pub(super) struct Live {
    pub(super) session: Session,
    /// What every HTTP request of this session carries.
    pub(super) headers: HeaderMap,
    /// Whether the server gave the session an id, so that it can lose it.
    pub(super) named: bool,
    /// Counts the sessions.
    pub(super) epoch: u64,
}

/// See the module.
pub(super) struct Shared {
    pub(super) link: Link,
    /// How sessions are opened.
    pub(super) greeting: Handshake,
    live: ArcSwap<Live>,
    hub: Mutex<Hub>,
    /// Log messages that came on no call's own stream.
    pub(super) logs: broadcast::Sender<Bytes>,
    /// The epoch of the session; changes wake the standalone stream.
    pub(super) epoch: watch::Sender<u64>,
    /// Whether the standalone stream has been opened, or refused, once.
    pub(super) followed: watch::Sender<bool>,
    /// On an own session: where the call that has it hears what came on the standalone stream.
    asking: Mutex<Option<mpsc::Sender<Bytes>>>,
    /// Held while a session is being made anew.
    pub(super) renewing: tokio::sync::Mutex<()>,
    /// Held while resources are subscribed or unsubscribed, so that the two cannot overtake each other.
    pub(super) subscribing: tokio::sync::Mutex<()>,
    /// Fires when the owner lets go.
    pub(super) stop: CancellationToken,
    /// Fires when the server can be used no longer.
    pub(super) gone: CancellationToken,
    tasks: TaskTracker,
    /// Answers to questions of the server that are on their way.
    answers: Arc<Semaphore>,
    pub(super) runtime: Handle,
}

#[derive(Default)]
struct Hub {
    logs: Logs,
    /// Counts the requests that were opened.
    opened: u64,
    subscriptions: Subscriptions,
    listeners: BTreeMap<u64, mpsc::Sender<Bytes>>,
    lost: bool,
}

impl Shared {
    pub(super) fn new(link: Link, greeting: Handshake, live: Live) -> Arc<Self> {
        Arc::new(Self {
            link,
            greeting,
            followed: watch::Sender::new(false),
            asking: Mutex::default(),
            epoch: watch::Sender::new(live.epoch),
            live: ArcSwap::from_pointee(live),
            hub: Mutex::default(),
            logs: broadcast::Sender::new(LOGS_WAITING_MAX),
            renewing: tokio::sync::Mutex::default(),
            subscribing: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
            tasks: TaskTracker::new(),
            answers: Arc::new(Semaphore::new(ANSWERS_MAX)),
            runtime: Handle::current(),
        })
    }

    pub(super) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// Puts a new session in place of a lost one.
    pub(super) fn replace(&self, live: Live) -> Arc<Live> {
        let live = Arc::new(live);
        self.hub.lock().logs.forget_level();
        self.live.store(Arc::clone(&live));
        self.epoch.send_replace(live.epoch);
        live
    }

    /// Runs something that nobody waits for, for at most `time_max`, also after the owner has let go.
    pub(super) fn errand(&self, time_max: Duration, work: impl Future<Output = ()> + Send + 'static) {
        let bounded = async move {
            let _ = tokio::time::timeout(time_max, work).await;
        };
        drop(self.tasks.spawn_on(bounded, &self.runtime));
    }

    /// Room for one more answer to a question of the server.
    pub(super) fn room_for_answer(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.answers).try_acquire_owned().ok()
    }

    /// Runs something until the owner lets go.
    pub(super) fn keep(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let owned = async move {
            let _ = stop.run_until_cancelled(work).await;
        };
        drop(self.tasks.spawn_on(owned, &self.runtime));
    }

    /// The server can be used no longer: whoever listens is told by an end without a result.
    pub(super) fn lose(&self) {
        let mut hub = self.hub.lock();
        hub.lost = true;
        hub.listeners.clear();
        drop(hub);
        self.gone.cancel();
    }

    /// Ends every listen in good order.
    pub(super) fn end_listens(&self) {
        self.hub.lock().listeners.clear();
    }

    pub(super) fn is_lost(&self) -> bool {
        self.hub.lock().lost
    }

    pub(super) fn in_flight(&self) -> usize {
        self.hub.lock().logs.in_flight()
    }

    /// What comes on the standalone stream from here on, for the one call that has this session.
    pub(super) fn strays(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(STRAYS_MAX);
        *self.asking.lock() = Some(sender);
        receiver
    }

    /// Hands a message to the call that has this session; whether there is one.
    pub(super) fn hand_over(&self, part: &Bytes) -> bool {
        let asking = self.asking.lock();
        asking.as_ref().is_some_and(|call| call.try_send(part.clone()).is_ok())
    }

    /// Ends the session at the server.
    pub(super) async fn end(&self) {
        self.end_listens();
        self.stop.cancel();
        let live = self.live();
        match &self.link {
            Link::Http(link) if live.named => {
                drop(link.delete(live.headers.clone(), now() + ERRAND_MAX).await);
            }
            Link::Http(_) | Link::Stdio(_) => {}
        }
        self.gone.cancel();
    }

    // --- requests in flight ----------------------------------------------------------------------------------------

    /// Notes a request that goes to the server; answers the log level that has to be set before it.
    pub(super) fn enter(self: &Arc<Self>, asked: Option<Level>) -> (Ticket, Option<Level>) {
        let mut hub = self.hub.lock();
        hub.opened += 1;
        let wanted = hub.logs.open(asked);
        let alone = hub.logs.in_flight() == 1;
        let seen = if alone { hub.opened } else { 0 };
        (
            Ticket {
                shared: Arc::clone(self),
                asked,
                seen,
            },
            wanted,
        )
    }

    pub(super) fn level_unknown(&self) {
        self.hub.lock().logs.forget_level();
    }

    // --- listens ---------------------------------------------------------------------------------------------------

    /// Opens a listen; answers its messages and the resources to subscribe before it is acknowledged.
    pub(super) fn open_listen(&self, id: u64, filter: Filter) -> (mpsc::Receiver<Bytes>, Vec<String>) {
        let (sender, receiver) = mpsc::channel(LISTEN_MESSAGES_MAX);
        let offered = self.live().session.offered;
        let mut hub = self.hub.lock();
        let fresh = hub.subscriptions.open(id, filter, &offered);
        if !hub.lost {
            hub.listeners.insert(id, sender);
        }
        (receiver, fresh)
    }

    pub(super) fn refuse_resource(&self, id: u64, uri: &str) {
        self.hub.lock().subscriptions.refuse(id, uri);
    }

    pub(super) fn acknowledge(&self, id: u64) -> Bytes {
        self.hub.lock().subscriptions.acknowledge(id).into()
    }

    /// Ends a listen; answers the resources that nobody watches any more.
    pub(super) fn close_listen(&self, id: u64) -> Vec<String> {
        let mut hub = self.hub.lock();
        hub.listeners.remove(&id);
        hub.subscriptions.close(id)
    }

    pub(super) fn watched(&self) -> Vec<String> {
        self.hub.lock().subscriptions.uris().into_iter().collect()
    }

    /// Hands a notification to the listens that asked for it. One that does not read is ended, so that its caller
    /// listens again and reads the lists anew.
    pub(super) fn publish(&self, src: &[u8], changed: &Message) {
        if src.len() > NOTICE_BYTES_MAX {
            return tracing::debug!(
                bytes = src.len(),
                "a notification that is no notice any more is dropped"
            );
        }
        let mut hub = self.hub.lock();
        for (id, message) in hub.subscriptions.publish(src, changed) {
            let full = hub
                .listeners
                .get(&id)
                .is_some_and(|listener| listener.try_send(message.into()).is_err());
            if full {
                hub.listeners.remove(&id);
            }
        }
    }
}

/// A request in flight; it is out of flight when this is dropped.
pub(super) struct Ticket {
    shared: Arc<Shared>,
    asked: Option<Level>,
    /// The value of `Hub::opened` when this request was last known to be alone.
    seen: u64,
}

impl Ticket {
    /// Whether a log message of that level, which has just come, may be handed to this request.
    pub(super) fn carries(&self, level: Level) -> bool {
        self.shared.hub.lock().logs.carries(self.asked, level)
    }

    /// Whether no other request was in flight since this was last asked.
    pub(super) fn undisturbed(&mut self) -> bool {
        let hub = self.shared.hub.lock();
        let alone = hub.logs.in_flight() == 1;
        let undisturbed = alone && self.seen == hub.opened;
        if alone {
            self.seen = hub.opened;
        }
        undisturbed
    }

    pub(super) fn wants_logs(&self) -> bool {
        self.asked.is_some()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.hub.lock().logs.close(self.asked);
    }
}

/// The earlier of a moment and `time_max` from now.
pub(super) fn soon(deadline: Instant, time_max: Duration) -> Instant {
    deadline.min(now() + time_max)
}

/// The runtime's time, which stands still in tests: a moment of the system's own clock is long past there.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
