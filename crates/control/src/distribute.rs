//! Drives distribution: one stream for each proxy, and what is true now about all of them.
//!
//! The decisions are in the state machine of `sync`, which knows no sockets; here are the sockets, the clock and the key
//! that signs. A stream has no task of its own: the response body of its request is the loop, polled by the connection it
//! travels on, and dropped with it. So a proxy that reads slowly delays itself only, and there is no queue that could grow.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::stream;
use meshgate_identity::Peer;
use meshgate_model::SpiffeId;
use meshgate_sync::message::Report;
use meshgate_sync::proto::{FromControl, FromProxy};
use meshgate_sync::resource::{Denial, Whom};
use meshgate_sync::server::{Change, Next, Said, Server, SessionId, Status, Unopened};
use meshgate_telemetry::metrics::ControlMetrics;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use crate::alarms::{AlarmKind, Alarms};
use crate::ca::Serial;
use crate::compile::{self, CompileError, Shared};
use crate::endpoints::Directory;
use crate::issuance::Ledger;
use crate::keys::Keys;
use crate::limits::{GONE_KEPT, PROXIES_MAX};
use crate::own::Own;
use crate::registry::Registry;
use session::Session;

mod progress;
mod session;

/// How often streams are looked at that should have said something.
const SWEEP: Duration = Duration::from_secs(5);

/// What distribution needs of the rest.
pub struct Parts {
    /// What there is.
    pub registry: Arc<Registry>,
    /// What signs.
    pub keys: Arc<Keys>,
    /// Which certificates were signed.
    pub ledger: Arc<Ledger>,
    /// Our own identity, which knows who is denied.
    pub own: Arc<Own>,
    /// What operators have to know.
    pub alarms: Alarms,
    /// Counts.
    pub metrics: Arc<ControlMetrics>,
}

/// A proxy that was connected, as it was.
#[derive(Clone, Debug)]
pub struct Gone {
    /// As it was.
    pub status: Status,
    /// When it left.
    pub at: Duration,
}

/// Everything distribution knows about proxies.
pub struct Distributor {
    parts: Parts,
    notes: PathBuf,
    started: Instant,
    state: Mutex<State>,
    /// Rings when something has changed that is to be sent.
    bell: Notify,
    /// Rings when those that take calls have changed.
    noted: Notify,
    /// Counts answers of proxies, for those who wait for them.
    answers: watch::Sender<u64>,
    /// Ends every stream.
    closing: CancellationToken,
}

struct State {
    server: Server,
    /// Which server the ids of streams belong to: a new epoch begins with a new one.
    generation: u64,
    wakers: HashMap<SessionId, Arc<Notify>>,
    directory: Directory,
    gone: VecDeque<Gone>,
    /// What was shared when it was made known last.
    shared: Option<Shared>,
}

impl Distributor {
    /// Nobody is connected yet; where anybody ever got a certificate, they are awaited.
    /// `notes` is where those that take calls are noted, and were by the start before.
    pub fn new(parts: Parts, notes: PathBuf) -> Self {
        let mut directory = Directory::new(parts.ledger.has_members(), Duration::ZERO);
        directory.recall(&notes, Duration::ZERO);
        let state = State {
            server: Server::new(parts.keys.epoch()),
            generation: 0,
            wakers: HashMap::new(),
            directory,
            gone: VecDeque::new(),
            shared: None,
        };
        Self {
            parts,
            notes,
            started: Instant::now(),
            state: Mutex::new(state),
            bell: Notify::new(),
            noted: Notify::new(),
            answers: watch::Sender::new(0),
            closing: CancellationToken::new(),
        }
    }

    /// The time since the start, which is the only time that streams know.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Makes what is kept and shared now known to all proxies.
    ///
    /// # Errors
    /// When something of it cannot travel: then everything stays as it is.
    pub fn publish(&self, denied: Vec<Denial>) -> Result<(), CompileError> {
        let bundle = self.parts.own.identity().bundle();
        let shared = Shared {
            trust_domain: bundle.trust_domain().clone(),
            roots: bundle.roots().iter().map(|root| root.to_vec()).collect(),
            snapshot_keys: self.parts.keys.snapshot_keys(),
            ring: self.parts.keys.ring().to_string(),
            denied,
        };
        let configuration = self.parts.registry.current();
        let mut state = self.state.lock();
        let denied = |id: &SpiffeId| {
            let mut denials = shared.denied.iter();
            denials.any(|denial| matches!(&denial.whom, Whom::Identity(whom) if whom == id))
        };
        if state.directory.denied(denied) {
            self.noted.notify_one();
        }
        let all = compile::everything(&configuration, &shared, &state.directory.places())?;
        let epoch = self.parts.keys.epoch();
        if state.server.position().epoch != epoch {
            state.server = Server::new(epoch);
            state.generation += 1;
            let wakers = std::mem::take(&mut state.wakers);
            wakers.values().for_each(|waker| waker.notify_one());
        }
        state.server.replace(self.now(), configuration.number, all);
        state.shared = Some(shared);
        drop(state);
        self.bell.notify_one();
        Ok(())
    }

