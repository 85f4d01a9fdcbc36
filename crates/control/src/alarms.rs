//! What an operator has to know at once: bounded, in memory, told once in the log and shown until it is old.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::store::{Clock, unix_ms};

/// Alarms that are shown; the oldest make room.
const KEPT: usize = 100;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum AlarmKind {
    /// A join token was shown a second time: somebody else may have been first.
    TokenReused,
    /// A certificate that this authority never wrote down is in use.
    UnknownIssuance,
    /// The issuance log does not hold together.
    LogBroken,
    /// A proxy has seen a later state than this control plane: the store was set back.
    SetBack,
    /// Somebody tries to enrol again and again.
    Guessing,
    /// A change of roots waits for proxies for a long time.
    RootWaits,
}

impl AlarmKind {
    /// All of them, each with the name that its metric has.
    const ALL: [(Self, &'static str); 6] = [
        (Self::TokenReused, "token_reused"),
        (Self::UnknownIssuance, "unknown_issuance"),
        (Self::LogBroken, "log_broken"),
        (Self::SetBack, "set_back"),
        (Self::Guessing, "guessing"),
        (Self::RootWaits, "root_waits"),
    ];
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alarm {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub kind: AlarmKind,
    /// The particulars, and what to do.
    pub message: String,
}

/// The last alarms. A clone is the same.
#[derive(Clone)]
pub struct Alarms {
    clock: Clock,
    last: Arc<Mutex<VecDeque<Alarm>>>,
}

impl Alarms {
    /// None yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            last: Arc::default(),
        }
    }

    /// Tells, once for the same words while they are shown.
    pub fn raise(&self, kind: AlarmKind, message: impl Into<String>) {
        let message = message.into();
        let known = |alarm: &Alarm| alarm.kind == kind && alarm.message == message;
        if self.last.lock().iter().any(known) {
            return;
        }
        tracing::error!(alarm = ?kind, "{message}");
        let alarm = Alarm {
            at_ms: unix_ms((self.clock)()),
            kind,
            message,
        };
        let mut last = self.last.lock();
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(alarm);
    }

    /// How many of each kind are shown.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        let last = self.last.lock();
        let of = |kind| last.iter().filter(|alarm| alarm.kind == kind).count();
        AlarmKind::ALL.map(|(kind, name)| (name, of(kind))).to_vec()
    }

    /// The last ones, the newest last.
    pub fn list(&self) -> Vec<Alarm> {
        self.last.lock().iter().cloned().collect()
    }
}
