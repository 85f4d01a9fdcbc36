//! The control plane's end: all streams, what each proxy holds, and what it should.
//!
//! Ten thousand streams must cost little each, and a slow one must cost the others nothing. So there is no queue for a
//! stream: there is what its proxy holds, and what is for it now. Whenever a proxy has answered, the difference between the
//! two is the next change, however many changes came meanwhile. At most one is on its way to a proxy; one that does not
//! answer loses its stream and comes back with what it holds.
//!
//! What a proxy refuses is not sent again until it changes, or a minute later; but a denial, endpoints, roots and keys reach it all the same,
//! beside the configuration it holds.
//!
//! A driver has a task for each stream, and one for all:
//! ```text
//! for each stream: server.open(now, peer, hello), then
//!     loop {
//!         match server.next(now, id, sign) {
//!             Next::Send(messages) => send them
//!             Next::Wait(until) => until then, until woken, or until a message comes: server.received(now, id, message)
//!             Next::Close(_) => end the stream
//!         }
//!     }
//!     server.close(id) when it has ended, whatever the reason
//! for all: after server.change(…) and whenever server.due() says: wake the streams that server.tick(now) names
//! ```

mod admission;
mod catalog;
mod pace;
mod session;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use meshgate_model::SpiffeId;

pub use admission::Admission;
pub use catalog::{Audience, Member};
pub use session::{Refused, Status};

use crate::client::Fault;
use crate::limits;
use crate::manifest::{Position, Sign};
use crate::message::{Hello, Refusal, Report};
use crate::proto::{self, from_control, from_proxy};
use crate::resource::{Key, Resource};
use catalog::{Catalog, Set, Touched};
use pace::Pace;
use session::{Answered, Session};

/// One stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// What has changed, all of it at one revision.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The revision of the configuration after it; the same as before for what is not part of it.
    pub revision: u64,
    /// New or changed, and for whom.
    pub put: Vec<(Arc<Resource>, Audience)>,
    /// No longer there.
    pub gone: Vec<Key>,
}

/// A stream that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The stream.
    pub id: SessionId,
    /// An older stream of the same proxy, which is to be woken: it ends.
    pub replaced: Option<SessionId>,
}

/// Why a stream was not opened.
#[derive(Clone, Debug, PartialEq)]
pub enum Unopened {
    /// There is no room: this message, and the end.
    Later(proto::FromControl),
    /// The identity is of no gateway and no server.
    Identity,
    /// The first message is no `Hello`, or none that can be understood.
    Contract,
}

/// What a proxy has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Something that this version has no word for.
    Nothing,
    /// It has taken the change to this position.
    Taken(Position),
    /// It has refused one.
    Refused(Refused),
    /// How it is.
    Reported(Report),
}

/// What to do for a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send these, in order.
    Send(Vec<proto::FromControl>),
    /// Nothing before this, unless the proxy says something or the stream is woken.
    Wait(Duration),
    /// End it.
    Close(Fault),
}

/// Which proxies have a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How many have it, or nothing of it is for them.
    pub taken: usize,
    /// Those that have refused what it is part of.
    pub refused: Vec<(SpiffeId, NonZeroU64, Refusal)>,
    /// Those that have not answered yet.
    pub waiting: Vec<(SpiffeId, NonZeroU64)>,
}

/// The control plane's end of distribution.
#[derive(Debug)]
pub struct Server {
    now_at: Position,
    /// Changes up to this revision have been made known to all streams.
    announced: u64,
    catalog: Catalog,
    touched: Touched,
    pace: Pace,
    admission: Admission,
    of_identity: HashMap<SpiffeId, Admission>,
    sessions: BTreeMap<SessionId, Session>,
    /// The streams of each identity, by instance.
    streams: HashMap<SpiffeId, BTreeMap<NonZeroU64, SessionId>>,
    next_id: u64,
}

impl Server {
    /// One without resources, in this epoch.
    pub fn new(epoch: u64) -> Self {
        Self::admitting(
            epoch,
            Admission::new(limits::ADMITTED_PER_SECOND, limits::ADMITTED_BURST),
        )
    }

    /// As [`Server::new`], with another rate of new streams.
    pub fn admitting(epoch: u64, admission: Admission) -> Self {
        Self {
            now_at: Position { epoch, revision: 0 },
            announced: 0,
            catalog: Catalog::default(),
            touched: Touched::default(),
            pace: Pace::default(),
            admission,
            of_identity: HashMap::new(),
            sessions: BTreeMap::new(),
            streams: HashMap::new(),
            next_id: 1,
        }
    }

    /// Where the configuration is.
    pub fn position(&self) -> Position {
        self.now_at
    }

