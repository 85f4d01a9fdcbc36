//! MCP on the wire: how every revision is spelled, and nothing about what it is for.
//!
//! A proxy that decodes messages into typed structs and encodes them again loses unknown fields, rewrites numbers and
//! spends most of its time doing so. This crate takes the other way: [`scan`] reads a message once, strictly, and
//! yields byte ranges; whoever decides, decides on those; [`Splice`] then changes the few ranges that must change and
//! leaves every other byte as it came.
//!
//! Only this crate knows how JSON-RPC is spelled. It does no IO, reads no clock and no entropy, and never panics on
//! bytes from outside: every parser here has a fuzz target beside the workspace (`fuzz/`).

pub mod codes;
pub mod content;
pub mod headers;
pub mod json;
pub mod limits;
mod lines;
pub mod message;
pub mod meta;
mod method;
mod read;
mod revision;
mod scan;
mod splice;
mod sse;
mod value;

pub use lines::{LineDecoder, LineTooLong};
pub use method::{Eras, Method, MethodRow, Sender, Target};
pub use read::{elements, lookup};
pub use revision::{Era, LATEST_LEGACY, MODERN, REVISIONS, Revision};
pub use scan::{Envelope, Fault, Message, Rules, ScanError, Side, again, batch, scan};
pub use splice::Splice;
pub use sse::{SseDecoder, SseError, SseEvent, encode_sse, encode_sse_comment, encode_sse_priming, encode_sse_typed};
pub use value::{Kind, Member, Object, Span, Value};
