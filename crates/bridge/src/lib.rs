//! Era translation without IO: a legacy server behind a modern face, and a modern face for legacy clients.
//!
//! Everything inside the mesh speaks MCP 2026-07-28. What an older peer needs to take part is decided here, as state
//! machines over whole messages: no socket, no clock, no randomness, so every rule can be shown by a test that holds
//! two pieces of JSON side by side. Whoever drives them owns the waiting.
//!
//! * [`lift`] makes a legacy server modern: handshake, discovery, requests, answers, subscriptions, logging.
//! * [`lower`] makes a modern answer legacy, for the client that asked in an older revision.
//! * [`eras`] lists what crosses between two revisions and what cannot, with the words that refusals use.
//!
//! Messages are edited by splicing spans, never by decoding and encoding: what a rule does not name arrives byte for
//! byte.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod capabilities;
pub mod eras;
pub mod lift;
pub mod lower;

pub use capabilities::Capabilities;