    /// Something has changed. It is sent when [`Server::due`] says.
    pub fn change(&mut self, now: Duration, change: Change) {
        let mut touched = Touched::default();
        // What is told again as it was hastens nothing: whoever changes one document names all there is.
        let mut urgent = false;
        for (resource, audience) in change.put {
            let kind = resource.key().kind;
            urgent |= self.catalog.put(resource, audience, &mut touched) && kind.is_urgent();
        }
        for key in &change.gone {
            urgent |= self.catalog.remove(key, &mut touched) && key.kind.is_urgent();
        }
        let moved = change.revision > self.now_at.revision;
        self.now_at.revision = self.now_at.revision.max(change.revision);
        if !touched.is_empty() {
            self.catalog.forget(&touched);
            self.touched.merge(&touched);
            self.pace.changed(now, urgent);
        } else if moved {
            self.pace.changed(now, false);
        }
    }

    /// These are all resources there are; what is not among them is gone.
    pub fn replace(&mut self, now: Duration, revision: u64, all: Vec<(Arc<Resource>, Audience)>) {
        let keep: BTreeSet<&Key> = all.iter().map(|(resource, _)| resource.key()).collect();
        let gone = self.catalog.keys().filter(|key| !keep.contains(key)).cloned().collect();
        let change = Change {
            revision,
            put: all,
            gone,
        };
        self.change(now, change);
    }

    /// When [`Server::tick`] has something to do; `None` until something changes.
    pub fn due(&self) -> Option<Duration> {
        self.pace.due()
    }

    /// Makes changes known: the streams to be woken. None before [`Server::due`].
    pub fn tick(&mut self, now: Duration) -> Vec<SessionId> {
        if !self.pace.take(now) {
            return Vec::new();
        }
        self.announced = self.now_at.revision;
        let touched = std::mem::take(&mut self.touched);
        let mut woken = Vec::new();
        for (id, session) in &mut self.sessions {
            if touched.has(&session.member) {
                session.stale = true;
                woken.push(*id);
            }
        }
        woken
    }

    /// A proxy whose certificate says `peer` has opened a stream and sent its first message.
    ///
    /// # Errors
    /// When the stream is to be ended.
    pub fn open(&mut self, now: Duration, peer: &SpiffeId, first: &proto::FromProxy) -> Result<Opened, Unopened> {
        let member = Member::of(peer).ok_or(Unopened::Identity)?;
        let Some(from_proxy::Message::Hello(hello)) = &first.message else {
            return Err(Unopened::Contract);
        };
        let hello = Hello::read(hello).ok_or(Unopened::Contract)?;
        self.admit(now, peer).map_err(Unopened::Later)?;
        let id = SessionId(self.next_id);
        self.next_id += 1;
        let replaced = self.streams.entry(peer.clone()).or_default().insert(hello.instance, id);
        if let Some(replaced) = replaced {
            self.sessions.remove(&replaced);
        }
        self.sessions.insert(id, Session::new(now, peer.clone(), member, hello));
        Ok(Opened { id, replaced })
    }

    fn admit(&mut self, now: Duration, peer: &SpiffeId) -> Result<(), proto::FromControl> {
        let of_identity = self.streams.get(peer).map_or(0, BTreeMap::len);
        if self.sessions.len() >= limits::SESSIONS_MAX || of_identity >= limits::SESSIONS_OF_IDENTITY_MAX {
            return Err(later(limits::LATER_MAX));
        }
        if self.of_identity.len() > limits::SESSIONS_MAX {
            self.of_identity.retain(|_, admission| !admission.is_idle(now));
        }
        let own = self.of_identity.entry(peer.clone()).or_insert_with(|| {
            Admission::new(
                limits::ADMITTED_OF_IDENTITY_PER_SECOND,
                limits::ADMITTED_OF_IDENTITY_BURST,
            )
        });
        own.admit(now).map_err(later)?;
        self.admission.admit(now).map_err(later)
    }

    /// The proxy has said something.
    ///
    /// # Errors
    /// When it does not keep to the contract, or holds something else than it has said; the stream is to be ended.
    pub fn received(&mut self, now: Duration, id: SessionId, message: &proto::FromProxy) -> Result<Said, Fault> {
        let session = self.sessions.get_mut(&id).ok_or(Fault::Replaced)?;
        session.heard = now;
        let answered = match &message.message {
            Some(from_proxy::Message::Hello(_)) => return Err(Fault::Contract),
            Some(from_proxy::Message::Ack(ack)) => session.taken(ack.nonce),
            Some(from_proxy::Message::Nack(nack)) => session.refuses(now, nack.nonce, Refusal::read(nack)),
            Some(from_proxy::Message::Report(report)) => {
                let report = Report::read(report);
                session.report = Some(report.clone());
                return Ok(Said::Reported(report));
            }
            None => return Ok(Said::Nothing),
        };
        match answered {
            Answered::Taken(position) => Ok(Said::Taken(position)),
            Answered::Refused(refused) => Ok(Said::Refused(refused)),
            Answered::Elsewhere => Err(Fault::Outdated),
            Answered::Stray => Err(Fault::Contract),
        }
    }

