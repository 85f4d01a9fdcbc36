//! Who may have which identity, and how somebody gets a certificate for it.
//!
//! There are two proofs: a join token, the first time; and the key of the certificate before, ever after, also for a month
//! after its end, because a host that slept must come back by itself. Both name the identity by themselves. Nothing that is
//! asked for does: of the request only the public key is used. What is signed, what it was signed for and that the token is
//! used are one commit, so a token buys one certificate or none.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meshgate_identity::JoinToken;
use meshgate_identity::enrolment::{HeldError, verify_held};
use meshgate_model::SpiffeId;
use meshgate_sync::proto::{self, enrol_request};
use meshgate_telemetry::metrics::ControlMetrics;
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use tokio::sync::{RwLock, Semaphore};

use crate::alarms::{AlarmKind, Alarms};
use crate::ca::{Authority, AuthorityError, Order, Serial, public_key_of};
use crate::denials::Denials;
use crate::issuance::{Ledger, Proof, issuance_of};
use crate::keys::Keys;
use crate::limits::{
    CHAIN_BYTES_MAX, CHAIN_CERTIFICATES_MAX, ENROL_ADDRESSES_MAX, ENROL_FAILURE_WINDOW, ENROL_FAILURES_MAX,
    ENROLMENTS_MAX,
};
use crate::own::Own;
use crate::registry::Registry;
use crate::store::{Clock, Commit, StoreError};
use crate::tokens::{Good, TokenRefusal, Tokens};

#[cfg(test)]
mod tests;

