//! The proxy's end: what it holds, what it is offered, and when to try again.
//!
//! The one promise here is that a proxy never holds half a change. Parts of a change are gathered beside what is held; when
//! the last one is there the result is checked as a whole ([`Snapshot::new`]) and offered to whoever drives this, who
//! compiles it beside what runs, writes it to disk, swaps, and says so ([`Client::settled`]). Only then is it held. Whatever
//! goes wrong before, the proxy keeps what it has and answers why. Losing the stream takes nothing away.
//!
//! Waits are drawn from between nothing and a ceiling that doubles (full jitter), because ten thousand proxies lose their
//! streams in the same moment.
//!
//! A driver does this, and nothing that needs thought:
//! ```text
//! loop {
//!     match client.due(now) {
//!         Due::Connect => open a stream; client.opened(now) is the first message, client.lost(now, random) if it fails
//!         Due::Report => send client.report(now, &report)
//!         Due::Cut(_) => drop the stream; client.lost(now, random)
//!         Due::Wait(until) => until then, or until a message comes:
//!             match client.received(now, message, random) {
//!                 Heard::Offer(offer) => compile, keep, swap; send client.settled(now, result)
//!                 Heard::Send(answer) => send it
//!                 Heard::Renew(after) => renew the certificate, after that
//!                 Heard::Cut(_) => drop the stream; client.lost(now, random)
//!                 Heard::Nothing => {}
//!             }
//!     }
//! }
//! ```

mod staged;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use crate::manifest::Position;
use crate::message::{CONTRACT, Hello, Reason, Refusal, Report, from_proxy};
use crate::proto::{self, from_control};
use crate::resource::Key;
use crate::snapshot::{Snapshot, Trust};
use staged::Staged;

/// What a proxy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The proxy as it was started, drawn at random.
    pub instance: NonZeroU64,
    /// Its mesh port, as others reach it.
    pub address: Option<SocketAddr>,
    /// The version of its program.
    pub program: String,
}

/// What whoever drives a [`Client`] should do now. Times count from whatever moment the driver began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Open a stream.
    Connect,
    /// Send a report.
    Report,
    /// Drop the stream.
    Cut(Fault),
    /// Nothing before this.
    Wait(Duration),
}

/// What a message of the control plane leads to.
#[derive(Clone, Debug)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// A change to compile, keep and swap in; then [`Client::settled`].
    Offer(Offer),
    /// An answer to send.
    Send(proto::FromProxy),
    /// Renew the certificate once this time has passed.
    Renew(Duration),
    /// Drop the stream.
    Cut(Fault),
}

/// A change, checked and not yet in force.
#[derive(Clone, Debug)]
pub struct Offer {
    /// All that the proxy would hold.
    pub snapshot: Arc<Snapshot>,
    /// What is new, changed or gone, in order.
    pub changed: Vec<Key>,
}

/// Why a stream is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It took too long to open.
    #[error("the control plane did not answer in time")]
    Opening,
    /// Nothing was heard of the other end.
    #[error("the other end has been silent for too long")]
    Silent,
    /// The control plane has no room now.
    #[error("the control plane has no room now")]
    Later,
    /// A message made no sense where it came.
    #[error("the other end does not keep to the contract")]
    Contract,
    /// A change was not answered in time.
    #[error("the proxy did not answer a change in time")]
    Answer,
    /// A change of an earlier stream has come into force since this one began.
    #[error("the proxy holds something else than it has said")]
    Outdated,
    /// Another stream of the same proxy has taken its place.
    #[error("the proxy has opened another stream")]
    Replaced,
}

/// The proxy's end of distribution.
#[derive(Debug)]
pub struct Client {
    own: Own,
    trust: Trust,
    held: Option<Arc<Snapshot>>,
    link: Link,
    /// How many streams in a row were not sound.
    failures: u32,
    /// What the control plane last said that its configuration is at.
    seen: Option<Position>,
}

#[derive(Debug)]
enum Link {
    Down { until: Duration },
    Opening { since: Duration },
    Up(Box<Up>),
}

/// A stream that is open.
#[derive(Debug)]
struct Up {
    since: Duration,
    heard: Duration,
    sent: Duration,
    /// The last change that was begun.
    nonce: u64,
    change: Change,
    /// What was said of what is held is no longer so.
    outdated: bool,
}

