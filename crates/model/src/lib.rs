//! The nouns of a mesh and their rules, as pure functions.
//!
//! What an operator writes (a mesh file, or the `mcp.json` people already have) becomes one immutable [`Snapshot`] that
//! every call loads once. Whether a file is right, who may use which view, and what a tool is called there are decided
//! here and nowhere else, so the command line, the gateway and the tests cannot disagree about them.
//!
//! This crate does no IO and reads neither clock nor entropy: files, environment variables and tokens are named here
//! and read by whoever assembles a proxy. One rule runs through it: an empty list means *nobody*; an absent one has a
//! default that its field documents.

pub mod amount;
mod compile;
pub mod diff;
pub mod finding;
pub mod import;
pub mod kinds;
pub mod limits;
pub mod naming;
mod parse;
pub mod reference;
mod role;
mod secret;
pub mod snapshot;
pub mod spiffe;

pub use finding::{Finding, Severity};
pub use parse::{Config, Object, Surroundings, parse, parse_in, project_of};
pub use reference::{json_schema, json_schema_text, kinds_markdown};
pub use role::Role;
pub use snapshot::{
    AccessLog, Application, Check, Concurrency, Deadlines, Digest, EnvValue, EraChoice, GatewaySpec, LOCAL_APPLICATION,
    Limits, Listener, MeshSpec, Naming, PAGE_BYTES_MAX, Questions, Reach, Server, Snapshot, TlsFiles, TokenSource,
    ToolFilter, View, ViewServer,
};
pub use spiffe::{Part, SpiffeError, SpiffeId, TrustDomain};

/// The `apiVersion` of every document.
pub const API_VERSION: &str = "meshgate.dev/v1alpha1";