    /// What to do for a stream now.
    pub fn next(&mut self, now: Duration, id: SessionId, sign: Sign<'_>) -> Next {
        let Some(session) = self.sessions.get_mut(&id) else {
            return Next::Close(Fault::Replaced);
        };
        if now >= session.heard + limits::SILENCE {
            return Next::Close(Fault::Silent);
        }
        if let Some(within_ms) = session.renew.take() {
            session.sent = now;
            return Next::Send(vec![renew(within_ms)]);
        }
        if session.tries_again_at().is_some_and(|at| now >= at) {
            session.try_again();
        }
        if let Some(pending) = &session.pending {
            if now >= pending.since + limits::ANSWER {
                return Next::Close(Fault::Answer);
            }
        } else if session.stale {
            let set = self.catalog.set(&session.identity, &session.member, self.now_at, sign);
            session.stale = false;
            if let Some(messages) = push(now, session, &set, sign) {
                return Next::Send(messages);
            }
        }
        if now >= session.sent + limits::BEAT {
            session.sent = now;
            return Next::Send(vec![beat(self.now_at)]);
        }
        let answer = session.pending.as_ref().map(|pending| pending.since + limits::ANSWER);
        let ends = [
            Some(session.heard + limits::SILENCE),
            Some(session.sent + limits::BEAT),
            answer,
            session.tries_again_at(),
        ];
        Next::Wait(ends.into_iter().flatten().min().unwrap_or(now))
    }

    /// Every connected proxy is to renew its certificate, within this time. The streams to be woken.
    pub fn renew(&mut self, within: Duration) -> Vec<SessionId> {
        let within_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let told = self.sessions.iter_mut().map(|(id, session)| {
            session.renew = Some(within_ms);
            *id
        });
        told.collect()
    }

    /// A stream has ended. Who it was, unless another stream of the same proxy has taken its place.
    pub fn close(&mut self, id: SessionId) -> Option<Status> {
        let session = self.sessions.remove(&id)?;
        if let Some(streams) = self.streams.get_mut(&session.identity) {
            streams.remove(&session.instance);
            if streams.is_empty() {
                self.streams.remove(&session.identity);
                self.catalog.left(&session.identity);
            }
        }
        Some(session.status())
    }

    /// One stream.
    pub fn status(&self, id: SessionId) -> Option<Status> {
        self.sessions.get(&id).map(Session::status)
    }

    /// All streams.
    pub fn statuses(&self) -> impl Iterator<Item = (SessionId, Status)> {
        self.sessions.iter().map(|(id, session)| (*id, session.status()))
    }

    /// Which of the connected proxies have a revision.
    pub fn progress(&self, revision: u64) -> Progress {
        let mut progress = Progress::default();
        for session in self.sessions.values() {
            let who = || (session.identity.clone(), session.instance);
            let position = session.position();
            let told = self.announced >= revision && !self.is_touched(session) && session.is_settled();
            let has = position.epoch == self.now_at.epoch && position.revision >= revision;
            let refused = session
                .refused()
                .filter(|refused| told || refused.position.revision >= revision);
            if let Some(refused) = refused {
                let (identity, instance) = who();
                progress.refused.push((identity, instance, refused.refusal.clone()));
            } else if told || (has && session.refused().is_none()) {
                progress.taken += 1;
            } else {
                progress.waiting.push(who());
            }
        }
        progress
    }

    /// Whether a change waits that is for a stream.
    fn is_touched(&self, session: &Session) -> bool {
        self.touched.has(&session.member)
    }
}

/// The next change of a stream, if it needs one.
fn push(now: Duration, session: &mut Session, set: &Arc<Set>, sign: Sign<'_>) -> Option<Vec<proto::FromControl>> {
    let identity = session.identity.clone();
    let make = |position, listed| Set::new(&identity, position, listed, sign);
    if session.holds(set) {
        return None;
    }
    let mut target = session.target(set, make)?;
    if target.too_large {
        session.refuse_unsent(now, set);
        target = session.target(set, make)?;
    }
    Some(session.push(now, target))
}

fn later(after: Duration) -> proto::FromControl {
    let after_ms = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
    proto::FromControl {
        message: Some(from_control::Message::Later(proto::Later { after_ms })),
    }
}

fn renew(within_ms: u32) -> proto::FromControl {
    proto::FromControl {
        message: Some(from_control::Message::Renew(proto::Renew { within_ms })),
    }
}

fn beat(position: Position) -> proto::FromControl {
    proto::FromControl {
        message: Some(from_control::Message::Beat(proto::Beat {
            epoch: position.epoch,
            revision: position.revision,
        })),
    }
}
