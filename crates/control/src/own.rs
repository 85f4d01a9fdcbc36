//! The control plane is a part of its mesh like any other: it has a certificate, it rotates, it trusts what proxies trust.
//!
//! It signs its own, since it has the authority, and writes it down as it does all others. During a change of roots it is
//! the last to change: a proxy that missed the news still believes who tells it.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use meshgate_identity::bundle::BundleError;
use meshgate_identity::denied::Subject;
use meshgate_identity::identity::IdentityError;
use meshgate_identity::manifest::{SnapshotKeyError, SnapshotPublicKey};
use meshgate_identity::svid::SvidError;
use meshgate_identity::{Denied, Identity, Svid, SvidKey, TrustBundle};
use meshgate_model::{Part, SpiffeError};

use crate::ca::{Authority, AuthorityError, Order, public_key_of};
use crate::denials;
use crate::issuance::{Ledger, Proof, issuance_of};
use crate::keys::Keys;
use crate::registry::Registry;
use crate::store::{Clock, Commit, StoreError};

/// Why the control plane has no identity.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The authority refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The key could not be made or used.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The roots make no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A key of snapshots is none.
    #[error(transparent)]
    Key(#[from] SnapshotKeyError),
    /// The certificate does not fit the bundle.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The trust domain gives no name.
    #[error(transparent)]
    Name(#[from] SpiffeError),
    /// It could not be written down.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More is denied than proxies take.
    #[error(transparent)]
    Denied(#[from] meshgate_identity::denied::TooManyDenied),
}

/// What the control plane's identity is made of.
#[derive(Clone)]
pub struct Sources {
    /// Signs.
    pub authority: Arc<dyn Authority>,
    /// Remembers.
    pub ledger: Arc<Ledger>,
    /// Keys of snapshots.
    pub keys: Arc<Keys>,
    /// Says how long certificates live.
    pub registry: Arc<Registry>,
    /// The time.
    pub clock: Clock,
}

/// The identity of the control plane.
pub struct Own {
    sources: Sources,
    identity: ArcSwap<Identity>,
}

impl Own {
    /// A new certificate, for this start.
    ///
    /// # Errors
    /// When it cannot be signed or written down.
    pub async fn open(sources: Sources) -> Result<Self, OwnError> {
        let identity = made(&sources).await?;
        Ok(Self {
            sources,
            identity: ArcSwap::from_pointee(identity),
        })
    }

    /// As it is now.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Takes a new certificate, under the bundle there is.
    ///
    /// # Errors
    /// As [`open`](Self::open); the old one stays.
    pub async fn renew(&self) -> Result<(), OwnError> {
        let svid = signed(&self.sources).await?;
        self.identity().replace_svid(svid)?;
        Ok(())
    }

    /// Trusts what the authority and the keys say now, and refuses whom the denials name.
    ///
    /// # Errors
    /// When they make no bundle.
    pub fn follow(&self, denied: &[denials::Denied]) -> Result<(), OwnError> {
        let identity = self.identity();
        identity.replace_bundle(bundle(&self.sources)?)?;
        let subject = |one: &denials::Denied| {
            let subject = match one.subject.parse() {
                Ok(id) => Subject::Id(id),
                Err(_) => Subject::Serial(one.subject.as_str().into()),
            };
            (subject, Arc::from(one.reason.as_str()))
        };
        identity.replace_denied(Denied::new(denied.iter().map(subject))?);
        Ok(())
    }

    /// Begins anew, after the authority has for another trust domain.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn begin_anew(&self) -> Result<(), OwnError> {
        self.identity.store(Arc::new(made(&self.sources).await?));
        Ok(())
    }
}

async fn made(sources: &Sources) -> Result<Identity, OwnError> {
    Ok(Identity::new(signed(sources).await?, bundle(sources)?)?)
}

async fn signed(sources: &Sources) -> Result<Svid, OwnError> {
    let id = sources.authority.trust_domain().id(Part::Control)?;
    let key = SvidKey::generate()?;
    let public_key = public_key_of(&key.csr(&id)?)?;
    let now: SystemTime = (sources.clock)();
    let signed = sources.authority.sign(&Order {
        id: &id,
        public_key: &public_key,
        life: sources.registry.current().certificate_life(),
        now,
        own: true,
    })?;
    let issuance = issuance_of(&signed, &id, &public_key, Proof::Own, String::new(), now);
    sources.ledger.record(issuance, Commit::default()).await?;
    let chain = signed.chain.into_iter().map(Into::into).collect();
    Ok(Svid::new(key, chain)?)
}

fn bundle(sources: &Sources) -> Result<TrustBundle, OwnError> {
    let roots = sources.authority.roots().into_iter().map(Into::into).collect();
    let keys = sources.keys.snapshot_keys();
    let keys = keys.iter().map(|key| SnapshotPublicKey::from_bytes(key));
    Ok(TrustBundle::new(
        sources.authority.trust_domain(),
        roots,
        keys.collect::<Result<_, _>>()?,
    )?)
}
