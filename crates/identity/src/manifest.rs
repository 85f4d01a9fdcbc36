//! The signature on what the control plane distributes.
//!
//! A proxy believes its configuration because of this signature and not because of the connection it came over, so that it
//! can start from its disk while the control plane is away, and so that whoever takes over a distributor cannot write
//! configuration. The key signs manifests and nothing else, and is not the authority's: losing one does not lose the other.
//!
//! Ed25519 (RFC 8032) over a label and the manifest. What a manifest says, and that its epoch never falls, is for others.

use std::fmt;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

const LABEL: &[u8] = b"meshgate snapshot manifest 1\0";
const PUBLIC_KEY_BYTES: usize = 32;

/// A snapshot key that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotKeyError {
    /// The bytes are no Ed25519 key.
    #[error("the snapshot key is not an Ed25519 key")]
    Key,
    /// The system gave no entropy, or the cipher failed.
    #[error("the system's random source or the cipher failed")]
    Unavailable,
}

/// A manifest that no known key has signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest is not signed by a key of the trust bundle")]
pub struct NotSigned;

/// The public half of a key that signs snapshots.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotPublicKey([u8; PUBLIC_KEY_BYTES]);

impl SnapshotPublicKey {
    /// Takes a key as it travels: 32 bytes.
    ///
    /// # Errors
    /// When there are not 32.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotKeyError> {
        bytes.try_into().map(Self).map_err(|_| SnapshotKeyError::Key)
    }

    /// The key as it travels.
    pub fn as_bytes(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SnapshotPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotPublicKey({})", URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The key that signs snapshots. Wiped when dropped; never printed.
pub struct SnapshotKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
    public: SnapshotPublicKey,
}

impl SnapshotKey {
    /// A new key from the system's entropy.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate() -> Result<Self, SnapshotKeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| SnapshotKeyError::Unavailable)?;
        let document = pair.to_pkcs8().map_err(|_| SnapshotKeyError::Unavailable)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a key as [`pkcs8`](Self::pkcs8) gave it.
    ///
    /// # Errors
    /// When the bytes are no such key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SnapshotKeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| SnapshotKeyError::Key)?;
        Ok(Self {
            public: SnapshotPublicKey::from_bytes(pair.public_key().as_ref())?,
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
            pair,
        })
    }

    /// The key in PKCS #8 (DER), for the place it is kept in.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half, for the trust bundle.
    pub fn public(&self) -> SnapshotPublicKey {
        self.public
    }

    /// Signs a manifest: 64 bytes.
    ///
    /// # Errors
    /// When the cipher failed.
    pub fn sign(&self, manifest: &[u8]) -> Result<Vec<u8>, SnapshotKeyError> {
        let signature = self.pair.try_sign(&message(manifest));
        Ok(signature.map_err(|_| SnapshotKeyError::Unavailable)?.as_ref().to_vec())
    }
}

impl fmt::Debug for SnapshotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// Which of the keys signed a manifest.
///
/// # Errors
/// When none did.
pub fn verify(keys: &[SnapshotPublicKey], manifest: &[u8], signature: &[u8]) -> Result<SnapshotPublicKey, NotSigned> {
    let message = message(manifest);
    let signed = |key: &&SnapshotPublicKey| {
        UnparsedPublicKey::new(&ED25519, key.0)
            .verify(&message, signature)
            .is_ok()
    };
    keys.iter().find(signed).copied().ok_or(NotSigned)
}

fn message(manifest: &[u8]) -> Vec<u8> {
    [LABEL, manifest].concat()
}
