//! The authority that comes with the program: a root, an intermediate that does the daily work, and the change of roots.
//!
//! The root's key is sealed in the store and opened only to sign an intermediate, once in some days. Roots change in three
//! steps, because proxies that do not know a root yet would refuse each other: the new root is *distributed* beside the old
//! one; when every proxy has said that it has both, it *signs*, and the old one is only trusted; when nothing that the old
//! one signed is in use any more, it is *retired*. What is in which step is in the store, so a control plane that is
//! restarted in the middle goes on where it was.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshgate_model::TrustDomain;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::certificate::{self, Signer};
use super::{Authority, AuthorityError, Order, Signed};
use crate::limits::{INTERMEDIATE_LIFE, ROOT_LIFE};
use crate::seal::Seal;
use crate::store::{self, Commit, Compare, Revision, Store, StoreError, from_unix_ms, unix_ms};

const KEY: &str = "ca/state";
const LABEL_ROOT: &str = "ca/root";
const LABEL_INTERMEDIATE: &str = "ca/intermediate";

/// In which step the change of roots is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The new root is trusted and signs nothing yet.
    Distributing,
    /// The new root signs; the old one is still trusted.
    Signing,
}

/// A change of roots that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The step.
    pub phase: Phase,
    /// SHA-256 of the new root.
    pub to: [u8; 32],
    /// Since when it is in this step.
    pub since: SystemTime,
}

/// The authority that comes with the program.
pub struct BuiltIn {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    state: RwLock<State>,
    /// Held by the one change that runs.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    domain: TrustDomain,
    kept: Kept,
    revision: Revision,
    intermediate: Arc<Signer>,
    /// What signs for the control plane itself.
    own: Arc<Signer>,
}

