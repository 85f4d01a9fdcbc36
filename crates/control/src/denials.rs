//! Who is cut off: identities, or single certificates, until they are allowed again.
//!
//! Denying is for the hour in which a key was stolen: it is one write, it is urgent on its way out, and it holds for
//! enrolment as well, because who is denied must not come back with a new certificate.

use std::sync::Arc;

use meshgate_model::SpiffeId;
use meshgate_sync::resource::{Denial, Whom};
use serde::{Deserialize, Serialize};

use crate::ca::Serial;
use crate::issuance::hex;
use crate::limits::{DENIAL_REASON_BYTES_MAX, DENIED_MAX};
use crate::store::{self, Clock, Commit, Record, Store, StoreError, Write, unix_ms};

/// Where denials are in the store.
pub(crate) const PREFIX: &str = "denied/";

/// Why nobody was denied.
#[derive(Debug, thiserror::Error)]
pub enum DenyError {
    /// Neither an identity nor a serial number.
    #[error("`{0}` is neither a SPIFFE ID of this mesh nor the serial number of a certificate (32 hexadecimal digits)")]
    Subject(String),
    /// No reason was given, or a long one.
    #[error("a denial needs a reason of 1 to {DENIAL_REASON_BYTES_MAX} bytes, for those who find it in a year")]
    Reason,
    /// Too many.
    #[error("{DENIED_MAX} are denied already; rotate the root instead, and let back in who belongs")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A denial, as it is kept and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Denied {
    /// A SPIFFE ID, or the serial number of a certificate.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
}

/// The denials of a mesh.
pub struct Denials {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Denials {
    /// Those of a store.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Denies an identity or a certificate.
    ///
    /// # Errors
    /// When the subject is neither, the reason is none, or the store fails.
    pub async fn deny(&self, subject: &str, reason: &str) -> Result<Denied, DenyError> {
        whom(subject).ok_or_else(|| DenyError::Subject(subject.chars().take(100).collect()))?;
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if reason.trim().is_empty() || reason.len() > DENIAL_REASON_BYTES_MAX {
            return Err(DenyError::Reason);
        }
        if self.store.list(PREFIX).await?.records.len() >= DENIED_MAX {
            return Err(DenyError::TooMany);
        }
        let denied = Denied {
            subject: subject.to_owned(),
            reason,
            since_ms: unix_ms((self.clock)()),
        };
        let write = store::put(key(subject), &denied)?;
        self.store.commit(Commit::new([], [write])).await?;
        Ok(denied)
    }

    /// Allows one that was denied. Answers whether it was.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn allow(&self, subject: &str) -> Result<bool, StoreError> {
        let key = key(subject);
        if self.store.get(&key).await?.is_none() {
            return Ok(false);
        }
        self.store.commit(Commit::new([], [Write::Delete(key)])).await?;
        Ok(true)
    }

    /// All of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<Denied>, StoreError> {
        let listing = self.store.list(PREFIX).await?;
        listing
            .records
            .iter()
            .map(|record: &Record| store::json(record))
            .collect()
    }

    /// Why an identity, or one of its certificates, is denied.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reason(&self, identity: &SpiffeId, serial: Option<&str>) -> Result<Option<String>, StoreError> {
        for subject in [Some(identity.as_str()), serial].into_iter().flatten() {
            if let Some(record) = self.store.get(&key(subject)).await? {
                let denied: Denied = store::json(&record)?;
                return Ok(Some(denied.reason));
            }
        }
        Ok(None)
    }
}

/// As proxies are told.
pub(crate) fn told(denied: &[Denied]) -> Vec<Denial> {
    let one = |denied: &Denied| {
        Some(Denial {
            whom: whom(&denied.subject)?,
            reason: denied.reason.clone(),
        })
    };
    denied.iter().filter_map(one).collect()
}

fn whom(subject: &str) -> Option<Whom> {
    if let Some(serial) = Serial::parse(subject) {
        return Some(Whom::Serial(serial.bytes().to_vec()));
    }
    subject.parse().ok().map(Whom::Identity)
}

fn key(subject: &str) -> String {
    format!("{PREFIX}{}", hex(&meshgate_identity::token_digest(subject)))
}
