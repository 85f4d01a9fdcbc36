//! Keys that the mesh shares: what signs snapshots, and what gateways seal state with. Both rotate in steps.
//!
//! Whoever shares a key needs it before anybody uses it. So a new one is first *known* (it verifies, it opens) and is *used*
//! (it signs, it seals) once every proxy has said that it knows it. The key that signs snapshots is not the authority's: who
//! steals one has not the other. It changes together with the root, because both travel in the trust bundle.
//!
//! The *epoch* stands beside them: it counts how often the store was set back, and proxies never take a lower one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meshgate_identity::KeyRing;
use meshgate_identity::manifest::SnapshotKey;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::seal::{Seal, SealError};
use crate::store::{self, Commit, Compare, Revision, Store, StoreError};

#[cfg(test)]
mod tests;

/// Where the keys are in the store.
pub(crate) const KEY: &str = "keys/shared";
const LABEL: &str = "keys/shared";

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// They could not be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// They could not be kept or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gave no entropy, or the cipher failed.
    #[error("the system's random source or the cipher failed")]
    Unavailable,
    /// A rotation is not in the step that was asked to end.
    #[error("{0}")]
    Step(&'static str),
}

/// What is sealed in the store.
#[derive(Serialize, Deserialize)]
struct Secret {
    /// PKCS#8 in base64; the first one signs.
    snapshot: Vec<String>,
    ring: String,
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.snapshot.iter_mut().for_each(|key| key.zeroize());
        self.ring.zeroize();
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    epoch: u64,
    /// A new key of gateways is known and does not seal yet.
    ring_prepared: bool,
    sealed: String,
}

struct State {
    epoch: u64,
    ring_prepared: bool,
    snapshot: Vec<Arc<SnapshotKey>>,
    ring: Zeroizing<String>,
    revision: Revision,
}

/// The keys of a mesh.
pub struct Keys {
    store: Arc<dyn Store>,
    seal: Arc<Seal>,
    state: RwLock<State>,
    /// Held by the one change that runs.
    turn: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Those of a store, or new ones.
    ///
    /// # Errors
    /// When the store fails or they do not open.
    pub async fn open(store: Arc<dyn Store>, seal: Arc<Seal>) -> Result<Self, KeysError> {
        let state = match store.get(KEY).await? {
            Some(record) => opened(&seal, &store::json(&record)?, record.revision)?,
            None => {
                let mut state = State {
                    epoch: 1,
                    ring_prepared: false,
                    snapshot: vec![Arc::new(SnapshotKey::generate().map_err(|_| KeysError::Unavailable)?)],
                    ring: KeyRing::from_entropy().map_err(|_| KeysError::Unavailable)?.to_text(),
                    revision: 0,
                };
                let write = store::put(KEY, &sealed(&seal, &state)?)?;
                state.revision = store
                    .commit(Commit::new([Compare::Absent(KEY.into())], [write]))
                    .await?;
                state
            }
        };
        Ok(Self {
            store,
            seal,
            state: RwLock::new(state),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// How often the store was set back, from 1.
    pub fn epoch(&self) -> u64 {
        self.state.read().epoch
    }

    /// The key that signs snapshots.
    pub fn signer(&self) -> Option<Arc<SnapshotKey>> {
        self.state.read().snapshot.first().cloned()
    }

    /// The keys that proxies take snapshots from.
    pub fn snapshot_keys(&self) -> Vec<[u8; 32]> {
        let state = self.state.read();
        state.snapshot.iter().map(|key| *key.public().as_bytes()).collect()
    }

    /// The ring of the gateways, as it travels.
    pub fn ring(&self) -> Zeroizing<String> {
        self.state.read().ring.clone()
    }

    /// Whether a new key of the gateways waits until all of them have it.
    pub fn is_ring_prepared(&self) -> bool {
        self.state.read().ring_prepared
    }

    /// The store was set back: what follows is newer than what any proxy has seen.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn advance_epoch(&self, seen: u64) -> Result<u64, KeysError> {
        self.change(|state| {
            state.epoch = state.epoch.max(seen) + 1;
            Ok(())
        })
        .await?;
        Ok(self.epoch())
    }

    /// Waits until the change that runs is done: what was committed is what is answered then.
    pub(crate) async fn settled(&self) {
        let _turn = self.turn.lock().await;
    }

    /// A new key for snapshots that proxies are to know; the one that is on its way, where there is one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn prepare_signer(&self) -> Result<(), KeysError> {
        self.change(|state| {
            if state.snapshot.len() > 1 {
                return Ok(());
            }
            let key = SnapshotKey::generate().map_err(|_| KeysError::Unavailable)?;
            state.snapshot.push(Arc::new(key));
            Ok(())
        })
        .await
    }

    /// The new key signs from now on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn promote_signer(&self) -> Result<(), KeysError> {
        self.change(|state| {
            state.snapshot.rotate_right(1);
            Ok(())
        })
        .await
    }

