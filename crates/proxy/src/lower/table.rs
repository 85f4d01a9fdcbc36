//! The sessions of this process, bounded.
//!
//! Many clients never end a session: they just go away. So a caller at its limit loses its own longest unused session,
//! never another caller's; and a flood of `initialize` from one caller costs that caller its sessions and the gateway a
//! fixed amount of memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::session::Session;
use crate::call::Caller;

/// Sessions looked at to find one that may make room.
const CANDIDATES: usize = 16;

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    /// By their ids, as their clients send them: nobody can guess one, and it works for its caller at its view only.
    sessions: HashMap<Arc<str>, Arc<Session>>,
    /// Each caller's sessions, oldest first.
    callers: HashMap<Arc<Caller>, VecDeque<Arc<str>>>,
    /// Sessions that nobody can name any more, for as long as a call of them runs.
    revoked: Vec<Weak<Session>>,
}

impl Table {
    /// Adds a session; `Err` gives it back when there is no room and nothing of its caller can make room.
    pub(super) fn add(&self, session: Arc<Session>, per_caller_max: usize, max: usize) -> Result<(), Arc<Session>> {
        let mut rows = self.rows.lock();
        let own = rows.callers.get(&session.caller).map_or(0, VecDeque::len);
        let mut evicted = None;
        if own >= per_caller_max || rows.sessions.len() >= max {
            evicted = rows.evict(&session.caller);
            if evicted.is_none() {
                return Err(session);
            }
        }
        rows.callers
            .entry(Arc::clone(&session.caller))
            .or_default()
            .push_back(Arc::clone(&session.id));
        rows.sessions.insert(Arc::clone(&session.id), session);
        drop(rows);
        if let Some(evicted) = evicted {
            evicted.end();
        }
        Ok(())
    }

    /// The session of that id, when it is this caller's at this view.
    pub(super) fn get(&self, id: &str, caller: &Caller, view: &str) -> Option<Arc<Session>> {
        let session = self.rows.lock().sessions.get(id).cloned()?;
        (session.caller.binding() == caller.binding() && *session.view == *view).then_some(session)
    }

    /// Ends one session.
    pub(super) fn end(&self, id: &str) {
        let ended = self.rows.lock().remove(id);
        if let Some(session) = ended {
            session.end();
        }
    }

    /// Ends sessions that nobody used for `idle_max`, and those past their expiry.
    pub(super) fn sweep(&self, idle_max: Duration, now_s: u64) {
        let now = Instant::now();
        let is_over = |session: &Session| {
            let idle = session
                .idle_since()
                .is_some_and(|used| now.duration_since(used) >= idle_max);
            idle || now_s >= session.expires_s
        };
        let ended: Vec<_> = {
            let mut rows = self.rows.lock();
            let over = rows.sessions.values().filter(|s| is_over(s));
            let over: Vec<Arc<str>> = over.map(|s| Arc::clone(&s.id)).collect();
            over.iter().filter_map(|id| rows.remove(id)).collect()
        };
        for session in ended {
            session.end();
        }
    }

    /// Takes out the sessions that `is_lost`; their calls go on.
    pub(super) fn revoke(&self, is_lost: impl Fn(&Session) -> bool) {
        let revoked: Vec<_> = {
            let mut rows = self.rows.lock();
            let lost = rows.sessions.values().filter(|s| is_lost(s));
            let lost: Vec<Arc<str>> = lost.map(|s| Arc::clone(&s.id)).collect();
            let revoked: Vec<_> = lost.iter().filter_map(|id| rows.remove(id)).collect();
            rows.revoked.retain(|session| session.strong_count() > 0);
            rows.revoked.extend(revoked.iter().map(Arc::downgrade));
            revoked
        };
        for session in revoked {
            session.revoke();
        }
    }

    /// Every session there is.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.rows.lock().sessions.values().cloned().collect()
    }

    /// Sessions that nobody can name any more.
    pub(super) fn revoked(&self) -> Vec<Arc<Session>> {
        self.rows.lock().revoked.iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.lock().sessions.len()
    }
}

impl Rows {
    fn remove(&mut self, id: &str) -> Option<Arc<Session>> {
        let session = self.sessions.remove(id)?;
        if let Some(own) = self.callers.get_mut(&session.caller) {
            own.retain(|known| **known != *id);
            if own.is_empty() {
                self.callers.remove(&session.caller);
            }
        }
        Some(session)
    }

    /// Takes out the longest unused of the caller's oldest sessions.
    fn evict(&mut self, caller: &Arc<Caller>) -> Option<Arc<Session>> {
        let own = self.callers.get_mut(caller)?;
        let idle = own.iter().take(CANDIDATES);
        let idle = idle.filter_map(|id| Some((self.sessions.get(id)?.idle_since()?, Arc::clone(id))));
        let Some((_, id)) = idle.min_by_key(|(used, _)| *used) else {
            // All of these are busy: others get their turn next time.
            own.rotate_left(CANDIDATES.min(own.len()));
            return None;
        };
        self.remove(&id)
    }
}
