//! The way in for a part that has no SVID yet, or one that has ended.
//!
//! Who enrols has nothing to show, but it must know whom it tells its secret to. Either it holds a bundle from before, or its
//! join token names a root by its SHA-256: then the control plane shows that root in its chain, and nothing is believed but
//! what that root signed (as a fingerprint of an SSH host, and not as trust on first use).
//!
//! A part whose SVID has ended cannot show it in a handshake. It proves that it still holds the key: it signs the new request
//! with it, and sends the old chain along. That is judged as of the chain's own time, for 30 days after its end, and never
//! for one that is denied.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use meshgate_model::Part;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, Error, OtherError};
use tokio::sync::watch;

use crate::bundle::{TrustBundle, TrustError, root_digest};
use crate::denied::Denied;
use crate::identity::{Expect, client_builder, sealed_client, with_verifier};
use crate::leaf::{LeafError, Peer, Side};
use crate::limits::HELD_RENEWAL;
use crate::svid::{Svid, SvidError};
use crate::tls;
use crate::verify::{ServerVerifier, Trust, signatures};

#[cfg(test)]
mod tests;

/// Whom a part that enrols believes.
#[derive(Clone, Debug)]
pub enum Trusted {
    /// The control plane that a bundle from before vouches for.
    Bundle(Arc<TrustBundle>),
    /// The control plane under the root with this SHA-256, as a join token names it.
    Root([u8; 32]),
}

/// For one connection to the control plane without a certificate of our own.
///
/// # Errors
/// When the TLS library has no TLS 1.3.
pub fn client_config(trusted: &Trusted) -> Result<Arc<ClientConfig>, Error> {
    let provider = tls::provider();
    let algorithms = provider.signature_verification_algorithms;
    let builder = client_builder(provider)?;
    let builder = match trusted {
        Trusted::Root(pin) => with_verifier(builder, PinVerifier { pin: *pin, algorithms }),
        Trusted::Bundle(bundle) => {
            let verifier = ServerVerifier {
                trust: Arc::new(Trust {
                    bundle: ArcSwap::new(Arc::clone(bundle)),
                    denied: watch::Sender::new(Arc::default()),
                }),
                expect: Expect::Control,
                algorithms,
            };
            with_verifier(builder, verifier)
        }
    };
    Ok(Arc::new(sealed_client(builder.with_no_client_auth())))
}

/// Judges the control plane by one root that it shows itself.
#[derive(Debug)]
struct PinVerifier {
    pin: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

/// Why a control plane is not taken for the one that a join token names.
#[derive(Debug, thiserror::Error)]
enum PinError {
    #[error("the control plane does not show the root that the join token names")]
    NotShown,
    #[error("`{0}` is not a control plane")]
    NotControl(String),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
}

impl PinVerifier {
    fn judge(&self, leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>], now: UnixTime) -> Result<(), PinError> {
        let root = others.iter().find(|other| root_digest(other) == self.pin);
        let root = root.ok_or(PinError::NotShown)?.clone().into_owned();
        // The token names the root, and with it the mesh: whatever domain the root vouches for is the right one.
        let named = Peer::read_for(Side::Server, leaf).map_err(TrustError::Leaf)?;
        let bundle = TrustBundle::new(named.id().trust_domain().clone(), vec![root], Vec::new())?;
        let peer = bundle.verify(Side::Server, leaf, others, now)?;
        if *peer.id().part() != Part::Control {
            return Err(PinError::NotControl(peer.id().to_string()));
        }
        Ok(())
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.judge(leaf, others, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(cause) => Err(CertificateError::Other(OtherError(Arc::new(cause))).into()),
        }
    }

    signatures!();
}

/// What is signed, and by nothing else that this key signs, to prove that the key of an old SVID is still held.
const HELD_LABEL: &[u8] = b"meshgate renewal by a held key 1\0";

/// Why a held SVID does not get its holder a new one.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// The bundle does not vouch for the old chain.
    #[error("the old certificate is not vouched for: {0}")]
    Trust(#[from] TrustError),
    /// It ended too long ago, or has not begun.
    #[error("the old certificate ended more than 30 days ago or has not begun; enrol with a new join token")]
    Time,
    /// The request is not signed by the old key.
    #[error("the request is not signed by the key of the old certificate")]
    Signature,
    /// The old identity is denied.
    #[error("`{0}` is denied: {1}")]
    Denied(String, String),
}

/// Signs a request for a new certificate with the key of the old one.
///
/// # Errors
/// When the cipher failed.
pub fn prove_held(old: &Svid, csr: &[u8]) -> Result<Vec<u8>, SvidError> {
    old.key().sign_fixed(&held_message(csr))
}

/// Who may have a new certificate for the key in `csr`, by the proof that [`prove_held`] gave: the part that the old chain
/// names, when the bundle vouches for that chain as of its own time and it ended no more than 30 days before `now`.
///
/// # Errors
/// When the proof does not hold.
pub fn verify_held(
    chain: &[CertificateDer<'_>],
    csr: &[u8],
    signature: &[u8],
    bundle: &TrustBundle,
    denied: &Denied,
    now: SystemTime,
) -> Result<Peer, HeldError> {
    let first = chain.first().ok_or(TrustError::Leaf(LeafError::Missing))?;
    let claimed = Peer::read(first).map_err(TrustError::Leaf)?;
    let over = now.duration_since(claimed.not_after()).unwrap_or_default();
    if over > HELD_RENEWAL || now < claimed.not_before() {
        return Err(HeldError::Time);
    }
    let peer = bundle.vouches_for(chain, now.min(claimed.not_after()))?;
    if let Some(reason) = denied.reason(&peer) {
        return Err(HeldError::Denied(peer.id().to_string(), reason.to_string()));
    }
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, peer.public_key())
        .verify(&held_message(csr), signature)
        .map_err(|_| HeldError::Signature)?;
    Ok(peer)
}

fn held_message(csr: &[u8]) -> Vec<u8> {
    [HELD_LABEL, csr].concat()
}
