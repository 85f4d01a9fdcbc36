//! How configuration travels from the control plane to proxies: the contract on the wire, and both ends of it.
//!
//! A proxy that holds half a change is worse than one that holds none, and a control plane that sends everything again to
//! ten thousand proxies because one line changed does not live long. So what travels are whole [resources](resource), each
//! encoded once and selected for a proxy by its identity; a change is what differs from what the proxy holds; and what the
//! proxy would hold afterwards is signed as a whole ([`manifest`]), so that it takes exactly that or keeps what it has.
//!
//! [`client`] and [`server`] are the two ends. They have no sockets, clocks or entropy of their own: whoever drives them
//! hands in messages, the time since it started and random numbers, and sends what they return. Signing and verifying are
//! handed in as well, because keys live elsewhere.

pub mod limits;
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, rustdoc::all)]
pub mod proto;
pub mod resource;
pub mod manifest;
pub mod snapshot;
pub mod message;
pub mod client;
pub mod server;

pub use client::Client;
pub use manifest::Manifest;
pub use resource::{Body, Digest, Key, Kind, Resource};
pub use server::Server;
pub use snapshot::Snapshot;