    /// The old key is taken from nobody any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn retire_signer(&self) -> Result<(), KeysError> {
        self.change(|state| {
            state.snapshot.truncate(1);
            Ok(())
        })
        .await
    }

    /// A new key that gateways are to know.
    ///
    /// # Errors
    /// When one is on its way already, and when the store fails.
    pub async fn prepare_ring(&self) -> Result<(), KeysError> {
        self.change(|state| {
            if state.ring_prepared {
                return Err(KeysError::Step("a new key of the gateways is on its way already"));
            }
            let mut failed = false;
            let mut fill = |out: &mut [u8]| failed |= getrandom::fill(out).is_err();
            let ring = KeyRing::from_text(&state.ring)
                .ok_or(KeysError::Unavailable)?
                .prepare(&mut fill);
            if failed {
                return Err(KeysError::Unavailable);
            }
            state.ring = ring.to_text();
            state.ring_prepared = true;
            Ok(())
        })
        .await
    }

    /// Gateways seal with the new key from now on.
    ///
    /// # Errors
    /// When none was prepared, and when the store fails.
    pub async fn promote_ring(&self) -> Result<(), KeysError> {
        self.change(|state| {
            if !state.ring_prepared {
                return Err(KeysError::Step("no new key of the gateways is on its way"));
            }
            let ring = KeyRing::from_text(&state.ring).ok_or(KeysError::Unavailable)?;
            state.ring = ring.promote().to_text();
            state.ring_prepared = false;
            Ok(())
        })
        .await
    }

    async fn change(&self, make: impl FnOnce(&mut State) -> Result<(), KeysError>) -> Result<(), KeysError> {
        let _turn = self.turn.lock().await;
        let mut next = {
            let state = self.state.read();
            State {
                snapshot: state.snapshot.clone(),
                ring: state.ring.clone(),
                ..*state
            }
        };
        make(&mut next)?;
        let write = store::put(KEY, &sealed(&self.seal, &next)?)?;
        let compare = Compare::At(KEY.into(), next.revision);
        next.revision = self.store.commit(Commit::new([compare], [write])).await?;
        *self.state.write() = next;
        Ok(())
    }
}

fn sealed(seal: &Seal, state: &State) -> Result<Stored, KeysError> {
    let secret = Secret {
        snapshot: state.snapshot.iter().map(|key| STANDARD.encode(key.pkcs8())).collect(),
        ring: state.ring.to_string(),
    };
    let plain = Zeroizing::new(serde_json::to_vec(&secret).map_err(|_| KeysError::Unavailable)?);
    Ok(Stored {
        epoch: state.epoch,
        ring_prepared: state.ring_prepared,
        sealed: STANDARD.encode(seal.seal(LABEL, &plain)?),
    })
}

fn opened(seal: &Seal, stored: &Stored, revision: Revision) -> Result<State, KeysError> {
    let damaged = || StoreError::Damaged {
        what: "the shared keys are not what was kept".to_owned(),
    };
    let cipher = STANDARD.decode(&stored.sealed).map_err(|_| damaged())?;
    let plain = seal.open(LABEL, &cipher)?;
    let mut secret: Secret = serde_json::from_slice(&plain).map_err(|_| damaged())?;
    let read = |key: &String| {
        let pkcs8 = Zeroizing::new(STANDARD.decode(key).ok()?);
        SnapshotKey::from_pkcs8(&pkcs8).ok().map(Arc::new)
    };
    let snapshot = secret
        .snapshot
        .iter()
        .map(read)
        .collect::<Option<Vec<_>>>()
        .ok_or_else(damaged)?;
    Ok(State {
        epoch: stored.epoch,
        ring_prepared: stored.ring_prepared,
        snapshot,
        ring: Zeroizing::new(std::mem::take(&mut secret.ring)),
        revision,
    })
}
