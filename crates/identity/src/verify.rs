//! The two verifiers of the mesh, as the TLS library calls them.
//!
//! Both ask the bundle and the denied list that hold *now*, not those that held when the configuration was made: a
//! configuration may be kept for as long as its holder likes. Neither looks at the name a client asked for: parts of a mesh
//! have no host names.

use std::sync::Arc;

use arc_swap::ArcSwap;
use meshgate_model::SpiffeId;
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, OtherError, RootCertStore};
use tokio::sync::watch;

use crate::bundle::{TrustBundle, TrustError};
use crate::denied::Denied;
use crate::identity::{Admit, Expect};
use crate::leaf::Side;

/// What a verifier says of signatures, for either side of a handshake: the TLS library asks both sides for the same, by traits
/// that have nothing in common. Keys of the mesh are P-256 and sign with SHA-256; nothing else is offered. About TLS 1.2
/// nobody asks, because no configuration of the mesh speaks it.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &rustls::pki_types::CertificateDer<'_>,
            _: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General(
                "the mesh does not speak TLS 1.2".to_owned(),
            ))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &rustls::pki_types::CertificateDer<'_>,
            signed: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(message, leaf, signed, &self.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    };
}
pub(crate) use signatures;

/// What both verifiers ask.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) bundle: ArcSwap<TrustBundle>,
    pub(crate) denied: watch::Sender<Arc<Denied>>,
}

/// Why a sound certificate is refused all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error("`{0}` is denied: {1}")]
    Denied(String, String),
    #[error("`{0}` is not who this connection is for")]
    Another(String),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let known = match &refused {
            Refused::Trust(TrustError::Chain(Self::InvalidCertificate(cause))) => Some(cause.clone()),
            Refused::Denied(..) => Some(CertificateError::Revoked),
            _ => None,
        };
        // A known cause becomes the alert that says it; ours are told to nobody but our own log.
        Self::InvalidCertificate(known.unwrap_or_else(|| CertificateError::Other(OtherError(Arc::new(refused)))))
    }
}

impl Trust {
    /// Whether a chain is vouched for, not denied, and of somebody who is meant.
    fn judge(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
        meant: impl FnOnce(&SpiffeId) -> bool,
    ) -> Result<(), Refused> {
        let peer = self.bundle.load().verify(side, leaf, others, now)?;
        if let Some(reason) = self.denied.borrow().reason(&peer) {
            return Err(Refused::Denied(peer.id().to_string(), reason.to_string()));
        }
        if !meant(peer.id()) {
            return Err(Refused::Another(peer.id().to_string()));
        }
        Ok(())
    }
}

/// Judges those who listen.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) trust: Arc<Trust>,
    pub(crate) expect: Expect,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let meant = |id: &SpiffeId| self.expect.meets(id);
        self.trust.judge(Side::Server, leaf, others, now, meant)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// Judges those who connect.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) trust: Arc<Trust>,
    pub(crate) admit: Admit,
    /// Whether one may come without a certificate: to enrol.
    pub(crate) optional: bool,
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let meant = |id: &SpiffeId| self.admit.admits(id);
        self.trust.judge(Side::Client, leaf, others, now, meant)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

/// Checks the chain of one who listens against the roots.
pub(crate) fn chain_of_server(
    anchors: &RootCertStore,
    leaf: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    now: UnixTime,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, anchors, others, now, algorithms.all)
}