#[derive(Debug)]
enum Change {
    None,
    Arriving(Staged),
    Offered(Arc<Snapshot>),
}

impl Client {
    /// One that holds what was saved, or nothing. `trust` says the identity, the lowest epoch and the keys; what is saved has
    /// been checked against it by [`Snapshot::restore`].
    pub fn new(own: Own, trust: Trust, saved: Option<Arc<Snapshot>>) -> Self {
        let mut client = Self {
            own,
            trust,
            held: None,
            link: Link::Down { until: Duration::ZERO },
            failures: 0,
            seen: None,
        };
        if let Some(saved) = saved {
            client.hold(saved);
        }
        client
    }

    /// What is in force.
    pub fn held(&self) -> Option<&Arc<Snapshot>> {
        self.held.as_ref()
    }

    /// The lowest epoch that is taken; to be kept where losing the snapshot does not lose it.
    pub fn floor(&self) -> u64 {
        self.trust.floor
    }

    /// Where the control plane's configuration is, as it last said; what is held may be as new, because nothing of the
    /// rest concerns this proxy.
    pub fn seen(&self) -> Option<Position> {
        self.seen
    }

    /// What to do now.
    pub fn due(&mut self, now: Duration) -> Due {
        match &self.link {
            Link::Down { until } if now >= *until => {
                self.link = Link::Opening { since: now };
                Due::Connect
            }
            Link::Down { until } => Due::Wait(*until),
            Link::Opening { since } if now >= *since + limits::OPENING => Due::Cut(Fault::Opening),
            Link::Opening { since } => Due::Wait(*since + limits::OPENING),
            Link::Up(up) if up.outdated => Due::Cut(Fault::Outdated),
            Link::Up(up) if now >= up.heard + limits::SILENCE => Due::Cut(Fault::Silent),
            Link::Up(up) if now >= up.sent + limits::BEAT => Due::Report,
            Link::Up(up) => Due::Wait((up.heard + limits::SILENCE).min(up.sent + limits::BEAT)),
        }
    }

    /// A stream is open: the message to begin with.
    pub fn opened(&mut self, now: Duration) -> proto::FromProxy {
        self.link = Link::Up(Box::new(Up {
            since: now,
            heard: now,
            sent: now,
            nonce: 0,
            change: Change::None,
            outdated: false,
        }));
        let held = self.held.as_deref();
        Hello {
            instance: self.own.instance,
            address: self.own.address,
            program: self.own.program.clone(),
            contract: CONTRACT,
            position: held.map(Snapshot::position).unwrap_or_default(),
            known: held.map(|held| held.versions().map(|(key, digest)| (key.clone(), digest)).collect()),
        }
        .write()
    }

    /// A report to send: when one is due, and whenever something in it has changed.
    pub fn report(&mut self, now: Duration, report: &Report) -> proto::FromProxy {
        self.sent(now);
        report.write()
    }

    /// The stream is gone, or could not be opened. What is held stays.
    pub fn lost(&mut self, now: Duration, random: u64) {
        let until = match &self.link {
            // The control plane has said when, or somebody has said twice that the stream is gone.
            Link::Down { until } => *until,
            Link::Up(up) if now >= up.since + limits::STEADY => {
                self.failures = 0;
                now + self.wait(random)
            }
            Link::Up(_) | Link::Opening { .. } => now + self.wait(random),
        };
        self.link = Link::Down { until };
    }

