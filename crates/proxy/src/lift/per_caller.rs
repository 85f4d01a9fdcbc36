//! One session, or child, for all calls of one caller: `sharing: perCaller`.
//!
//! A server that keeps state between calls would show one caller what another one left behind. So each caller has a session
//! of its own there, which all its calls share that cannot be asked anything: nothing has to be told apart on it but log
//! messages. It lives as long as its caller uses it, because its state is what it is for.

use std::collections::HashMap;
use std::sync::Arc;

use meshgate_bridge::Capabilities;
use meshgate_mcp::Revision;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits::PER_CALLER_IDLE_MAX;
use super::own::{Key, Own, Session};
use super::park::too_late;
use super::shared::Shared;
use crate::call::Caller;
use crate::refusal::{Executed, Refusal};

/// The sessions of callers, each opened by the first call that needs it.
#[derive(Default)]
pub(super) struct CallerSessions(Mutex<HashMap<Arc<Caller>, Arc<Slot>>>);

/// The place of one caller's session; the lock is held while it is opened.
#[derive(Default)]
struct Slot {
    session: tokio::sync::Mutex<Option<Arc<CallerSession>>>,
}

/// A session for one caller. Whoever makes a call on it holds on to it until the answer is complete.
pub(super) struct CallerSession {
    session: Session,
    used: Mutex<Instant>,
}

impl CallerSession {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.session.shared
    }

    fn is_gone(&self) -> bool {
        self.session.shared.gone.is_cancelled()
    }
}

impl CallerSessions {
    /// The session of a caller, opened if need be. What is refused here has not been sent.
    pub(super) async fn of(
        &self,
        own: &Arc<Own>,
        caller: &Arc<Caller>,
        revision: &'static Revision,
        until: Instant,
    ) -> Result<Arc<CallerSession>, Refusal> {
        let slot = Arc::clone(self.0.lock().entry(Arc::clone(caller)).or_default());
        let opened = tokio::time::timeout_at(until, slot.session.lock()).await;
        let mut opened = opened.map_err(|_| too_late(Executed::No))?;
        if let Some(session) = opened.as_ref().filter(|session| !session.is_gone()) {
            *session.used.lock() = Instant::now();
            return Ok(Arc::clone(session));
        }
        *opened = None;
        let key = Key {
            caller: Arc::clone(caller),
            can: Capabilities::NONE,
        };
        let session = Arc::new(CallerSession {
            session: own.open(&key, revision, until).await?,
            used: Mutex::new(Instant::now()),
        });
        own.keep_sweeping(&session.session);
        *opened = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Takes out the sessions that nobody has used for long, and those whose server has ended them.
    pub(super) fn take_unused(&self) -> Vec<Session> {
        self.take(|session| session.is_gone() || session.used.lock().elapsed() >= PER_CALLER_IDLE_MAX)
    }

    /// Takes out every session on which no call is being made.
    pub(super) fn take_all(&self) -> Vec<Session> {
        self.take(|_| true)
    }

    /// Whether no caller has a session.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn take(&self, which: impl Fn(&CallerSession) -> bool) -> Vec<Session> {
        let mut taken = Vec::new();
        self.0.lock().retain(|_, slot| {
            // One that is being opened, or waited for, stays.
            let Ok(mut opened) = slot.session.try_lock() else {
                return true;
            };
            match opened.take() {
                None => Arc::strong_count(slot) > 1,
                Some(session) if which(&session) => match Arc::try_unwrap(session) {
                    Ok(session) => {
                        taken.push(session.session);
                        false
                    }
                    Err(in_use) => {
                        *opened = Some(in_use);
                        true
                    }
                },
                Some(session) => {
                    *opened = Some(session);
                    true
                }
            }
        });
        taken
    }
}
