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
    /// When it was made by the clock that others read it by.
    made: SystemTime,
    value: HeaderValue,
}

/// The two clocks: one that only goes forward but stands still while a host sleeps, and the one that contexts are dated by.
#[derive(Clone, Copy)]
struct Now {
    passed: Instant,
    wall: SystemTime,
}

impl Entry {
    fn is_good(&self, caller: Option<&Arc<Caller>>, svid: &Svid, now: Now) -> bool {
        let same_caller = match (&self.caller, caller) {
            (Some(made), Some(caller)) => Arc::ptr_eq(made, caller) || says_same(made, caller),
            (None, None) => true,
            _ => false,
        };
        same_caller && std::ptr::eq(&raw const *self.svid, &raw const *svid) && self.is_fresh(now)
    }

    /// Whether it is within the half of its life by both clocks.
    fn is_fresh(&self, now: Now) -> bool {
        now.passed < self.until && now.wall.duration_since(self.made).is_ok_and(|age| age < USED)
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
        let now = Now {
            passed: Instant::now(),
            wall: SystemTime::now(),
        };
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
        let value = signed(from, audience, svid, now.wall)?;
        let entry = Entry {
            caller: from.map(|(caller, _)| Arc::clone(caller)),
            svid: Arc::clone(svid),
            until: now.passed + USED,
            made: now.wall,
            value: value.clone(),
        };
        self.keep(from, entry, now);
        Ok(value)
    }

    fn keep(&self, from: Option<(&Arc<Caller>, &Arc<str>)>, entry: Entry, now: Now) {
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
    fn drop_old(&mut self, now: Now) {
        for callers in self.of_callers.values_mut() {
            callers.retain(|_, entry| entry.is_fresh(now));
        }
        self.of_callers.retain(|_, callers| !callers.is_empty());
        self.count = self.of_callers.values().map(HashMap::len).sum();
    }
}

fn signed(
    from: Option<(&Arc<Caller>, &Arc<str>)>,
    audience: &SpiffeId,
    svid: &Svid,
    wall: SystemTime,
) -> Result<HeaderValue, Refusal> {
    let named = from.map_or(Named::Gateway, |(caller, view)| caller.to_context(Some(view)));
    let txn = format!("{:016x}{:016x}", simulated::random(), simulated::random());
    let token = context::sign(svid, audience, &named, &txn, wall, CONTEXT_LIFE_MAX);
    let token = token.map_err(|error| {
        Refusal::new(Reason::Internal, format!("the caller context cannot be made: {error}")).rule("hop/context")
    })?;
    HeaderValue::try_from(token).map_err(|_| {
        Refusal::new(Reason::Internal, "the caller context cannot be sent as a header").rule("hop/context")
    })
}

#[cfg(test)]
mod tests;