    /// Between nothing and a ceiling that doubles.
    fn wait(&mut self, random: u64) -> Duration {
        let ceiling = limits::RETRY
            .saturating_mul(1 << self.failures.min(16))
            .min(limits::RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        within(ceiling, random)
    }

    /// A message has come.
    pub fn received(&mut self, now: Duration, message: proto::FromControl, random: u64) -> Heard {
        let Link::Up(up) = &mut self.link else {
            return Heard::Cut(Fault::Contract);
        };
        up.heard = now;
        match message.message {
            Some(from_control::Message::Part(part)) => self.part(now, part),
            Some(from_control::Message::Beat(beat)) => {
                self.seen = Some(Position {
                    epoch: beat.epoch,
                    revision: beat.revision,
                });
                Heard::Nothing
            }
            Some(from_control::Message::Later(later)) => {
                let after = Duration::from_millis(later.after_ms.into()).min(limits::LATER_MAX);
                // A little more, so that those who were told the same do not come at once.
                let until = now + after + within(after / 4, random);
                self.link = Link::Down { until };
                Heard::Cut(Fault::Later)
            }
            Some(from_control::Message::Renew(renew)) => {
                let most = Duration::from_millis(renew.within_ms.into()).min(limits::RENEW_MAX);
                Heard::Renew(within(most, random))
            }
            // What a later version says beside changes is nothing to act on.
            None => Heard::Nothing,
        }
    }

    fn part(&mut self, now: Duration, part: proto::Part) -> Heard {
        let Link::Up(up) = &mut self.link else {
            return Heard::Cut(Fault::Contract);
        };
        let staged = match &mut up.change {
            Change::Arriving(staged) if staged.nonce() == part.nonce => staged,
            Change::None if part.nonce == up.nonce + 1 => {
                up.nonce = part.nonce;
                up.change = Change::Arriving(Staged::new(part.nonce, part.whole, self.held.as_deref()));
                let Change::Arriving(staged) = &mut up.change else {
                    return Heard::Cut(Fault::Contract);
                };
                staged
            }
            // Another change before this one was answered, or one that is none.
            _ => return Heard::Cut(Fault::Contract),
        };
        let manifest = part.manifest.clone();
        if staged.take(part).is_err() {
            return Heard::Cut(Fault::Contract);
        }
        let Some(manifest) = manifest else {
            return Heard::Nothing;
        };
        let Change::Arriving(staged) = std::mem::replace(&mut up.change, Change::None) else {
            return Heard::Cut(Fault::Contract);
        };
        match staged.finish(&manifest, self.held.as_deref(), &self.trust) {
            Ok(offer) => {
                up.change = Change::Offered(Arc::clone(&offer.snapshot));
                Heard::Offer(offer)
            }
            Err(refusal) => {
                up.sent = now;
                Heard::Send(refusal.write(up.nonce))
            }
        }
    }

    /// Whoever drives this has compiled, kept and swapped in what was offered, or has refused it: the answer to send. `None`
    /// when there is no stream any more to which it could be sent; what was put in force is held all the same.
    pub fn settled(&mut self, now: Duration, offer: &Offer, result: Result<(), Refusal>) -> Option<proto::FromProxy> {
        let nonce = match &mut self.link {
            Link::Up(up) => {
                let ours = matches!(&up.change, Change::Offered(offered) if Arc::ptr_eq(offered, &offer.snapshot));
                ours.then(|| {
                    up.change = Change::None;
                    up.sent = now;
                    up.nonce
                })
            }
            Link::Down { .. } | Link::Opening { .. } => None,
        };
        match result {
            Ok(()) => {
                self.hold(Arc::clone(&offer.snapshot));
                if let (Link::Up(up), None) = (&mut self.link, nonce) {
                    up.outdated = true;
                }
                nonce.map(|nonce| from_proxy(proto::from_proxy::Message::Ack(proto::Ack { nonce })))
            }
            Err(refusal) => nonce.map(|nonce| refusal.write(nonce)),
        }
    }

    fn hold(&mut self, snapshot: Arc<Snapshot>) {
        self.trust.floor = self.trust.floor.max(snapshot.position().epoch);
        if let Some(bundle) = snapshot.trust_bundle() {
            self.trust.keys.clone_from(&bundle.snapshot_keys);
        }
        self.held = Some(snapshot);
    }

    fn sent(&mut self, now: Duration) {
        if let Link::Up(up) = &mut self.link {
            up.sent = now;
        }
    }
}

/// A time between nothing and `most`, drawn by a random number.
fn within(most: Duration, random: u64) -> Duration {
    let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random % micros.saturating_add(1))
}

/// A change that is older than what is held.
fn rollback(held: Position, offered: Position) -> Refusal {
    Refusal::of(
        Reason::Rollback,
        &format!("{offered} is older than {held}, which this proxy holds"),
    )
}
