//! What one call of a legacy client may cost while its server asks.
//!
//! A modern server may ask as often and as much as it likes, and each question is a person's time and each answer bytes
//! that the edge keeps for the next round. So both are bounded here, beside what decides.

/// Rounds that one call may take; the count at which the official SDKs stop, too.
pub const ROUNDS_MAX: u32 = 10;

/// Questions in one round: far more than a person answers, far less than would fill a screen with dialogues unseen.
pub const QUESTIONS_MAX: usize = 32;

/// Bytes of all answers of one round together. They go inside in one request beside the arguments of the call, and a
/// request may have 4 MiB.
pub const ANSWERS_BYTES_MAX: usize = 3 << 20;
