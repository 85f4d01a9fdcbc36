//! The data plane: one set of parts, assembled as a gateway or as a sidecar.
//!
//! A call runs through named phases, each in a file of its own (`serve` reads as their table). Everything inside speaks
//! one protocol, MCP 2026-07-28: legacy clients are *lowered* at the edge, legacy servers *lifted* beside the process
//! that owns their session. What a call needs is in one immutable snapshot that it loads once.
//!
//! Modules may use only those above them in this list; `cargo xtask tidy` checks it.
// tidy: module order begins
#[doc(hidden)]
pub mod simulated;
pub mod limits;
pub mod refusal;
pub mod call;
pub mod drain;
pub mod observe;
mod gathered;
mod row;
pub mod listen;
pub mod supervise;
pub mod hop;
pub mod upstream;
pub mod lift;
pub mod validate;
pub mod catalogue;
pub mod authenticate;
pub mod admit;
pub mod limit;
pub mod resolve;
pub mod authorize;
pub mod listen_hub;
pub mod classify;
pub mod respond;
pub mod lower;
pub mod serve;
pub mod admin;
pub mod assembly;
pub mod gateway;
pub mod sidecar;
pub mod member;
pub mod process;
// tidy: module order ends
