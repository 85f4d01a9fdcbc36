//! Which names get a label of their own: those that are plain and among the first, because servers choose names freely and a
//! scraper keeps a series for each label it ever saw.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::OTHER;
use crate::limits::LABEL_BYTES_MAX;

/// The names that have a label of their own.
#[derive(Debug)]
pub(super) struct Cap {
    known: Mutex<HashSet<Arc<str>>>,
    names_max: usize,
}

impl Cap {
    /// None yet, and room for so many.
    pub(super) fn new(names_max: usize) -> Self {
        Self {
            known: Mutex::new(HashSet::new()),
            names_max,
        }
    }

    /// The label of a name: its own, or the one that all others share.
    pub(super) fn label(&self, name: &str) -> Arc<str> {
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/'));
        if !plain || name.len() > LABEL_BYTES_MAX {
            return OTHER.into();
        }
        let mut known = self.known.lock();
        if let Some(label) = known.get(name) {
            return label.clone();
        }
        if known.len() >= self.names_max {
            return OTHER.into();
        }
        let label: Arc<str> = name.into();
        known.insert(label.clone());
        label
    }
}
