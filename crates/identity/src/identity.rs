//! The identity of one assembly: its SVID, whom it trusts and whom it refuses, each replaceable while connections live.
//!
//! Certificates live for hours and processes for months, so nothing here is fixed at start. A handshake uses what is
//! current at its moment, on both sides; a live connection keeps what it was made with, and ends by its age, or at once when
//! its other end is denied.
//!
//! All of it is TLS 1.3 with a certificate on both sides. No session is resumed and no ticket is given, because a resumed
//! session would skip the question whether its holder is denied by now; no early data, because replayed bytes would run a
//! call twice. There is no switch for any of this.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use meshgate_model::{Part, SpiffeId};
use parking_lot::Mutex;
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, ServerConfig, WantsVerifier};
use tokio::sync::watch;

use crate::bundle::{TrustBundle, TrustError};
use crate::denied::Denied;
use crate::leaf::Peer;
use crate::svid::Svid;
use crate::tls;
use crate::verify::{ClientVerifier, ServerVerifier, Trust};

/// The one protocol that parts of a mesh speak inside TLS.
pub const ALPN: &[u8] = b"h2";

/// Who must be at the other end of a connection that we make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// This part, byte for byte.
    Exactly(SpiffeId),
    /// The control plane of our own mesh.
    Control,
}

impl Expect {
    pub(crate) fn meets(&self, id: &SpiffeId) -> bool {
        match self {
            Self::Exactly(expected) => expected == id,
            Self::Control => *id.part() == Part::Control,
        }
    }
}

/// Who may connect to us at all. What one may then do is decided per request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Any part of our own mesh: the control plane's choice.
    AnyPart,
    /// Gateways of our own mesh: a sidecar's choice.
    Gateways,
    /// This part: a gateway's choice for its own replicas.
    Exactly(SpiffeId),
}

impl Admit {
    pub(crate) fn admits(&self, id: &SpiffeId) -> bool {
        match self {
            Self::AnyPart => true,
            Self::Gateways => matches!(id.part(), Part::Gateway(_)),
            Self::Exactly(admitted) => admitted == id,
        }
    }
}

/// A SVID or bundle that does not fit what is there.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The bundle does not vouch for the SVID.
    #[error("the trust bundle does not vouch for `{id}`: {cause}")]
    NotVouched {
        /// Whose SVID.
        id: String,
        /// Why.
        cause: TrustError,
    },
    /// A new SVID or bundle of somebody else.
    #[error("`{new}` cannot take the place of `{old}`")]
    Another {
        /// What is there.
        old: String,
        /// What was given.
        new: String,
    },
    /// The TLS library has no TLS 1.3.
    #[error("TLS 1.3 is not available: {0}")]
    Tls(#[from] rustls::Error),
}

/// The current SVID, bundle and denied list of one assembly, shared by all its connections.
pub struct Identity {
    svid: Arc<ArcSwap<Svid>>,
    trust: Arc<Trust>,
    changes: watch::Sender<u64>,
    /// One replacement at a time, so that each is checked against what it will stand beside.
    replacing: Mutex<()>,
    algorithms: WebPkiSupportedAlgorithms,
    server: ConfigBuilder<ServerConfig, WantsVerifier>,
    client: ConfigBuilder<ClientConfig, WantsVerifier>,
}

