//! One stream: what its proxy holds, what it has been sent, what it said.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meshgate_model::SpiffeId;

use super::catalog::{Listed, Member, Set};
use crate::limits;
use crate::manifest::{Position, SetDigest};
use crate::message::{Hello, Reason, Refusal, Report};
use crate::proto::{self, from_control};
use crate::resource::{Digest, Key};

/// What a proxy has refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was sent.
    pub position: Position,
    /// Why it was not taken.
    pub refusal: Refusal,
    /// When it said so.
    pub at: Duration,
}

/// One stream, for those who show it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Who.
    pub identity: SpiffeId,
    /// The proxy as it was started.
    pub instance: NonZeroU64,
    /// Its mesh port.
    pub address: Option<SocketAddr>,
    /// The version of its program.
    pub program: String,
    /// Since when it is connected.
    pub since: Duration,
    /// When it was last heard of.
    pub heard: Duration,
    /// The last change that it has taken, or said that it holds.
    pub position: Position,
    /// Whether it holds all that is for it.
    pub current: bool,
    /// What it has refused, while that is what is for it.
    pub refused: Option<Refused>,
    /// How it is, as it last said.
    pub report: Option<Report>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) identity: SpiffeId,
    pub(super) member: Member,
    pub(super) instance: NonZeroU64,
    address: Option<SocketAddr>,
    program: String,
    since: Duration,
    pub(super) heard: Duration,
    pub(super) sent: Duration,
    /// It is to be told to renew its certificate, within so many milliseconds.
    pub(super) renew: Option<u32>,
    nonce: u64,
    known: Known,
    /// Something that is for it may have changed.
    pub(super) stale: bool,
    pub(super) pending: Option<Pending>,
    refused: Option<RefusedSet>,
    pub(super) report: Option<Report>,
}

/// What a proxy holds.
#[derive(Debug)]
enum Known {
    /// As it said.
    Said {
        list: Vec<(Key, Digest)>,
        position: Position,
    },
    /// As it was sent.
    Sent(Arc<Set>),
    /// Nothing that is known: it must be sent everything.
    Nothing,
}

impl Known {
    fn listed(&self) -> Vec<(&Key, Digest)> {
        match self {
            Self::Said { list, .. } => list.iter().map(|(key, digest)| (key, *digest)).collect(),
            Self::Sent(set) => set.listed.iter().map(|one| (&one.key, one.digest)).collect(),
            Self::Nothing => Vec::new(),
        }
    }

    fn position(&self) -> Position {
        match self {
            Self::Said { position, .. } => *position,
            Self::Sent(set) => set.position(),
            Self::Nothing => Position::default(),
        }
    }

    /// Whether the proxy holds a set already, under a manifest of the same epoch.
    fn is(&self, set: &Set) -> bool {
        let digest = match self {
            Self::Said { list, .. } => SetDigest::of(list.iter().map(|(key, digest)| (key, *digest))),
            Self::Sent(sent) => sent.digest,
            Self::Nothing => return false,
        };
        digest == set.digest && self.position().epoch == set.position().epoch
    }
}

#[derive(Debug)]
pub(super) struct Pending {
    nonce: u64,
    set: Arc<Set>,
    whole: bool,
    pub(super) since: Duration,
}

impl Pending {
    /// Whether what was sent stands in for something that was refused.
    fn mixes(&self) -> bool {
        self.set.listed.iter().any(|one| one.resource.is_none())
    }
}

#[derive(Debug)]
struct RefusedSet {
    /// What was refused, without what stands alone.
    config: SetDigest,
    /// All of it, so that the same is not sent again.
    digest: SetDigest,
    told: Refused,
    /// It is time to try once more.
    again: bool,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Taken(Position),
    Refused(Refused),
    /// It holds something else than was thought; only a new `Hello` can say what.
    Elsewhere,
    /// To nothing that was asked.
    Stray,
}

impl Session {
    pub(super) fn new(now: Duration, identity: SpiffeId, member: Member, hello: Hello) -> Self {
        Self {
            identity,
            member,
            instance: hello.instance,
            address: hello.address,
            program: hello.program,
            since: now,
            heard: now,
            sent: now,
            renew: None,
            nonce: 0,
            known: match hello.known {
                Some(list) if !list.is_empty() => Known::Said {
                    list,
                    position: hello.position,
                },
                _ => Known::Nothing,
            },
            stale: true,
            pending: None,
            refused: None,
            report: None,
        }
    }

    pub(super) fn position(&self) -> Position {
        self.known.position()
    }

    pub(super) fn refused(&self) -> Option<&Refused> {
        self.refused.as_ref().map(|refused| &refused.told)
    }

    /// Whether nothing is on its way, nor to be looked at.
    pub(super) fn is_settled(&self) -> bool {
        !self.stale && self.pending.is_none()
    }

    /// When what was refused is sent once more; `None` when nothing was, or when it is on its way again.
    pub(super) fn tries_again_at(&self) -> Option<Duration> {
        let refused = self
            .refused
            .as_ref()
            .filter(|refused| !refused.again && self.pending.is_none())?;
        Some(refused.told.at + limits::REFUSED_AGAIN)
    }

    /// What the proxy could not do then it may do now: there is room on its disk, a file is where it should be.
    pub(super) fn try_again(&mut self) {
        if let Some(refused) = &mut self.refused {
            refused.again = true;
            self.stale = true;
        }
    }

