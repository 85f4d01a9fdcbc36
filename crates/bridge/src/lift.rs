//! A legacy server behind a modern face, as state machines over whole messages.
//!
//! A server of 2024-11-05 … 2025-11-25 knows sessions, handshakes, session-wide log levels and subscriptions, and asks
//! its client questions. The mesh knows none of that: every request stands alone. The difference is bridged here, once,
//! so that no other part has a branch for an old revision.
//!
//! * [`Handshake`] leads to a [`Session`]: the revision both speak and what the server offers.
//! * [`Session::plan`] turns a modern request into what the server understands, or says why it cannot be carried.
//! * [`Session::answer`] turns the server's response into a modern one.
//! * [`sort`] says what any other message of the server is. A question is refused where nobody can be asked: on the
//!   session that all callers share, whose handshake declared no client capability.
//! * On a session of one caller, [`Question`] and [`Asked`] make a question part of an `input_required` result and an
//!   answer in the next request a response for the server; between the two the call waits in [`Parking`].
//! * [`Subscriptions`] and [`Logs`] hold what legacy makes session-wide and modern makes part of one request.
//!
//! What a shared session makes impossible is refused, never guessed: a log message is delivered only while one request is
//! in flight, because nothing in it says which request it is about, and questions for the same reason only where one call
//! has the session to itself.

mod answer;
mod arrival;
mod asks;
mod listen;
mod logs;
mod park;
mod questions;
mod request;
mod session;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use answer::Broken;
pub use arrival::{Arrival, sort, split};
pub use asks::{INITIALIZED, cancelled, ping, set_level, subscribe, unsubscribe};
pub use listen::{Filter, Subscriptions};
pub use logs::{Level, Logs};
pub use park::{Full, Gone, ParkLimits, Parking, Place, Taken};
pub use questions::{Answers, Asked, Question, Unusable};
pub use request::{Forward, Pending, Plan, Resume};
pub use session::{Handshake, HandshakeError, Offered, Session, Settled};

/// A request that the legacy server cannot be asked. Nothing of it was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unlifted {
    /// The JSON-RPC code the client is told.
    pub code: i64,
    /// What the client is told.
    pub message: Cow<'static, str>,
}

impl Unlifted {
    pub(crate) fn new(code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A refusal of the table, with the names it speaks of.
    pub(crate) fn listed(why: &crate::eras::Cannot, names: &[&str]) -> Self {
        Self::new(why.code(), why.say(names))
    }
}