impl Identity {
    /// Takes a SVID and the bundle that vouches for it.
    ///
    /// Times are not looked at: a SVID that has ended is good for nothing but to be renewed, and its peers say so.
    ///
    /// # Errors
    /// When the bundle does not vouch for the SVID.
    pub fn new(svid: Svid, bundle: TrustBundle) -> Result<Self, IdentityError> {
        vouched(&svid, &bundle)?;
        let provider = tls::provider();
        Ok(Self {
            svid: Arc::new(ArcSwap::from_pointee(svid)),
            trust: Arc::new(Trust {
                bundle: ArcSwap::from_pointee(bundle),
                denied: watch::Sender::new(Arc::default()),
            }),
            changes: watch::Sender::new(0),
            replacing: Mutex::new(()),
            algorithms: provider.signature_verification_algorithms,
            server: ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13])?,
            client: client_builder(provider)?,
        })
    }

    /// The SVID that the next handshake shows.
    pub fn current(&self) -> Arc<Svid> {
        self.svid.load_full()
    }

    /// The bundle that the next handshake is judged by.
    pub fn bundle(&self) -> Arc<TrustBundle> {
        self.trust.bundle.load_full()
    }

    /// Whose identity it is; never changes.
    pub fn id(&self) -> SpiffeId {
        self.svid.load().id().clone()
    }

    /// For one connection to be made: the configuration, and the SVID that it shows (whose key signs what travels on it).
    pub fn client_config(&self, expect: &Expect) -> (Arc<ClientConfig>, Arc<Svid>) {
        let svid = self.current();
        let verifier = ServerVerifier {
            trust: Arc::clone(&self.trust),
            expect: expect.clone(),
            algorithms: self.algorithms,
        };
        let shown = SingleCertAndKey::from(Arc::clone(svid.certified()));
        let config = with_verifier(self.client.clone(), verifier).with_client_cert_resolver(Arc::new(shown));
        (Arc::new(sealed_client(config)), svid)
    }

    /// For a listener: every client shows a SVID, and only those of `admit` are let in. May be kept: each handshake uses what
    /// is current.
    pub fn acceptor_config(&self, admit: Admit) -> Arc<ServerConfig> {
        self.listening(admit, false)
    }

    /// For the listener of the control plane: a client may come without a certificate, to get one; who shows one is judged as
    /// ever. Its chain includes the roots, so that a join token can name one of them.
    pub fn enrolment_acceptor_config(&self) -> Arc<ServerConfig> {
        self.listening(Admit::AnyPart, true)
    }

    fn listening(&self, admit: Admit, enrolment: bool) -> Arc<ServerConfig> {
        let verifier = ClientVerifier {
            trust: Arc::clone(&self.trust),
            admit,
            optional: enrolment,
            algorithms: self.algorithms,
        };
        let mut config = self
            .server
            .clone()
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(Shown {
                svid: Arc::clone(&self.svid),
                roots_of: enrolment.then(|| Arc::clone(&self.trust)),
            }));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        Arc::new(config)
    }

    /// A number that grows with every replacement, for those who follow them.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Who is denied, and every change of it.
    pub fn denied(&self) -> watch::Receiver<Arc<Denied>> {
        self.trust.denied.subscribe()
    }

    /// Waits until a peer is denied and returns the reason; at once when it is already. For the one who serves a connection:
    /// when this is done before the connection is, the connection is cut.
    pub async fn until_denied(&self, peer: &Peer) -> Arc<str> {
        let mut denied = self.denied();
        loop {
            if let Some(reason) = denied.borrow_and_update().reason(peer) {
                return Arc::clone(reason);
            }
            if denied.changed().await.is_err() {
                return Arc::from("the identity is gone");
            }
        }
    }

    /// Puts a new SVID in the place of the current one; the next handshake shows it.
    ///
    /// # Errors
    /// When it is somebody else's, or the bundle does not vouch for it: then the current one stays.
    pub fn replace_svid(&self, svid: Svid) -> Result<(), IdentityError> {
        let _one = self.replacing.lock();
        let old = self.id();
        if *svid.id() != old {
            return Err(IdentityError::Another {
                old: old.to_string(),
                new: svid.id().to_string(),
            });
        }
        vouched(&svid, &self.trust.bundle.load())?;
        self.svid.store(Arc::new(svid));
        self.changed();
        Ok(())
    }

    /// Puts a new bundle in the place of the current one. Returns whether it vouches for the current SVID: when it does not,
    /// its root is retired, nobody takes the SVID any more, and a new one is due at once.
    ///
    /// # Errors
    /// When it is that of another trust domain: then the current one stays.
    pub fn replace_bundle(&self, bundle: TrustBundle) -> Result<bool, IdentityError> {
        let _one = self.replacing.lock();
        let old = self.bundle();
        if bundle.trust_domain() != old.trust_domain() {
            return Err(IdentityError::Another {
                old: old.trust_domain().to_string(),
                new: bundle.trust_domain().to_string(),
            });
        }
        let vouches = vouched(&self.svid.load(), &bundle).is_ok();
        self.trust.bundle.store(Arc::new(bundle));
        self.changed();
        Ok(vouches)
    }

    /// Puts a new list of denied identities in the place of the current one. Handshakes ask it from now on, and those who wait
    /// in [`until_denied`](Self::until_denied) are woken.
    pub fn replace_denied(&self, denied: Denied) {
        let _one = self.replacing.lock();
        self.trust.denied.send_replace(Arc::new(denied));
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// The name that TLS wants of a server. Parts of a mesh have none; it is neither sent nor compared.
pub fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

/// Whether a bundle vouches for a SVID while it lives.
fn vouched(svid: &Svid, bundle: &TrustBundle) -> Result<(), IdentityError> {
    match bundle.vouches_for(svid.chain(), svid.not_after()) {
        Ok(_) => Ok(()),
        Err(cause) => Err(IdentityError::NotVouched {
            id: svid.id().to_string(),
            cause,
        }),
    }
}

pub(crate) fn client_builder(
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])
}

pub(crate) fn with_verifier(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    verifier: impl rustls::client::danger::ServerCertVerifier + 'static,
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
}

/// What every client configuration of the mesh has in common.
pub(crate) fn sealed_client(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    config
}

/// Shows the SVID of the moment.
#[derive(Debug)]
struct Shown {
    svid: Arc<ArcSwap<Svid>>,
    /// Where the roots are that are shown behind the chain, when they are.
    roots_of: Option<Arc<Trust>>,
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let svid = self.svid.load();
        let Some(trust) = &self.roots_of else {
            return Some(Arc::clone(svid.certified()));
        };
        let mut chain = svid.chain().to_vec();
        chain.extend(trust.bundle.load().roots().iter().cloned());
        Some(Arc::new(CertifiedKey::new(chain, Arc::clone(&svid.certified().key))))
    }
}