    pub(super) fn status(&self) -> Status {
        Status {
            identity: self.identity.clone(),
            instance: self.instance,
            address: self.address,
            program: self.program.clone(),
            since: self.since,
            heard: self.heard,
            position: self.position(),
            current: self.is_settled() && self.refused.is_none(),
            refused: self.refused().cloned(),
            report: self.report.clone(),
        }
    }

    /// Whether the proxy holds what is for it already; then nothing is refused any more, however it came to be so.
    pub(super) fn holds(&mut self, set: &Set) -> bool {
        let holds = self.known.is(set);
        if holds {
            self.refused = None;
        }
        holds
    }

    /// Which set to send, if any, given the one that is for this proxy now. `make` signs another list.
    pub(super) fn target(&self, set: &Arc<Set>, make: impl FnOnce(Position, Vec<Listed>) -> Set) -> Option<Arc<Set>> {
        let Some(refused) = self
            .refused
            .as_ref()
            .filter(|refused| refused.config == set.config && !refused.again)
        else {
            return (!self.known.is(set)).then(|| Arc::clone(set));
        };
        if matches!(self.known, Known::Nothing) {
            return None;
        }
        // What it has refused it would refuse again. What stands alone goes out with what it holds instead.
        let mut listed: Vec<Listed> = self
            .known
            .listed()
            .into_iter()
            .filter(|(key, _)| !key.kind.stands_alone())
            .map(|(key, digest)| Listed {
                key: key.clone(),
                digest,
                resource: None,
            })
            .collect();
        listed.extend(set.listed.iter().filter(|one| one.key.kind.stands_alone()).cloned());
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        let position = Position {
            epoch: set.position().epoch,
            revision: self.known.position().revision,
        };
        let mixed = make(position, listed);
        (!self.known.is(&mixed) && mixed.digest != refused.digest).then(|| Arc::new(mixed))
    }

    /// Begins to send a set: the parts, in order.
    pub(super) fn push(&mut self, now: Duration, set: Arc<Set>) -> Vec<proto::FromControl> {
        self.nonce += 1;
        let whole = matches!(self.known, Known::Nothing);
        let parts = parts(self.nonce, whole, &self.known.listed(), &set);
        self.pending = Some(Pending {
            nonce: self.nonce,
            set,
            whole,
            since: now,
        });
        self.sent = now;
        parts
    }

    pub(super) fn taken(&mut self, nonce: u64) -> Answered {
        let Some(pending) = self.pending.take_if(|pending| pending.nonce == nonce) else {
            return Answered::Stray;
        };
        let position = pending.set.position();
        if !pending.mixes() {
            self.refused = None;
        }
        self.known = Known::Sent(pending.set);
        Answered::Taken(position)
    }

    pub(super) fn refuses(&mut self, now: Duration, nonce: u64, refusal: Refusal) -> Answered {
        let Some(pending) = self.pending.take_if(|pending| pending.nonce == nonce) else {
            return Answered::Stray;
        };
        let told = Refused {
            position: pending.set.position(),
            refusal,
            at: now,
        };
        if told.refusal.reason == Reason::Set && !pending.whole {
            return Answered::Elsewhere;
        }
        // What stands alone may still reach it.
        self.stale = true;
        let config = match &self.refused {
            Some(refused) if pending.mixes() => refused.config,
            _ => pending.set.config,
        };
        self.refused = Some(RefusedSet {
            config,
            digest: pending.set.digest,
            told: told.clone(),
            again: false,
        });
        Answered::Refused(told)
    }

    /// What is for it is more than a proxy takes, so it is not even sent.
    pub(super) fn refuse_unsent(&mut self, now: Duration, set: &Set) {
        self.refused = Some(RefusedSet {
            config: set.config,
            digest: set.digest,
            told: Refused {
                position: set.position(),
                refusal: Refusal::of(
                    Reason::TooLarge,
                    "what is for this proxy is more than a proxy takes; it was not sent",
                ),
                at: now,
            },
            again: false,
        });
    }
}

/// What differs, cut into messages; the last one has the manifest.
fn parts(nonce: u64, whole: bool, known: &[(&Key, Digest)], set: &Set) -> Vec<proto::FromControl> {
    let mut parts = Vec::new();
    let mut part = proto::Part {
        nonce,
        whole,
        ..proto::Part::default()
    };
    let listed = |key: &Key| set.listed.binary_search_by(|one| one.key.cmp(key)).is_ok();
    part.gone = known
        .iter()
        .filter(|(key, _)| !listed(key))
        .map(|(key, _)| key.write())
        .collect();
    let mut bytes = 0;
    for one in &set.listed {
        let held = known
            .binary_search_by(|(key, _)| (*key).cmp(&one.key))
            .ok()
            .and_then(|at| known.get(at));
        let Some(resource) = one
            .resource
            .as_ref()
            .filter(|_| held.is_none_or(|(_, digest)| *digest != one.digest))
        else {
            continue;
        };
        let more: Bytes = resource.bytes().clone();
        if bytes > 0 && bytes + more.len() > limits::PART_BYTES {
            let next = proto::Part {
                nonce,
                whole,
                ..proto::Part::default()
            };
            parts.push(std::mem::replace(&mut part, next));
            bytes = 0;
        }
        bytes += more.len();
        part.put.push(more);
    }
    part.manifest = Some(set.manifest.write());
    parts.push(part);
    parts
        .into_iter()
        .map(|part| proto::FromControl {
            message: Some(from_control::Message::Part(part)),
        })
        .collect()
}
