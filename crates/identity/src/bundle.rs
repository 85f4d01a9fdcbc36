//! Trust bundles: the roots of a mesh, and the keys that sign its snapshots.
//!
//! A bundle belongs to one trust domain: its roots vouch for names in that domain and for nothing else, whatever they sign.
//! It travels by itself and not with certificates, so that a new root is known everywhere before anything is signed by it.
//!
//! The constraint of names is enforced here and not by the extension of the same name in an intermediate: the path
//! validation beneath refuses *every* URI under a constraint of URIs, because it cannot compare them (it fails closed). An
//! intermediate may forbid names of hosts and addresses by that extension, which is understood and enforced.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{SHA256, digest};
use meshgate_model::TrustDomain;
use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::leaf::{LeafError, Peer, Side};
use crate::limits::{BUNDLE_ROOTS_MAX, BUNDLE_SNAPSHOT_KEYS_MAX, CERTIFICATE_BYTES_MAX, CHAIN_CERTIFICATES_MAX};
use crate::manifest::SnapshotPublicKey;
use crate::{tls, verify};

#[cfg(test)]
mod tests;

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No root: nobody could be trusted.
    #[error("a trust bundle needs at least one root")]
    Empty,
    /// Too many roots.
    #[error("a trust bundle of {0} roots is over the limit of {BUNDLE_ROOTS_MAX}")]
    Roots(usize),
    /// Too many keys.
    #[error("a trust bundle of {0} snapshot keys is over the limit of {BUNDLE_SNAPSHOT_KEYS_MAX}")]
    Keys(usize),
    /// A root is no certificate.
    #[error("root {index} of the trust bundle cannot be used: {cause}")]
    Root {
        /// Which, from 0.
        index: usize,
        /// What the TLS library said.
        cause: rustls::Error,
    },
}

/// Why a chain is not taken for that of a part of this mesh.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrustError {
    /// The first certificate is none of a part of a mesh.
    #[error(transparent)]
    Leaf(#[from] LeafError),
    /// It names a part of another mesh.
    #[error("the certificate names a part of the trust domain `{0}`, which is not this one")]
    Domain(String),
    /// Nobody of the bundle signed it, or not for this time.
    #[error("the chain is not vouched for: {0}")]
    Chain(rustls::Error),
    /// Too many certificates.
    #[error("{0} certificates beside the first are over the limit of {CHAIN_CERTIFICATES_MAX}")]
    TooLong(usize),
}

/// The roots of one trust domain and the keys that may sign its snapshots.
#[derive(Debug)]
pub struct TrustBundle {
    domain: TrustDomain,
    roots: Vec<CertificateDer<'static>>,
    snapshot_keys: Vec<SnapshotPublicKey>,
    anchors: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl TrustBundle {
    /// A bundle of these roots (certificates in DER) and keys.
    ///
    /// # Errors
    /// When there is no root, when there are too many, or one is no certificate.
    pub fn new(
        domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
        snapshot_keys: Vec<SnapshotPublicKey>,
    ) -> Result<Self, BundleError> {
        if roots.is_empty() {
            return Err(BundleError::Empty);
        }
        if roots.len() > BUNDLE_ROOTS_MAX {
            return Err(BundleError::Roots(roots.len()));
        }
        if snapshot_keys.len() > BUNDLE_SNAPSHOT_KEYS_MAX {
            return Err(BundleError::Keys(snapshot_keys.len()));
        }
        let mut anchors = RootCertStore::empty();
        for (index, root) in roots.iter().enumerate() {
            let refused = |cause| BundleError::Root { index, cause };
            if root.len() > CERTIFICATE_BYTES_MAX {
                return Err(refused(rustls::CertificateError::BadEncoding.into()));
            }
            anchors.add(root.clone()).map_err(refused)?;
        }
        let anchors = Arc::new(anchors);
        let provider = tls::provider();
        let algorithms = provider.signature_verification_algorithms;
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&anchors), provider)
            .build()
            .map_err(|_| BundleError::Empty)?;
        Ok(Self {
            domain,
            roots,
            snapshot_keys,
            anchors,
            clients,
            algorithms,
        })
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The roots, certificates in DER.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The keys that may sign snapshots.
    pub fn snapshot_keys(&self) -> &[SnapshotPublicKey] {
        &self.snapshot_keys
    }

    /// Whether one of the roots has this SHA-256, as a join token names it.
    pub fn has_root(&self, sha256: &[u8; 32]) -> bool {
        self.roots.iter().any(|root| root_digest(root) == *sha256)
    }

    /// Who a chain (leaf first) names, when this bundle vouches for it at the time `at`, for both ends of a connection.
    ///
    /// # Errors
    /// When it does not.
    pub fn vouches_for(&self, chain: &[CertificateDer<'_>], at: SystemTime) -> Result<Peer, TrustError> {
        let (leaf, others) = chain.split_first().ok_or(LeafError::Missing)?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(since);
        self.verify(Side::Server, leaf, others, now)?;
        self.verify(Side::Client, leaf, others, now)
    }

    /// Who a chain names, for one end of a connection.
    pub(crate) fn verify(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, TrustError> {
        // The order is that of effort: what is read before the signatures are checked is only believed after.
        if others.len() > CHAIN_CERTIFICATES_MAX {
            return Err(TrustError::TooLong(others.len()));
        }
        let peer = Peer::read_for(side, leaf)?;
        if *peer.id().trust_domain() != self.domain {
            return Err(TrustError::Domain(peer.id().trust_domain().as_str().to_owned()));
        }
        match side {
            Side::Server => verify::chain_of_server(&self.anchors, leaf, others, now, &self.algorithms),
            Side::Client => self.clients.verify_client_cert(leaf, others, now).map(drop),
        }
        .map_err(TrustError::Chain)?;
        Ok(peer)
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        (&self.domain, &self.roots, &self.snapshot_keys) == (&other.domain, &other.roots, &other.snapshot_keys)
    }
}

impl Eq for TrustBundle {}

/// SHA-256 of a root certificate (DER), as join tokens carry it.
pub fn root_digest(root: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut()
        .zip(digest(&SHA256, root).as_ref())
        .for_each(|(to, from)| *to = *from);
    out
}