/// Why somebody gets no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The message is not one.
    #[error("the enrolment {0}")]
    Message(&'static str),
    /// The join token is not taken.
    #[error(transparent)]
    Token(#[from] TokenRefusal),
    /// The certificate before is not taken.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// The identity is denied.
    #[error("`{identity}` is denied: {reason}")]
    Denied {
        /// Who.
        identity: String,
        /// Why.
        reason: String,
    },
    /// There is no such part of the mesh (any more).
    #[error("the mesh has no `{part}`; apply its document first")]
    Part {
        /// As in a SPIFFE ID.
        part: String,
    },
    /// Too many failures from there.
    #[error("too many failed enrolments from this address; wait {seconds} s")]
    Guessing {
        /// How long.
        seconds: u64,
    },
    /// The authority refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A proof that holds: who it is for, and what is written with the certificate.
struct Proven {
    identity: SpiffeId,
    by: Proof,
    token: Option<Good>,
}

/// What enrolment needs of the rest.
pub struct Parts {
    /// Signs.
    pub authority: Arc<dyn Authority>,
    /// Remembers.
    pub ledger: Arc<Ledger>,
    /// Join tokens.
    pub tokens: Arc<Tokens>,
    /// Who is cut off.
    pub denials: Arc<Denials>,
    /// Which parts there are.
    pub registry: Arc<Registry>,
    /// Keys of snapshots, and the epoch.
    pub keys: Arc<Keys>,
    /// The control plane's own, with the bundle that certificates are judged by.
    pub own: Arc<Own>,
    /// What operators have to know.
    pub alarms: Alarms,
    /// Counts.
    pub metrics: Arc<ControlMetrics>,
    /// Held with others while a certificate is given, so that the trust domain does not change meanwhile.
    pub founding: Arc<RwLock<()>>,
    /// The time.
    pub clock: Clock,
}

/// Enrolment of proxies.
pub struct Enrolment {
    parts: Parts,
    room: Semaphore,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

/// How often an address failed, and since when that is counted.
#[derive(Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

impl Enrolment {
    /// Nobody has failed yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            room: Semaphore::new(ENROLMENTS_MAX),
            failures: Mutex::default(),
        }
    }

    /// Gives a certificate to whoever proves that it is theirs.
    ///
    /// # Errors
    /// When the proof does not hold, and when signing or writing failed.
    pub async fn enrol(&self, request: proto::EnrolRequest, from: SocketAddr) -> Result<proto::EnrolReply, EnrolError> {
        let _room = self
            .room
            .acquire()
            .await
            .map_err(|_| EnrolError::Message("came too late"))?;
        let address = from.ip().to_canonical();
        self.may_try(address)?;
        let proof = match &request.proof {
            Some(enrol_request::Proof::JoinToken(_)) => "join_token",
            Some(enrol_request::Proof::Held(_)) => "held",
            None => "none",
        };
        let done = self.answer(request, from).await;
        self.parts.metrics.enrolment(proof, done.is_ok());
        if let Err(error) = &done {
            self.count(address, error);
        }
        done
    }

    async fn answer(&self, request: proto::EnrolRequest, from: SocketAddr) -> Result<proto::EnrolReply, EnrolError> {
        let public_key = public_key_of(&request.csr)?;
        let _founded = self.parts.founding.read().await;
        let proven = match &request.proof {
            Some(enrol_request::Proof::JoinToken(text)) => self.by_token(text).await?,
            Some(enrol_request::Proof::Held(held)) => self.by_held(held, &request.csr).await?,
            None => {
                return Err(EnrolError::Message(
                    "has no proof: neither a join token nor a certificate",
                ));
            }
        };
        self.may_be(&proven.identity).await?;
        let parts = &self.parts;
        let configuration = parts.registry.current();
        let life = configuration.certificate_life();
        let now = (parts.clock)();
        let signed = parts.authority.sign(&Order {
            id: &proven.identity,
            public_key: &public_key,
            life,
            now,
            own: false,
        })?;
        let serial = signed.serial.to_string();
        let also = match &proven.token {
            Some(token) => parts.tokens.used(token, &serial, &from.to_string())?,
            None => Commit::default(),
        };
        let issuance = issuance_of(&signed, &proven.identity, &public_key, proven.by, from.to_string(), now);
        match parts.ledger.record(issuance, also).await {
            Ok(_) => {}
            // Somebody else was faster with the same token: say so, as to everybody who comes second.
            Err(StoreError::Conflict { .. }) if proven.token.is_some() => {
                return match &request.proof {
                    Some(enrol_request::Proof::JoinToken(text)) => self
                        .by_token(text)
                        .await
                        .and(Err(EnrolError::Token(TokenRefusal::Unknown))),
                    _ => Err(EnrolError::Token(TokenRefusal::Unknown)),
                };
            }
            Err(error) => return Err(error.into()),
        }
        tracing::info!(identity = %proven.identity, serial, %from, "a certificate was signed");
        Ok(proto::EnrolReply {
            chain: signed.chain.into_iter().map(Bytes::from).collect(),
            trust_bundle: Some(proto::TrustBundle {
                trust_domain: parts.authority.trust_domain().to_string(),
                roots: sorted(parts.authority.roots()).into_iter().map(Bytes::from).collect(),
                snapshot_keys: sorted(parts.keys.snapshot_keys())
                    .into_iter()
                    .map(|key| Bytes::copy_from_slice(&key))
                    .collect(),
            }),
            epoch: parts.keys.epoch(),
        })
    }

    async fn by_token(&self, text: &str) -> Result<Proven, EnrolError> {
        let token = JoinToken::parse(text).ok_or(EnrolError::Token(TokenRefusal::Unknown))?;
        match self.parts.tokens.look(&token).await? {
            Ok(good) => Ok(Proven {
                identity: good.identity.clone(),
                by: Proof::JoinToken {
                    token: good.name.clone(),
                },
                token: Some(good),
            }),
            Err(refusal) => {
                if matches!(refusal, TokenRefusal::Used { .. }) {
                    self.parts.alarms.raise(AlarmKind::TokenReused, refusal.to_string());
                }
                Err(refusal.into())
            }
        }
    }

    async fn by_held(&self, held: &proto::HeldIdentity, csr: &[u8]) -> Result<Proven, EnrolError> {
        let bytes: usize = held.chain.iter().map(Bytes::len).sum();
        if held.chain.is_empty() || held.chain.len() > CHAIN_CERTIFICATES_MAX || bytes > CHAIN_BYTES_MAX {
            return Err(EnrolError::Message("has no chain of 1 to 4 certificates and 16 KiB"));
        }
        let chain: Vec<CertificateDer<'_>> = held.chain.iter().map(|one| CertificateDer::from(&**one)).collect();
        let identity = self.parts.own.identity();
        let denied = identity.denied().borrow().clone();
        let now = (self.parts.clock)();
        let peer = verify_held(&chain, csr, &held.signature, &identity.bundle(), &denied, now)?;
        let serial = Serial::parse(peer.serial());
        let entry = match &serial {
            Some(serial) => self.parts.ledger.find(serial).await?,
            None => None,
        };
        // Told, and not refused: a store that was set back has forgotten honest ones, and they must come back.
        if entry.is_none_or(|entry| entry.issuance.identity != peer.id().as_str()) {
            let message = format!(
                "a certificate for `{}` (serial {}) was renewed that this control plane never wrote down: its keys may be \
                 stolen, or its store was set back; deny the identity, and rotate the root, unless you know why",
                peer.id(),
                peer.serial()
            );
            self.parts.alarms.raise(AlarmKind::UnknownIssuance, message);
        }
        let reason = self.parts.denials.reason(peer.id(), Some(peer.serial())).await?;
        if let Some(reason) = reason {
            return Err(EnrolError::Denied {
                identity: peer.id().to_string(),
                reason,
            });
        }
        Ok(Proven {
            identity: peer.id().clone(),
            by: Proof::Held {
                serial: peer.serial().to_owned(),
            },
            token: None,
        })
    }

    async fn may_be(&self, identity: &SpiffeId) -> Result<(), EnrolError> {
        if let Some(reason) = self.parts.denials.reason(identity, None).await? {
            return Err(EnrolError::Denied {
                identity: identity.to_string(),
                reason,
            });
        }
        if !self.parts.registry.current().has_part(identity.part()) {
            return Err(EnrolError::Part {
                part: identity.part().to_string(),
            });
        }
        Ok(())
    }

    fn may_try(&self, address: IpAddr) -> Result<(), EnrolError> {
        let failures = self.failures.lock().get(&address).copied();
        let waits = failures
            .filter(|failures| failures.count >= ENROL_FAILURES_MAX)
            .and_then(|failures| {
                let left = ENROL_FAILURE_WINDOW.checked_sub(failures.since.elapsed());
                left.filter(|left| *left > Duration::ZERO)
            });
        match waits {
            Some(left) => Err(EnrolError::Guessing {
                seconds: left.as_secs() + 1,
            }),
            None => Ok(()),
        }
    }

    /// Counts what a guess looks like; a store that fails is not the other end's fault.
    fn count(&self, address: IpAddr, error: &EnrolError) {
        if matches!(
            error,
            EnrolError::Store(_) | EnrolError::Guessing { .. } | EnrolError::Part { .. }
        ) {
            return;
        }
        tracing::warn!(%address, "an enrolment was refused: {error}");
        let mut failures = self.failures.lock();
        if failures.len() >= ENROL_ADDRESSES_MAX && !failures.contains_key(&address) {
            failures.retain(|_, one| one.since.elapsed() < ENROL_FAILURE_WINDOW);
            let oldest = failures
                .iter()
                .min_by_key(|(_, one)| one.since)
                .map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| failures.len() >= ENROL_ADDRESSES_MAX) {
                failures.remove(&oldest);
            }
        }
        let fresh = Failures {
            since: Instant::now(),
            count: 0,
        };
        let one = failures.entry(address).or_insert(fresh);
        if one.since.elapsed() >= ENROL_FAILURE_WINDOW {
            *one = fresh;
        }
        one.count += 1;
        if one.count == ENROL_FAILURES_MAX {
            let message =
                format!("{ENROL_FAILURES_MAX} enrolments from {address} failed within a minute; it has to wait");
            self.parts.alarms.raise(AlarmKind::Guessing, message);
        }
    }
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}
