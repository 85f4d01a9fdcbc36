//! Who signs: the authority of a mesh, behind a trait, because a company's own may take its place.
//!
//! An authority signs what it is told for the identity it is told. Whether somebody may have that identity is decided by
//! `enrol` and nowhere else, and that something was signed is written down by `issuance` before anybody gets it. So an
//! authority has no memory of its own but its keys.

use std::time::{Duration, SystemTime};

use meshgate_model::{SpiffeId, TrustDomain};

use crate::seal::SealError;
use crate::store::StoreError;

mod builtin;
mod certificate;
mod request;

#[cfg(test)]
mod tests;

pub use builtin::{BuiltIn, Phase, Rotation};
pub use certificate::{Serial, spki_digest};
pub use request::public_key_of;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The request for a certificate is no request, or not signed by the key it names.
    #[error("the certificate request {0}")]
    Request(&'static str),
    /// The identity is of another mesh.
    #[error("`{id}` is not of the trust domain `{domain}`")]
    Domain {
        /// The identity.
        id: String,
        /// The trust domain.
        domain: String,
    },
    /// The rotation is not in the phase that was asked to end.
    #[error("{0}")]
    Phase(&'static str),
    /// Keys could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Keys could not be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate library refused.
    #[error("the certificate could not be made: {0}")]
    Library(String),
}

/// What to sign.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    /// Who the certificate is for.
    pub id: &'a SpiffeId,
    /// Its public key, as a SubjectPublicKeyInfo in DER.
    pub public_key: &'a [u8],
    /// How long it is good from now; the authority may give less.
    pub life: Duration,
    /// Now.
    pub now: SystemTime,
    /// For the control plane itself: it shows what the oldest trusted root vouches for, so that a proxy that missed the
    /// change of roots still believes who tells it of the new one.
    pub own: bool,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate and its intermediates in DER, the certificate first.
    pub chain: Vec<Vec<u8>>,
    /// Its serial number.
    pub serial: Serial,
    /// From when it is good.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// SHA-256 of the root that it hangs on.
    pub root: [u8; 32],
}

/// What signs certificates of one trust domain.
pub trait Authority: Send + Sync + 'static {
    /// The trust domain.
    fn trust_domain(&self) -> TrustDomain;

    /// The roots that proxies are to trust, in DER, the one that signs first.
    fn roots(&self) -> Vec<Vec<u8>>;

    /// The root that the control plane proves itself by, in DER: the one that join tokens name.
    fn own_root(&self) -> Vec<u8>;

    /// Signs.
    ///
    /// # Errors
    /// When the identity is of another trust domain, and when the keys cannot be used.
    fn sign(&self, order: &Order<'_>) -> Result<Signed, AuthorityError>;
}
