//! What must hold for any bytes at all, one function per parser.
//!
//! The functions stand in a library and not in the fuzz targets, so that a plain test can run them over the committed
//! corpus with any compiler (`tests/corpus.rs`), and a crash that a fuzzer finds becomes a file there.
//!
//! A target fails by panicking: each says in its assertions what it promises.

#![forbid(unsafe_code)]

mod config;
mod framing;
mod headers;
mod identities;
mod messages;
mod sealed;
mod sync;
mod wire;

pub use config::{mcp_json, mesh, names};
pub use framing::{lines, sse, sse_out};
pub use headers::{headers, params};
pub use identities::{certificate, context};
pub use messages::{content, scan, splice};
pub use sealed::{cursor, session, state};
pub use sync::sync;
pub use wire::{http1, http2};

/// A target: its name, which is also its folder in `corpus/`, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 19] = [
    ("scan", scan),
    ("splice", splice),
    ("headers", headers),
    ("params", params),
    ("sse", sse),
    ("sse_out", sse_out),
    ("lines", lines),
    ("content", content),
    ("http1", http1),
    ("http2", http2),
    ("session", session),
    ("cursor", cursor),
    ("state", state),
    ("context", context),
    ("certificate", certificate),
    ("names", names),
    ("mesh", mesh),
    ("mcp_json", mcp_json),
    ("sync", sync),
];

/// Cuts bytes at the first occurrence of `separator`; without one the second part is empty.
fn cut(input: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let at = input.iter().position(|byte| *byte == separator).unwrap_or(input.len());
    let (first, rest) = input.split_at(at);
    (first, rest.get(1..).unwrap_or_default())
}
