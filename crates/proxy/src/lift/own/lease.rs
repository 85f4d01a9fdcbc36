//! A session lent to one call.

use std::sync::Arc;

use meshgate_bridge::lift::Asked;
use tokio::sync::OwnedSemaphorePermit;

use super::{Key, Own, Session};
use crate::lift::shared::{Live, Shared};

/// A session that one call has, until it is dropped.
pub(in crate::lift) struct Lease {
    own: Arc<Own>,
    /// `None` once it has been given back.
    session: Option<Session>,
    key: Key,
    turn: Option<OwnedSemaphorePermit>,
    /// What the server waits for.
    pub(in crate::lift) asked: Asked,
    /// The session at the server that the call was made in. What the call leaves open is said there and nowhere else: a
    /// session that the server has lost meanwhile is made anew, and knows nothing of the call.
    pub(in crate::lift) live: Option<Arc<Live>>,
    /// The request that the server has not answered.
    pub(in crate::lift) open: Option<u64>,
    /// Whether the server has nothing more to say about the call.
    pub(in crate::lift) clean: bool,
}

impl Lease {
    pub(super) fn new(own: &Arc<Own>, session: Session, key: Key, turn: OwnedSemaphorePermit) -> Self {
        Self {
            own: Arc::clone(own),
            session: Some(session),
            key,
            turn: Some(turn),
            asked: Asked::default(),
            live: None,
            open: None,
            clean: false,
        }
    }

    pub(in crate::lift) fn own(&self) -> &Arc<Own> {
        &self.own
    }

    pub(in crate::lift) fn key(&self) -> &Key {
        &self.key
    }

    pub(in crate::lift) fn shared(&self) -> Option<&Arc<Shared>> {
        self.session.as_ref().map(|session| &session.shared)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let answers = self.asked.give_up();
        if self.clean && answers.is_empty() {
            self.own.give_back(self.key.clone(), session);
        } else {
            self.own.end(session, self.live.take(), answers, self.open.take());
        }
        drop(self.turn.take());
        self.own.forget(&self.key.caller);
    }
}
