//! Keys, tokens and TLS: how parts of the mesh prove things to each other.
//!
//! Secrets live here and nowhere else. The crate seals state that has to travel through strangers (session ids,
//! cursors, request state), names bearer tokens by their digest so that no table holds one in clear, and turns
//! certificate files into TLS configurations. It opens files and asks the system for entropy; it signs no certificates
//! and opens no connections.

pub mod keys;
pub mod limits;
pub mod tls;
pub mod token;

mod file;

pub use keys::{KeyRing, KeyRingError, OpenError, Purpose, SealError};
pub use token::{ServiceToken, token_digest};
