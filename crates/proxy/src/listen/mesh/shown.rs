//! Tokens that were verified on one connection.
//!
//! A gateway shows one token for each caller and view, and shows it with every call for half a minute or more. Verifying a
//! signature costs more than all the rest of a call, so it is done once; the table is bounded by room and by the tokens' own
//! time. Where a token differs in a single byte it is another one: the whole of it is compared.

use std::collections::HashMap;
use std::sync::Arc;

use crate::call::Caller;

#[cfg(test)]
mod tests;

/// What a verified token says.
#[derive(Debug)]
pub struct Told {
    /// Who calls.
    pub caller: Arc<Caller>,
    /// Where the view stands that it calls through.
    pub path: Arc<str>,
    /// Unix seconds after which it is not good any more.
    pub until: u64,
}

/// The tokens of one connection.
#[derive(Debug)]
pub(super) struct ShownTokens {
    all: HashMap<Box<[u8]>, Arc<Told>>,
    /// The one that came last. Where one caller calls much it is the next one, too, and to compare a token takes a tenth of
    /// the time that it takes to look it up.
    last: Option<(Box<[u8]>, Arc<Told>)>,
    max: usize,
}

impl ShownTokens {
    /// Room for `max` tokens.
    pub(super) fn new(max: usize) -> Self {
        Self {
            all: HashMap::new(),
            last: None,
            max,
        }
    }

    pub(super) fn get(&mut self, token: &[u8], now: u64) -> Option<Arc<Told>> {
        let is_good = |told: &Arc<Told>| now <= told.until;
        if let Some((last, told)) = &self.last
            && **last == *token
        {
            return Some(told).filter(|told| is_good(told)).cloned();
        }
        self.all.get(token).filter(|told| is_good(told)).cloned()
    }

    /// Remembers a token. In a full table those whose time is over make room, then the one whose time is over first.
    pub(super) fn insert(&mut self, token: &[u8], told: Arc<Told>, now: u64) {
        if self.all.len() >= self.max {
            self.all.retain(|_, told| now <= told.until);
        }
        if self.all.len() >= self.max {
            let oldest = self.all.iter().min_by_key(|(_, told)| told.until);
            let Some(oldest) = oldest.map(|(token, _)| token.clone()) else {
                return;
            };
            self.all.remove(&oldest);
        }
        self.last = Some((token.into(), Arc::clone(&told)));
        self.all.insert(token.into(), told);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.all.len()
    }
}
