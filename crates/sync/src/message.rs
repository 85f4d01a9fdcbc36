//! What a proxy says, in words of this crate: what it refuses and why, and how it is.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU64;

use bytes::Bytes;

use crate::limits;
use crate::manifest::Position;
use crate::proto::{self, from_proxy};
use crate::resource::{Digest, Key};

pub use crate::proto::{Reason, State};

/// The newest contract that this program understands.
pub const CONTRACT: u32 = 1;

/// Why a proxy does not take a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// In one word.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Which resource, where it is one.
    pub resource: Option<Key>,
}

impl Refusal {
    /// One that is about no single resource.
    pub fn of(reason: Reason, message: &str) -> Self {
        Self {
            reason,
            message: cut(message),
            resource: None,
        }
    }

    pub(crate) fn write(&self, nonce: u64) -> proto::FromProxy {
        from_proxy(from_proxy::Message::Nack(proto::Nack {
            nonce,
            reason: self.reason.into(),
            message: cut(&self.message),
            resource: self.resource.as_ref().map(Key::write),
        }))
    }

    /// What a proxy says is for people to read, so control characters are not taken from it.
    pub(crate) fn read(nack: &proto::Nack) -> Self {
        Self {
            reason: Reason::try_from(nack.reason).unwrap_or(Reason::Unspecified),
            message: clean(&nack.message),
            resource: Key::read(nack.resource.as_ref()).map(|key| Key::new(key.kind, &clean(&key.name))),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.resource {
            Some(resource) => write!(f, "{resource}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// How a proxy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In one word.
    pub state: State,
    /// Why it is not up, for people.
    pub reason: String,
    /// The era of its server: `legacy` or `modern`; `None` while it is not known, and for a gateway.
    pub era: Option<String>,
    /// Of the catalogue of its server.
    pub catalogue: Option<Digest>,
    /// How many tools its server has.
    pub tools: u32,
    /// Calls that run.
    pub in_flight: u32,
    /// It takes no new calls.
    pub draining: bool,
    /// When its certificate ends, in seconds since 1970.
    pub certificate_ends: Option<u64>,
}

impl Report {
    pub(crate) fn write(&self) -> proto::FromProxy {
        from_proxy(from_proxy::Message::Report(proto::Report {
            state: self.state.into(),
            reason: cut(&self.reason),
            era: self.era.clone().unwrap_or_default(),
            catalogue: self
                .catalogue
                .map(|digest| Bytes::copy_from_slice(&digest.0))
                .unwrap_or_default(),
            tools: self.tools,
            in_flight: self.in_flight,
            draining: self.draining,
            certificate_ends: self.certificate_ends.unwrap_or_default(),
        }))
    }

    pub(crate) fn read(report: &proto::Report) -> Self {
        Self {
            state: State::try_from(report.state).unwrap_or(State::Unspecified),
            reason: clean(&report.reason),
            era: (!report.era.is_empty()).then(|| clean(&report.era)),
            catalogue: Digest::read(&report.catalogue),
            tools: report.tools,
            in_flight: report.in_flight,
            draining: report.draining,
            certificate_ends: (report.certificate_ends > 0).then_some(report.certificate_ends),
        }
    }
}

/// The first message of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The proxy as it was started.
    pub instance: NonZeroU64,
    /// Its mesh port.
    pub address: Option<SocketAddr>,
    /// The version of its program.
    pub program: String,
    /// The newest contract that it understands.
    pub contract: u32,
    /// Of the last manifest that it has taken.
    pub position: Position,
    /// What it holds, in the order of names; `None` when that could not be understood, and so everything must be sent.
    pub known: Option<Vec<(Key, Digest)>>,
}

impl Hello {
    pub(crate) fn write(&self) -> proto::FromProxy {
        let known = self.known.iter().flatten().map(|(key, digest)| proto::Known {
            name: Some(key.write()),
            digest: Bytes::copy_from_slice(&digest.0),
        });
        from_proxy(from_proxy::Message::Hello(proto::Hello {
            instance: self.instance.get(),
            address: self.address.map(|address| address.to_string()).unwrap_or_default(),
            program: self.program.clone(),
            contract: self.contract,
            epoch: self.position.epoch,
            revision: self.position.revision,
            known: known.collect(),
        }))
    }

    /// Reads one; `None` when it is none that any version of the contract has.
    pub(crate) fn read(hello: &proto::Hello) -> Option<Self> {
        let address = match hello.address.as_str() {
            "" => None,
            text => Some(text.parse().ok()?),
        };
        let sound = hello.known.len() <= limits::RESOURCES_MAX && hello.contract >= 1;
        sound.then_some(())?;
        Some(Self {
            instance: NonZeroU64::new(hello.instance)?,
            address,
            program: clean(&hello.program),
            contract: hello.contract,
            position: Position {
                epoch: hello.epoch,
                revision: hello.revision,
            },
            known: known(&hello.known),
        })
    }
}

/// A proxy that holds what this end has no word for, or says it twice, is sent everything.
fn known(known: &[proto::Known]) -> Option<Vec<(Key, Digest)>> {
    let mut all = known
        .iter()
        .map(|known| Some((Key::read(known.name.as_ref())?, Digest::read(&known.digest)?)))
        .collect::<Option<Vec<_>>>()?;
    all.sort();
    let twice = all.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0));
    (!twice).then_some(all)
}

pub(crate) fn from_proxy(message: from_proxy::Message) -> proto::FromProxy {
    proto::FromProxy { message: Some(message) }
}

/// At most [`limits::TEXT_BYTES_MAX`] of a text, whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(limits::TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// A text from the other end, without what could play with a terminal or a log.
fn clean(text: &str) -> String {
    cut(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
