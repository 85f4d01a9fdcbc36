//! Getting a certificate: with a join token the first time, with the key that is held every time after.
//!
//! The key is made here for each certificate and never leaves. What the control plane says the certificate to be is checked
//! before anything is kept: it must be for the part that was asked for, of the key that was made, and vouched for by
//! the bundle that came with it; and that bundle must hold the root that was trusted before.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_identity::enrolment::{self, Trusted};
use meshgate_identity::manifest::SnapshotPublicKey;
use meshgate_identity::{JoinToken, Svid, SvidKey, TrustBundle};
use meshgate_model::{Part, SpiffeId, TrustDomain};
use meshgate_sync::proto;
use meshgate_sync::proto::enrol_request::Proof;
use meshgate_sync::proto::enrolment_client::EnrolmentClient;
use rustls::pki_types::CertificateDer;
use thiserror::Error;
use tokio::time::timeout;
use tonic::Code;

use super::channel::{self, ChannelError};

/// How long the control plane may take to sign.
const ENROL_TIME: Duration = Duration::from_secs(20);

/// What an enrolment gives.
#[derive(Debug)]
pub(super) struct Enrolled {
    /// The certificate with its key.
    pub(super) svid: Svid,
    /// Whom to trust.
    pub(super) bundle: TrustBundle,
    /// The epoch of the control plane; none lower is taken from now on.
    pub(super) epoch: u64,
}

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum EnrolError {
    /// The control plane was not reached.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// It refuses.
    #[error("the control plane refuses: {0}")]
    Refused(String),
    /// It cannot at the moment.
    #[error("the control plane cannot sign now: {0}")]
    Unavailable(String),
    /// What it gave is wrong.
    #[error("what the control plane gave cannot be used: {0}")]
    Unusable(String),
    /// The key or the request could not be made.
    #[error("the request for a certificate cannot be made: {0}")]
    Request(String),
}

impl EnrolError {
    /// Whether trying again with the same proof cannot help.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Enrols with a join token, which works once.
///
/// # Errors
/// When no certificate for the part came of it.
pub(super) async fn with_token(control: &str, part: &Part, token: &JoinToken) -> Result<Enrolled, EnrolError> {
    // Until it is told, a part does not know its mesh; the one who signs reads nothing of the request but the key.
    let id = TrustDomain::of_mesh("joining").id(part.clone());
    let id = id.map_err(|error| EnrolError::Request(error.to_string()))?;
    let key = SvidKey::generate().map_err(request)?;
    let csr = key.csr(&id).map_err(request)?;
    let proof = Proof::JoinToken(token.expose().to_string());
    let reply = ask(control, &Trusted::Root(*token.root()), proof, csr).await?;
    let enrolled = enrolled(key, reply)?;
    if !enrolled.bundle.has_root(token.root()) {
        return Err(EnrolError::Unusable(
            "its bundle lacks the root that the join token names".into(),
        ));
    }
    check_part(&enrolled.svid, part)?;
    Ok(enrolled)
}

/// Renews with the key that is held, also for a certificate that has ended.
///
/// # Errors
/// When no certificate for the same identity came of it.
pub(super) async fn with_held(control: &str, held: &Svid, bundle: &Arc<TrustBundle>) -> Result<Enrolled, EnrolError> {
    let id: &SpiffeId = held.id();
    let key = SvidKey::generate().map_err(request)?;
    let csr = key.csr(id).map_err(request)?;
    let signature = enrolment::prove_held(held, &csr).map_err(request)?;
    let proof = Proof::Held(proto::HeldIdentity {
        chain: held
            .chain()
            .iter()
            .map(|certificate| certificate.to_vec().into())
            .collect(),
        signature: signature.into(),
    });
    let reply = ask(control, &Trusted::Bundle(bundle.clone()), proof, csr).await?;
    let enrolled = enrolled(key, reply)?;
    if enrolled.svid.id() != id {
        return Err(EnrolError::Unusable(format!(
            "it is for `{}`, not for `{id}`",
            enrolled.svid.id()
        )));
    }
    Ok(enrolled)
}

fn request(error: impl std::fmt::Display) -> EnrolError {
    EnrolError::Request(error.to_string())
}

async fn ask(control: &str, trusted: &Trusted, proof: Proof, csr: Vec<u8>) -> Result<proto::EnrolReply, EnrolError> {
    let config = enrolment::client_config(trusted).map_err(request)?;
    let (channel, _) = channel::open(control, config).await?;
    let request = proto::EnrolRequest {
        proof: Some(proof),
        csr: csr.into(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut client = EnrolmentClient::new(channel);
    let asked = timeout(ENROL_TIME, client.enrol(request)).await;
    let reply = asked.map_err(|_| EnrolError::Unavailable(format!("no answer within {} s", ENROL_TIME.as_secs())))?;
    reply.map(tonic::Response::into_inner).map_err(|status| {
        let why = status.message().to_owned();
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument | Code::FailedPrecondition => {
                EnrolError::Refused(why)
            }
            _ => EnrolError::Unavailable(format!("{why} ({})", status.code())),
        }
    })
}

fn enrolled(key: SvidKey, reply: proto::EnrolReply) -> Result<Enrolled, EnrolError> {
    let unusable = |error: &dyn std::fmt::Display| EnrolError::Unusable(error.to_string());
    let chain = reply.chain.into_iter().map(|der| CertificateDer::from(der.to_vec()));
    let svid = Svid::new(key, chain.collect()).map_err(|error| unusable(&error))?;
    let told = reply
        .trust_bundle
        .ok_or_else(|| unusable(&"it came without a trust bundle"))?;
    let bundle = bundle(&told).map_err(|error| unusable(&error))?;
    bundle
        .vouches_for(svid.chain(), SystemTime::now())
        .map_err(|error| unusable(&error))?;
    Ok(Enrolled {
        svid,
        bundle,
        epoch: reply.epoch,
    })
}

fn bundle(told: &proto::TrustBundle) -> Result<TrustBundle, String> {
    let domain: TrustDomain = told
        .trust_domain
        .parse()
        .map_err(|error: meshgate_model::SpiffeError| error.to_string())?;
    let roots = told
        .roots
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect();
    let keys: Result<Vec<_>, _> = told
        .snapshot_keys
        .iter()
        .map(|key| SnapshotPublicKey::from_bytes(key))
        .collect();
    let keys = keys.map_err(|error| error.to_string())?;
    TrustBundle::new(domain, roots, keys).map_err(|error| error.to_string())
}

fn check_part(svid: &Svid, part: &Part) -> Result<(), EnrolError> {
    if svid.id().part() == part {
        return Ok(());
    }
    Err(EnrolError::Unusable(format!(
        "the join token is for `{}`, and this is `{part}`",
        svid.id().part()
    )))
}
