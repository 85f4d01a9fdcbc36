//! Modern answers for legacy clients.
//!
//! A legacy client opens a session, keeps state in it and expects the server to ask questions in the middle of a call.
//! Inside the mesh there are no sessions and nobody but the client speaks first. This module closes that gap at the
//! edge, so that nothing behind the edge has to know that legacy clients exist:
//!
//! * [`open`] reads an `initialize` and [`initialize_result`] answers it;
//! * [`stamp`] turns a request of the session into a self-contained modern one;
//! * [`Rounds`] carries one call: it lowers what comes back to the client's revision, turns `input_required` into real
//!   questions with ids of our own, gathers the answers and builds the retry;
//! * [`Wanted`] and [`Acknowledged`] express the session's subscriptions as one modern `subscriptions/listen`.
//!
//! It sees opened claims only: who the caller is and whether a session id is genuine is decided before. Whoever drives
//! it owns time, randomness and the wire.
//!
//! What a revision does not know but tolerates (unknown members, icons, titles, annotations) is left alone: a message
//! is only edited where a client of that revision would misread or refuse it.

mod answer;
mod capabilities;
mod handshake;
mod limits;
mod listen;
mod notice;
mod questions;
mod rounds;
mod spelling;
mod stamp;
#[cfg(test)]
mod tests;

pub use answer::{lower_answer, lower_with};
pub use capabilities::{Capabilities, Declared};
pub use handshake::{Offer, Opening, OpeningError, initialize_result, negotiate, open};
pub use limits::{ANSWERS_BYTES_MAX, QUESTIONS_MAX, ROUNDS_MAX};
pub use listen::{Acknowledged, Wanted};
pub use notice::{Progress, lower_notice};
pub use questions::Mint;
pub use rounds::{Ending, Question, Rounds, Step, answer_id, read_inside};
pub use stamp::{Stamp, stamp};