    /// Sends what is due and ends streams that are silent, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let due = {
                let state = self.state.lock();
                let due = state.server.due().into_iter().chain(state.directory.settles_at());
                due.min().map(|due| self.started + due)
            };
            let waits = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.bell.notified() => {}
                () = waits => {}
                _ = sweep.tick() => self.sweep(),
            }
            self.tick();
        }
        self.closing.cancel();
    }

    fn tick(&self) {
        let now = self.now();
        let mut state = self.state.lock();
        if state.directory.settle(now) {
            self.tell_places(&mut state);
        }
        for id in state.server.tick(now) {
            if let Some(waker) = state.wakers.get(&id) {
                waker.notify_one();
            }
        }
    }

    /// A stream whose proxy reads nothing is never polled, so nobody would notice that it is silent.
    fn sweep(&self) {
        let now = self.now();
        let mut state = self.state.lock();
        let silent = |status: &Status| now >= status.heard + meshgate_sync::limits::SILENCE;
        let silent: Vec<SessionId> = state
            .server
            .statuses()
            .filter(|(_, status)| silent(status))
            .map(|(id, _)| id)
            .collect();
        for id in silent {
            self.close(&mut state, id);
        }
        state.gone.retain(|gone| now < gone.at + GONE_KEPT);
    }

    /// Writes down who takes calls, whenever that changes, until `stop`.
    pub async fn note(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                // What is due is written before the end.
                biased;
                () = self.noted.notified() => {}
                () = stop.cancelled() => break,
            }
            let (path, text) = (self.notes.clone(), self.state.lock().directory.notes());
            let written = tokio::task::spawn_blocking(move || crate::seal::write_private(&path, text.as_bytes())).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(
                    "who takes calls cannot be written to `{}`, so a gateway that starts just after the control plane \
                     has to wait for sidecars to come back: {error}",
                    self.notes.display()
                );
            }
        }
    }

    fn tell_places(&self, state: &mut State) {
        self.noted.notify_one();
        let configuration = self.parts.registry.current();
        match compile::places(&configuration, &state.directory.places()) {
            Ok(put) => {
                let change = Change {
                    revision: state.server.position().revision,
                    put,
                    gone: Vec::new(),
                };
                state.server.change(self.now(), change);
                self.bell.notify_one();
            }
            Err(error) => tracing::error!("{error}"),
        }
    }

    /// A proxy has opened a stream.
    ///
    /// # Errors
    /// What the proxy is told, when it may not.
    pub async fn open(
        self: &Arc<Self>,
        peer: Arc<Peer>,
        mut inbound: Streaming<FromProxy>,
    ) -> Result<BoxStream<'static, Result<FromControl, tonic::Status>>, tonic::Status> {
        self.look_at(&peer);
        let first = tokio::time::timeout(meshgate_sync::limits::OPENING, inbound.message()).await;
        let first = match first {
            Ok(Ok(Some(first))) => first,
            Ok(Ok(None)) => {
                return Err(tonic::Status::invalid_argument(
                    "the stream ended before its first message",
                ));
            }
            Ok(Err(status)) => return Err(status),
            Err(_) => return Err(tonic::Status::deadline_exceeded("the first message took too long")),
        };
        let woken = Arc::new(Notify::new());
        let mut state = self.state.lock();
        let opened = match state.server.open(self.now(), peer.id(), &first) {
            Ok(opened) => opened,
            Err(Unopened::Later(later)) => return Ok(Box::pin(stream::iter([Ok(later)]))),
            Err(Unopened::Identity) => {
                return Err(tonic::Status::permission_denied(
                    "only gateways and sidecars get a configuration",
                ));
            }
            Err(Unopened::Contract) => {
                return Err(tonic::Status::invalid_argument(
                    "the first message is none that this version understands",
                ));
            }
        };
        self.parts.metrics.stream();
        state.wakers.insert(opened.id, woken.clone());
        if let Some(replaced) = opened.replaced.and_then(|id| state.wakers.remove(&id)) {
            replaced.notify_one();
        }
        let status = state.server.status(opened.id);
        if let Some(status) = status {
            self.warn_of_set_back(&state, &status);
            if state
                .directory
                .joined(&status.identity, status.instance, status.address)
            {
                self.tell_places(&mut state);
            }
        }
        let session = Session::new(self.clone(), (state.generation, opened.id), peer, inbound, woken);
        drop(state);
        Ok(Box::pin(stream::unfold(session, |mut session| async move {
            let message = session.next().await?;
            Some((Ok(message), session))
        })))
    }

    fn look_at(&self, peer: &Peer) {
        let known = Serial::parse(peer.serial()).is_some_and(|serial| self.parts.ledger.seen(&serial));
        if !known {
            let message = format!(
                "a certificate for `{}` (serial {}) is in use that this control plane never wrote down: its keys may be \
                 stolen, or its store was set back; deny the certificate, and rotate the root, unless you know why",
                peer.id(),
                peer.serial()
            );
            self.parts.alarms.raise(AlarmKind::UnknownIssuance, message);
        }
    }

    fn warn_of_set_back(&self, state: &State, status: &Status) {
        let own = state.server.position();
        if status.position > own && own.revision == self.parts.registry.current().number {
            let message = format!(
                "`{}` has taken {} and this control plane is at {}: its store was set back; run `meshgate cert advance-epoch` \
                 so that proxies follow it again",
                status.identity, status.position, own
            );
            self.parts.alarms.raise(AlarmKind::SetBack, message);
        }
    }

    fn reported(&self, state: &mut State, id: SessionId, report: &Report) {
        let Some(status) = state.server.status(id) else { return };
        if state.directory.reported(&status.identity, status.instance, report) {
            self.tell_places(state);
        }
    }

    fn close(&self, state: &mut State, id: SessionId) {
        if let Some(waker) = state.wakers.remove(&id) {
            waker.notify_one();
        }
        let Some(status) = state.server.close(id) else { return };
        if state.directory.left(&status.identity, status.instance, self.now()) {
            self.tell_places(state);
        }
        state.gone.push_back(Gone { status, at: self.now() });
        if state.gone.len() > PROXIES_MAX {
            state.gone.pop_front();
        }
        self.answers.send_modify(|count| *count += 1);
    }

    fn next(&self, id: SessionId, generation: u64) -> Next {
        let signer = self.parts.keys.signer();
        // A signature that could not be made is one that no proxy takes, which it says.
        let sign = |message: &[u8]| {
            let made = signer.as_ref().and_then(|key| key.sign(message).ok());
            made.and_then(|made| made.try_into().ok()).unwrap_or([0; 64])
        };
        let mut state = self.state.lock();
        if state.generation != generation {
            return Next::Close(meshgate_sync::client::Fault::Replaced);
        }
        state.server.next(self.now(), id, &sign)
    }

    fn received(&self, id: SessionId, generation: u64, message: &FromProxy) -> bool {
        let mut state = self.state.lock();
        if state.generation != generation {
            return false;
        }
        match state.server.received(self.now(), id, message) {
            Ok(Said::Reported(report)) => self.reported(&mut state, id, &report),
            Ok(Said::Taken(_)) => {
                self.parts.metrics.answer(true);
                self.answers.send_modify(|count| *count += 1);
            }
            Ok(Said::Refused(refused)) => {
                self.parts.metrics.answer(false);
                let identity = state.server.status(id).map(|status| status.identity.to_string());
                tracing::warn!(
                    identity = identity.unwrap_or_default(),
                    position = %refused.position,
                    "a proxy refuses the configuration: {}",
                    refused.refusal
                );
                self.answers.send_modify(|count| *count += 1);
            }
            Ok(Said::Nothing) => {}
            Err(_) => return false,
        }
        true
    }

    /// The proxies that are connected, and those that were.
    pub fn proxies(&self) -> (Vec<Status>, Vec<Gone>) {
        let state = self.state.lock();
        let connected: Vec<Status> = state.server.statuses().map(|(_, status)| status).collect();
        let here: HashSet<_> = connected.iter().map(|one| (&one.identity, one.instance)).collect();
        let back = |gone: &&Gone| !here.contains(&(&gone.status.identity, gone.status.instance));
        let gone = state.gone.iter().filter(back).cloned().collect();
        (connected, gone)
    }

    /// Whether what is said about endpoints is all there is.
    pub fn is_settled(&self) -> bool {
        self.state.lock().directory.is_settled()
    }

    /// The highest epoch that a proxy says it has seen.
    pub fn epoch_seen(&self) -> u64 {
        let state = self.state.lock();
        let seen = state.server.statuses().map(|(_, status)| status.position.epoch).max();
        seen.unwrap_or(0)
    }
}
