//! Denied identities: who is refused though its certificate is sound.
//!
//! A stolen key cannot be taken back, and its certificate is good for days. So the list of those who are refused is pushed
//! to every part; it is asked at each handshake, and whoever serves a connection watches it and ends the connection of one
//! who came onto it.

use std::collections::HashMap;
use std::sync::Arc;

use meshgate_model::SpiffeId;

use crate::leaf::Peer;
use crate::limits::DENIED_ENTRIES_MAX;

#[cfg(test)]
mod tests;

/// What is denied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Every certificate of a part.
    Id(SpiffeId),
    /// One certificate, by its serial number: lower-case hexadecimal without leading zeros.
    Serial(Arc<str>),
}

/// More is denied than the list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} denied identities are over the limit of {DENIED_ENTRIES_MAX}; rotate the root instead")]
pub struct TooManyDenied(pub usize);

/// Who is denied, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    ids: HashMap<SpiffeId, Arc<str>>,
    serials: HashMap<Arc<str>, Arc<str>>,
}

impl Denied {
    /// A list of subjects, each with the reason as a person gave it.
    ///
    /// # Errors
    /// When it is longer than [`DENIED_ENTRIES_MAX`].
    pub fn new(entries: impl IntoIterator<Item = (Subject, Arc<str>)>) -> Result<Self, TooManyDenied> {
        let mut denied = Self::default();
        for (subject, reason) in entries {
            match subject {
                Subject::Id(id) => denied.ids.insert(id, reason),
                Subject::Serial(serial) => denied.serials.insert(serial, reason),
            };
            if denied.len() > DENIED_ENTRIES_MAX {
                return Err(TooManyDenied(denied.len()));
            }
        }
        Ok(denied)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.ids.len() + self.serials.len()
    }

    /// Whether nobody is denied.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Why a peer is denied; `None` when it is not.
    pub fn reason(&self, peer: &Peer) -> Option<&Arc<str>> {
        self.ids.get(peer.id()).or_else(|| self.serials.get(peer.serial()))
    }
}
