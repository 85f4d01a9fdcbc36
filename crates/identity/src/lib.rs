//! Keys, tokens and TLS: how parts of the mesh prove things to each other.
//!
//! Secrets live here and nowhere else. The crate seals state that has to travel through strangers (session ids,
//! cursors, request state), names bearer tokens by their digest so that no table holds one in clear, and turns
//! certificate files into TLS configurations. It opens files and asks the system for entropy; it signs no certificates
//! and opens no connections.
//!
//! Between parts of a mesh a proof is a SVID: a certificate that names one part ([`svid`]), judged against the roots of the
//! mesh ([`bundle`]) by verifiers of our own ([`identity`]), for TLS 1.3 and nothing older. What a gateway says about a
//! caller is signed by the key of the very connection it travels on ([`context`]); what the control plane says about
//! everything is signed by a key that signs nothing else ([`manifest`]).

pub mod bundle;
pub mod context;
pub mod denied;
pub mod enrolment;
pub mod file;
pub mod identity;
pub mod join;
pub mod keys;
pub mod limits;
pub mod manifest;
pub mod rotation;
pub mod stored;
pub mod svid;
pub mod tls;
pub mod token;

mod leaf;
#[cfg(test)]
mod tests;
mod verify;

pub use bundle::TrustBundle;
pub use denied::Denied;
pub use identity::{Admit, Expect, Identity};
pub use join::JoinToken;
pub use keys::{KeyRing, KeyRingError, OpenError, Purpose, SealError};
pub use leaf::Peer;
pub use svid::{Svid, SvidKey};
pub use token::{ServiceToken, token_digest};
