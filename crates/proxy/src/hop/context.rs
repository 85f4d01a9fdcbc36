//! Caller contexts: who calls, signed for the connection that it travels on, and kept.
//!
//! A signature costs more than all the rest of a call here, so one context serves a caller at a view of a server for half
//! of its life, on every connection that was made with one SVID. The header value is made with it: a call then costs one
//! look into a table and one reference more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use meshgate_identity::context::{self, Caller as Named};
use meshgate_identity::limits::CONTEXT_LIFE_MAX;
use meshgate_identity::svid::Svid;
use meshgate_model::SpiffeId;
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::call::Caller;
use crate::refusal::{Reason, Refusal};
use crate::simulated;

/// How long one is used before there is a new one: what is left of its life covers clocks that differ.
pub(super) const USED: Duration = Duration::from_secs(CONTEXT_LIFE_MAX.as_secs() / 2);

/// The contexts for the sidecars of one version of a server.
#[derive(Debug)]
pub(super) struct Contexts {
    max: usize,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By view, then by caller.
    of_callers: HashMap<Arc<str>, HashMap<Arc<Caller>, Entry>>,
    count: usize,
    of_gateway: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// As which it was made: groups and scopes of a caller may change while it stays the same caller.
    caller: Option<Arc<Caller>>,
    svid: Arc<Svid>,
    until: Instant,
    value: HeaderValue,
}

impl Entry {
    fn is_good(&self, caller: Option<&Arc<Caller>>, svid: &Svid, now: Instant) -> bool {
        let same_caller = match (&self.caller, caller) {
            (Some(made), Some(caller)) => Arc::ptr_eq(made, caller) || says_same(made, caller),
            (None, None) => true,
            _ => false,
        };
        same_caller && std::ptr::eq(&raw const *self.svid, &raw const *svid) && now < self.until
    }
}

fn says_same(a: &Caller, b: &Caller) -> bool {
    a == b && a.groups == b.groups && a.scopes == b.scopes
}

impl Contexts {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            kept: RwLock::default(),
        }
    }

    /// The context of a caller at a view, or of the gateway itself, for `audience`, on a connection of `svid`.
    pub(super) fn value(
        &self,
        from: Option<(&Arc<Caller>, &Arc<str>)>,
        audience: &SpiffeId,
        svid: &Arc<Svid>,
    ) -> Result<HeaderValue, Refusal> {
        let now = Instant::now();
        {
            let kept = self.kept.read();
            let entry = match from {
                Some((caller, view)) => kept.of_callers.get(view).and_then(|callers| callers.get(caller)),
                None => kept.of_gateway.as_ref(),
            };
            if let Some(entry) = entry
                && entry.is_good(from.map(|(caller, _)| caller), svid, now)
            {
                return Ok(entry.value.clone());
            }
        }
        let value = signed(from, audience, svid)?;
        let entry = Entry {
            caller: from.map(|(caller, _)| Arc::clone(caller)),
            svid: Arc::clone(svid),
            until: now + USED,
            value: value.clone(),
        };
        self.keep(from, entry, now);
        Ok(value)
    }

    fn keep(&self, from: Option<(&Arc<Caller>, &Arc<str>)>, entry: Entry, now: Instant) {
        let mut kept = self.kept.write();
        let Some((caller, view)) = from else {
            kept.of_gateway = Some(entry);
            return;
        };
        if kept.count >= self.max {
            kept.drop_old(now);
            if kept.count >= self.max {
                // They are made again as they are asked for.
                kept.of_callers.clear();
                kept.count = 0;
            }
        }
        let callers = kept.of_callers.entry(Arc::clone(view)).or_default();
        if callers.insert(Arc::clone(caller), entry).is_none() {
            kept.count += 1;
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.kept.read().count
    }
}

impl Kept {
    fn drop_old(&mut self, now: Instant) {
        for callers in self.of_callers.values_mut() {
            callers.retain(|_, entry| now < entry.until);
        }
        self.of_callers.retain(|_, callers| !callers.is_empty());
        self.count = self.of_callers.values().map(HashMap::len).sum();
    }
}

fn signed(from: Option<(&Arc<Caller>, &Arc<str>)>, audience: &SpiffeId, svid: &Svid) -> Result<HeaderValue, Refusal> {
    let named = from.map_or(Named::Gateway, |(caller, view)| caller.to_context(Some(view)));
    let txn = format!("{:016x}{:016x}", simulated::random(), simulated::random());
    let token = context::sign(svid, audience, &named, &txn, SystemTime::now(), CONTEXT_LIFE_MAX);
    let token = token.map_err(|error| {
        Refusal::new(Reason::Internal, format!("the caller context cannot be made: {error}")).rule("hop/context")
    })?;
    HeaderValue::try_from(token).map_err(|_| {
        Refusal::new(Reason::Internal, "the caller context cannot be sent as a header").rule("hop/context")
    })
}

#[cfg(test)]
mod tests;
