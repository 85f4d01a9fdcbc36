//! The two verifiers of the mesh, as the TLS library calls them.
//!
//! Both ask the bundle and the denied list that hold *now*, not those that held when the configuration was made: a
//! configuration may be kept for as long as its holder likes. Neither looks at the name a client asked for: parts of a mesh
//! have no host names.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme,
};
use tokio::sync::watch;

use crate::bundle::{TrustBundle, TrustError};
use crate::denied::Denied;
use crate::identity::{Admit, Expect};
use crate::leaf::{Peer, Side};

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
    fn judge(
        &self,
        side: Side,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, Refused> {
        let peer = self.bundle.load().verify(side, leaf, others, now)?;
        if let Some(reason) = self.denied.borrow().reason(&peer) {
            return Err(Refused::Denied(peer.id().to_string(), reason.to_string()));
        }
        Ok(peer)
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
        let peer = self.trust.judge(Side::Server, leaf, others, now)?;
        if !self.expect.meets(peer.id()) {
            return Err(Refused::Another(peer.id().to_string()).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
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
        let peer = self.trust.judge(Side::Client, leaf, others, now)?;
        if !self.admit.admits(peer.id()) {
            return Err(Refused::Another(peer.id().to_string()).into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
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

/// Keys of the mesh are P-256 and sign with SHA-256; nothing else is offered.
pub(crate) fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ECDSA_NISTP256_SHA256]
}

/// Never asked: no configuration of the mesh speaks TLS 1.2.
pub(crate) fn tls12() -> Error {
    Error::General("the mesh does not speak TLS 1.2".to_owned())
}
