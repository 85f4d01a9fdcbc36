//! SVIDs: the keys and certificates that parts of a mesh show each other (SPIFFE X509-SVID).
//!
//! The key is made here and never leaves: what travels is a request to sign its public half. The request names the ID that
//! the holder believes to have, for a reader of logs; the one who signs decides by itself and takes nothing but the key.
//!
//! A [`Svid`] is immutable. Rotation makes a new key and a new SVID beside it, with a serial number of its own.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
};
use meshgate_model::SpiffeId;
use rcgen::{CertificateParams, DistinguishedName, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SigningKey};
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::leaf::Peer;
pub use crate::leaf::{LeafError, connection_life, serial_text};
use crate::limits::CHAIN_CERTIFICATES_MAX;

#[cfg(test)]
mod tests;

/// A key or certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// The bytes are no P-256 key in PKCS #8.
    #[error("the key is not a P-256 key in PKCS #8 form")]
    Key,
    /// The system gave no entropy, or the cipher failed.
    #[error("the system's random source or the cipher failed")]
    Unavailable,
    /// The first certificate is none of a part of a mesh.
    #[error("the first certificate of the chain: {0}")]
    Leaf(#[from] LeafError),
    /// The chain has too many certificates.
    #[error("a chain of {0} certificates is over the limit of {CHAIN_CERTIFICATES_MAX} beside the first")]
    TooLong(usize),
    /// The certificate is that of another key.
    #[error("the certificate is not that of the key beside it")]
    Foreign,
}

/// The private key of a SVID: ECDSA on P-256. Wiped when dropped; never printed.
pub struct SvidKey {
    pkcs8: Zeroizing<Vec<u8>>,
    asn1: EcdsaKeyPair,
    fixed: EcdsaKeyPair,
}

impl SvidKey {
    /// A new key from the system's entropy.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn generate() -> Result<Self, SvidError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| SvidError::Unavailable)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// Reads a key as [`pkcs8`](Self::pkcs8) gave it.
    ///
    /// # Errors
    /// When the bytes are no such key.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SvidError> {
        let read = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, pkcs8).map_err(|_| SvidError::Key);
        Ok(Self {
            asn1: read(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
            fixed: read(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
        })
    }

    /// The key in PKCS #8 (DER), for the file it is kept in.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half: a point of P-256, uncompressed.
    pub fn public_key(&self) -> &[u8] {
        self.asn1.public_key().as_ref()
    }

    /// The request for a certificate of this key (PKCS #10, DER). It names `id` and nothing else.
    ///
    /// # Errors
    /// When the cipher failed.
    pub fn csr(&self, id: &SpiffeId) -> Result<Vec<u8>, SvidError> {
        let name = id.as_str().try_into().map_err(|_| SvidError::Unavailable)?;
        let mut wanted = CertificateParams::default();
        wanted.distinguished_name = DistinguishedName::new();
        wanted.subject_alt_names = vec![SanType::URI(name)];
        let request = wanted
            .serialize_request(&RequestKey(self))
            .map_err(|_| SvidError::Unavailable)?;
        Ok(request.der().to_vec())
    }

    /// ECDSA with SHA-256, the two numbers side by side (RFC 7518 §3.4).
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, SvidError> {
        let signature = self.fixed.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| SvidError::Unavailable)?.as_ref().to_vec())
    }
}

impl fmt::Debug for SvidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SvidKey(***)")
    }
}

/// Signs requests for certificates, and only those: the library that writes them never sees the key.
struct RequestKey<'a>(&'a SvidKey);

impl PublicKeyData for RequestKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for RequestKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.asn1.sign(&SystemRandom::new(), message);
        Ok(signature.map_err(|_| rcgen::Error::RemoteKeyError)?.as_ref().to_vec())
    }
}

/// A key with the certificates that say whose it is, leaf first.
#[derive(Debug)]
pub struct Svid {
    leaf: Peer,
    chain: Vec<CertificateDer<'static>>,
    key: SvidKey,
    certified: Arc<CertifiedKey>,
}

impl Svid {
    /// Puts a key and its chain together (leaf first, then what leads to a root, roots left out).
    ///
    /// Whether a bundle vouches for the chain is asked where it is taken into use, see
    /// [`Identity::new`](crate::Identity::new).
    ///
    /// # Errors
    /// When the leaf is none of a part of a mesh, or not that of the key.
    pub fn new(key: SvidKey, chain: Vec<CertificateDer<'static>>) -> Result<Self, SvidError> {
        let first = chain.first().ok_or(LeafError::Missing)?;
        if chain.len() - 1 > CHAIN_CERTIFICATES_MAX {
            return Err(SvidError::TooLong(chain.len() - 1));
        }
        let leaf = Peer::read(first)?;
        if leaf.public_key() != key.public_key() {
            return Err(SvidError::Foreign);
        }
        let pkcs8 = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()));
        let signer = any_ecdsa_type(&pkcs8).map_err(|_| SvidError::Key)?;
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(chain.clone(), signer)),
            leaf,
            chain,
            key,
        })
    }

    /// Whose it is.
    pub fn id(&self) -> &SpiffeId {
        self.leaf.id()
    }

    /// The certificates, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    pub fn key(&self) -> &SvidKey {
        &self.key
    }

    /// When it began; [`CERTIFICATE_BACKDATED`](crate::limits::CERTIFICATE_BACKDATED) before it was made.
    pub fn not_before(&self) -> SystemTime {
        self.leaf.not_before()
    }

    /// When it ends.
    pub fn not_after(&self) -> SystemTime {
        self.leaf.not_after()
    }

    /// The serial number: lower-case hexadecimal without leading zeros.
    pub fn serial(&self) -> &str {
        self.leaf.serial()
    }

    /// For the TLS library.
    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}