/// As it is in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    trust_domain: String,
    /// The one that signs first.
    roots: Vec<KeptSigner>,
    intermediate: KeptSigner,
    /// Under the old root, while the new one signs: for the control plane's own certificate.
    old_intermediate: Option<KeptSigner>,
    rotation: Option<KeptRotation>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptSigner {
    certificate: String,
    sealed_key: String,
    not_after_ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct KeptRotation {
    phase: Phase,
    to: String,
    since_ms: u64,
}

impl BuiltIn {
    /// The authority of a store; where the store has none, a new one for `domain`, which otherwise is that of the store.
    ///
    /// # Errors
    /// When the store fails or its keys do not open.
    pub async fn open(
        store: Arc<dyn Store>,
        seal: Arc<Seal>,
        domain: &TrustDomain,
        life: Duration,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let found = store.get(KEY).await?;
        let (kept, revision) = match found {
            Some(record) => (store::json(&record)?, record.revision),
            None => {
                let kept = fresh(&seal, domain, life, now)?;
                let write = store::put(KEY, &kept)?;
                let revision = store
                    .commit(Commit::new([Compare::Absent(KEY.into())], [write]))
                    .await?;
                (kept, revision)
            }
        };
        let state = State::of(&seal, kept, revision)?;
        Ok(Self {
            store,
            seal,
            state: RwLock::new(state),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// Begins anew for another trust domain. Whoever has a certificate of the old one is no part of the mesh any more, so
    /// the caller has made sure that nobody has.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_anew(
        &self,
        domain: &TrustDomain,
        life: Duration,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let kept = fresh(&self.seal, domain, life, now)?;
        self.keep(kept).await
    }

    /// Makes a new intermediate when the one there is has lived half its life, or could not cover a leaf of `life` twice.
    /// Answers whether it did.
    ///
    /// # Errors
    /// When the root's key does not open, or the store fails.
    pub async fn renew(&self, life: Duration, now: SystemTime) -> Result<bool, AuthorityError> {
        let _turn = self.turn.lock().await;
        let (mut kept, not_after) = {
            let state = self.state.read();
            (state.kept.clone(), state.intermediate.not_after)
        };
        let left = not_after.duration_since(now).unwrap_or_default();
        if left > intermediate_life(life) / 2 {
            return Ok(false);
        }
        kept.intermediate = self.intermediate_under_first(&kept, life, now)?;
        self.keep(kept).await?;
        Ok(true)
    }

    /// Makes a new intermediate whatever the age of the one there is: what is signed from now on hangs on a new key.
    ///
    /// # Errors
    /// As [`renew`](Self::renew).
    pub async fn replace_intermediate(&self, life: Duration, now: SystemTime) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let mut kept = self.state.read().kept.clone();
        kept.intermediate = self.intermediate_under_first(&kept, life, now)?;
        self.keep(kept).await
    }

    /// Until when the intermediate that signs is good.
    pub fn intermediate_ends(&self) -> SystemTime {
        self.state.read().intermediate.not_after
    }

    /// Waits until the change that runs is done: what was committed is what is answered then.
    pub(crate) async fn settled(&self) {
        let _turn = self.turn.lock().await;
    }

    /// The change of roots that is under way.
    pub fn rotation(&self) -> Option<Rotation> {
        let state = self.state.read();
        let rotation = state.kept.rotation.as_ref()?;
        Some(Rotation {
            phase: rotation.phase,
            to: digest_of_text(&rotation.to)?,
            since: from_unix_ms(rotation.since_ms),
        })
    }

    /// First step: a new root that is to be trusted from now on.
    ///
    /// # Errors
    /// When a change is under way already.
    pub async fn begin_rotation(&self, now: SystemTime) -> Result<Rotation, AuthorityError> {
        let _turn = self.turn.lock().await;
        let (mut kept, domain) = {
            let state = self.state.read();
            (state.kept.clone(), state.domain.clone())
        };
        if kept.rotation.is_some() {
            return Err(AuthorityError::Phase(
                "a change of roots is under way already; `status` shows what it waits for",
            ));
        }
        let root = certificate::root(&domain, ROOT_LIFE, now)?;
        let to = certificate::sha256(&root.certificate);
        kept.roots.push(self.sealed(LABEL_ROOT, &root)?);
        kept.rotation = Some(KeptRotation {
            phase: Phase::Distributing,
            to: text_of_digest(&to),
            since_ms: unix_ms(now),
        });
        self.keep(kept).await?;
        Ok(Rotation {
            phase: Phase::Distributing,
            to,
            since: now,
        })
    }

    /// Second step, once every proxy trusts the new root: it signs from now on.
    ///
    /// # Errors
    /// When no root is being distributed.
    pub async fn promote(&self, life: Duration, now: SystemTime) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let mut kept = self.state.read().kept.clone();
        let rotation = kept.rotation.as_mut().filter(|r| r.phase == Phase::Distributing);
        let Some(rotation) = rotation else {
            return Err(AuthorityError::Phase("no new root is being distributed"));
        };
        rotation.phase = Phase::Signing;
        rotation.since_ms = unix_ms(now);
        // A fresh one, because the change may take as long as a leaf lives.
        kept.old_intermediate = Some(self.intermediate_under_first(&kept, life, now)?);
        kept.roots.rotate_right(1);
        kept.intermediate = self.intermediate_under_first(&kept, life, now)?;
        self.keep(kept).await
    }

    /// Third step, once nothing that it signed is in use: the old root is trusted no more, and its key is gone.
    ///
    /// # Errors
    /// When the new root does not sign yet.
    pub async fn retire(&self) -> Result<(), AuthorityError> {
        let _turn = self.turn.lock().await;
        let mut kept = self.state.read().kept.clone();
        if kept.rotation.as_ref().is_none_or(|r| r.phase != Phase::Signing) {
            return Err(AuthorityError::Phase("the new root does not sign yet"));
        }
        kept.roots.truncate(1);
        kept.old_intermediate = None;
        kept.rotation = None;
        self.keep(kept).await
    }

    fn intermediate_under_first(
        &self,
        kept: &Kept,
        life: Duration,
        now: SystemTime,
    ) -> Result<KeptSigner, AuthorityError> {
        let domain = self.state.read().domain.clone();
        let first = kept.roots.first().ok_or(AuthorityError::Phase("there is no root"))?;
        let root = opened(&self.seal, LABEL_ROOT, first)?;
        let made = certificate::intermediate(&domain, &root, intermediate_life(life), now)?;
        self.sealed(LABEL_INTERMEDIATE, &made)
    }

    fn sealed(&self, label: &str, signer: &Signer) -> Result<KeptSigner, AuthorityError> {
        sealed(&self.seal, label, signer)
    }

    async fn keep(&self, kept: Kept) -> Result<(), AuthorityError> {
        let revision = self.state.read().revision;
        let write = store::put(KEY, &kept)?;
        let compare = Compare::At(KEY.into(), revision);
        let revision = self.store.commit(Commit::new([compare], [write])).await?;
        let state = State::of(&self.seal, kept, revision)?;
        *self.state.write() = state;
        Ok(())
    }
}

impl Authority for BuiltIn {
    fn trust_domain(&self) -> TrustDomain {
        self.state.read().domain.clone()
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        let state = self.state.read();
        let roots = state.kept.roots.iter();
        roots
            .filter_map(|root| STANDARD.decode(&root.certificate).ok())
            .collect()
    }

    fn own_root(&self) -> Vec<u8> {
        self.state.read().root(true)
    }

    fn sign(&self, order: &Order<'_>) -> Result<Signed, AuthorityError> {
        let (domain, intermediate, root) = {
            let state = self.state.read();
            let signer = if order.own { &state.own } else { &state.intermediate };
            (state.domain.clone(), signer.clone(), state.root(order.own))
        };
        if *order.id.trust_domain() != domain {
            return Err(AuthorityError::Domain {
                id: order.id.to_string(),
                domain: domain.to_string(),
            });
        }
        let (leaf, serial, not_after) =
            certificate::leaf(order.id, order.public_key, &intermediate, order.life, order.now)?;
        Ok(Signed {
            chain: vec![leaf, intermediate.certificate.clone()],
            serial,
            not_before: order.now - crate::limits::BACKDATED,
            not_after,
            root: certificate::sha256(&root),
        })
    }
}

impl State {
    fn of(seal: &Seal, kept: Kept, revision: Revision) -> Result<Self, AuthorityError> {
        let domain = kept.trust_domain.parse().map_err(|_| StoreError::Damaged {
            what: "the trust domain of the authority is none".to_owned(),
        })?;
        let intermediate = Arc::new(opened(seal, LABEL_INTERMEDIATE, &kept.intermediate)?);
        let own = match &kept.old_intermediate {
            Some(old) => Arc::new(opened(seal, LABEL_INTERMEDIATE, old)?),
            None => intermediate.clone(),
        };
        Ok(Self {
            domain,
            kept,
            revision,
            intermediate,
            own,
        })
    }

    /// The root (DER) that the next certificate hangs on; the second of two, while the new one signs, for our own.
    fn root(&self, own: bool) -> Vec<u8> {
        let at = usize::from(own && self.kept.old_intermediate.is_some());
        let root = self.kept.roots.get(at);
        root.and_then(|root| STANDARD.decode(&root.certificate).ok())
            .unwrap_or_default()
    }
}

/// An intermediate ships with its leaves, so it lives thrice as long as one.
fn intermediate_life(leaf: Duration) -> Duration {
    INTERMEDIATE_LIFE.max(leaf * 3)
}

fn fresh(seal: &Seal, domain: &TrustDomain, life: Duration, now: SystemTime) -> Result<Kept, AuthorityError> {
    let root = certificate::root(domain, ROOT_LIFE, now)?;
    let intermediate = certificate::intermediate(domain, &root, intermediate_life(life), now)?;
    Ok(Kept {
        trust_domain: domain.to_string(),
        roots: vec![sealed(seal, LABEL_ROOT, &root)?],
        intermediate: sealed(seal, LABEL_INTERMEDIATE, &intermediate)?,
        old_intermediate: None,
        rotation: None,
    })
}

fn sealed(seal: &Seal, label: &str, signer: &Signer) -> Result<KeptSigner, AuthorityError> {
    Ok(KeptSigner {
        certificate: STANDARD.encode(&signer.certificate),
        sealed_key: STANDARD.encode(seal.seal(label, &signer.key)?),
        not_after_ms: unix_ms(signer.not_after),
    })
}

fn opened(seal: &Seal, label: &str, kept: &KeptSigner) -> Result<Signer, AuthorityError> {
    let damaged = |_| StoreError::Damaged {
        what: format!("`{label}` is not what was kept"),
    };
    let sealed_key = STANDARD.decode(&kept.sealed_key).map_err(damaged)?;
    Ok(Signer {
        certificate: STANDARD.decode(&kept.certificate).map_err(damaged)?,
        key: seal.open(label, &sealed_key)?,
        not_after: from_unix_ms(kept.not_after_ms),
    })
}

fn text_of_digest(digest: &[u8; 32]) -> String {
    STANDARD.encode(digest)
}

fn digest_of_text(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}
