//! The sessions of this process, bounded.
//!
//! Many clients never end a session: they just go away. So a caller at its limit loses its own longest unused session,
//! never another caller's; and a flood of `initialize` from one caller costs that caller its sessions and the gateway a
//! fixed amount of memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::session::Session;
use crate::call::Caller;

/// Sessions looked at to find one that may make room.
const CANDIDATES: usize = 16;

type Nonce = [u8; 16];

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    sessions: HashMap<Nonce, Arc<Session>>,
    /// Each caller's sessions, oldest first.
    callers: HashMap<Arc<Caller>, VecDeque<Nonce>>,
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
            .push_back(session.nonce);
        rows.sessions.insert(session.nonce, session);
        drop(rows);
        if let Some(evicted) = evicted {
            evicted.end();
        }
        Ok(())
    }

    pub(super) fn get(&self, nonce: &Nonce) -> Option<Arc<Session>> {
        self.rows.lock().sessions.get(nonce).cloned()
    }

    /// Ends one session.
    pub(super) fn end(&self, nonce: &Nonce) {
        let ended = self.rows.lock().remove(nonce);
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
            let over: Vec<Nonce> = rows.sessions.values().filter(|s| is_over(s)).map(|s| s.nonce).collect();
            over.iter().filter_map(|nonce| rows.remove(nonce)).collect()
        };
        for session in ended {
            session.end();
        }
    }

    /// Every session there is.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.rows.lock().sessions.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.lock().sessions.len()
    }
}

impl Rows {
    fn remove(&mut self, nonce: &Nonce) -> Option<Arc<Session>> {
        let session = self.sessions.remove(nonce)?;
        if let Some(own) = self.callers.get_mut(&session.caller) {
            own.retain(|n| n != nonce);
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
        let idle = idle.filter_map(|nonce| Some((self.sessions.get(nonce)?.idle_since()?, *nonce)));
        let Some((_, nonce)) = idle.min_by_key(|(used, _)| *used) else {
            // All of these are busy: others get their turn next time.
            own.rotate_left(CANDIDATES.min(own.len()));
            return None;
        };
        self.remove(&nonce)
    }
}
