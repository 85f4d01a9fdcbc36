//! Peers made of spelled-out JSON, for tests only.
//!
//! A proxy that keeps bytes as they are can only be tested by peers that do not help: an SDK on the other side would
//! repair, reorder and fill in. So the servers and clients here say exactly what a test tells them to say, and keep
//! exactly what they were told.
//!
//! * [`ScriptedServer`]: an MCP server of any era on loopback HTTP, with everything it received on record.
//! * [`StdioScript`]: the same for a child process on stdio.
//! * [`ca`]: an authority that signs right and wrong certificates alike.
//! * [`intruder`]: a TLS client that shows them.
//! * [`raw`]: a client that sends given bytes and shows the status, the headers, the body and the events that came back.
//!
//! In an answer `$ID` stands for the request's id as it was spelled, `$TOKEN` for its progress token.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

pub mod ca;
pub mod intruder;
pub mod raw;
mod recorded;
mod script;
mod server;
mod stdio;
#[cfg(test)]
mod tests;

pub use recorded::Recorded;
pub use script::{Answer, Script, Step};
pub use server::ScriptedServer;
pub use stdio::{StdioScript, StdioServer};
