//! Every certificate that was ever signed, in a chain that cannot be rewritten unnoticed.
//!
//! An authority that is misused signs something nobody asked for. So what is signed is written down before it is handed
//! out, in the same commit as the use of the proof it was signed for: if the write fails nobody has the certificate. Each
//! entry holds the hash of the one before, the last hash is kept beside the log under the store's own code, and a
//! certificate that turns up without an entry raises an alarm.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::ca::Serial;
use crate::limits::{HELD_EXPIRED_MAX, ISSUANCES_MAX};
use crate::store::{self, Commit, Compare, Revision, Store, StoreError, Write, unix_ms};

#[cfg(test)]
mod tests;

const HEAD: &str = "issuance/head";
const PAGE: usize = 1_000;
/// The hash before the first entry.
const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Why a certificate was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", tag = "proof")]
pub enum Proof {
    /// A join token, by its public name.
    JoinToken {
        /// The name.
        token: String,
    },
    /// The certificate before.
    Held {
        /// Its serial number.
        serial: String,
    },
    /// The control plane's own.
    Own,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Issuance {
    /// When it was signed, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whom it names.
    pub identity: String,
    /// Its serial number.
    pub serial: String,
    /// SHA-256 of its public key, hexadecimal.
    pub key: String,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// SHA-256 of the root that it hangs on, hexadecimal.
    pub root: String,
    /// For which proof.
    pub by: Proof,
    /// From where it was asked for; empty for the control plane's own.
    pub from: String,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Its number, from 0.
    pub number: u64,
    /// What was signed.
    #[serde(flatten)]
    pub issuance: Issuance,
    /// The hash of the entry before.
    pub previous: String,
    /// SHA-256 over number, content and `previous`, hexadecimal.
    pub hash: String,
}

/// Where the chain ends, and where what is kept of it begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    next: u64,
    hash: String,
    first: u64,
    /// The hash of the entry before the first.
    anchor: String,
}

/// What checking the whole log showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Whether the chain holds.
    pub sound: bool,
    /// How many entries there are.
    pub entries: u64,
    /// The number of the oldest.
    pub first: u64,
    /// The hash of the newest: note it elsewhere, and compare next time.
    pub hash: String,
    /// What is wrong, when it is not sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

/// The log of a mesh.
pub struct Ledger {
    store: Arc<dyn Store>,
    /// Held by the one write that runs: each entry needs the hash before.
    turn: tokio::sync::Mutex<(Head, Option<Revision>)>,
    known: RwLock<HashMap<Serial, Known>>,
}

/// What is remembered of a certificate that may still turn up.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: u64,
    not_after_ms: u64,
    /// Which root it hangs on: the first bytes of its digest.
    root: u64,
    /// Its holder has another one by now.
    superseded: bool,
    /// The control plane's own.
    own: bool,
}

impl Ledger {
    /// The log of a store.
    ///
    /// # Errors
    /// When the store fails. A broken chain is no error here: `verify` tells of it.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let found = store.get(HEAD).await?;
        let (head, revision) = match &found {
            Some(record) => (store::json::<Head>(record)?, Some(record.revision)),
            None => {
                let head = Head {
                    next: 0,
                    hash: NOTHING.to_owned(),
                    first: 0,
                    anchor: NOTHING.to_owned(),
                };
                (head, None)
            }
        };
        let mut known = HashMap::new();
        let mut from = head.first;
        loop {
            let page = store.log(from, PAGE).await?;
            for (number, entry) in &page.entries {
                if let Some(entry) = read(entry) {
                    remember(&mut known, *number, &entry.issuance);
                }
            }
            from += page.entries.len() as u64;
            if page.entries.len() < PAGE {
                break;
            }
        }
        Ok(Self {
            store,
            turn: tokio::sync::Mutex::new((head, revision)),
            known: RwLock::new(known),
        })
    }

    /// Writes down what was signed, in one commit with what belongs to it.
    ///
    /// # Errors
    /// When something that `also` compares no longer holds, or the store fails: then nothing is written and the certificate
    /// must not be handed out.
    pub async fn record(&self, issuance: Issuance, also: Commit) -> Result<Entry, StoreError> {
        let mut turn = self.turn.lock().await;
        let (head, revision) = &*turn;
        let entry = linked(head.next, issuance, head.hash.clone());
        let mut next = Head {
            next: head.next + 1,
            hash: entry.hash.clone(),
            ..head.clone()
        };
        let mut commit = also;
        commit.compare.push(match revision {
            Some(revision) => Compare::At(HEAD.into(), *revision),
            None => Compare::Absent(HEAD.into()),
        });
        if next.next - next.first > ISSUANCES_MAX {
            let gone = self.store.log(next.first, 1).await?;
            if let Some(oldest) = gone.entries.first().and_then(|(_, entry)| read(entry)) {
                next.first += 1;
                next.anchor = oldest.hash;
                commit.writes.push(Write::Trim(next.first));
            }
        }
        commit.writes.push(Write::Append(encoded(&entry)?));
        commit.writes.push(store::put(HEAD, &next)?);
        let revision = self.store.commit(commit).await?;
        *turn = (next, Some(revision));
        remember(&mut self.known.write(), entry.number, &entry.issuance);
        Ok(entry)
    }

    /// What was signed under a serial number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, serial: &Serial) -> Result<Option<Entry>, StoreError> {
        let Some(known) = self.known.read().get(serial).copied() else {
            return Ok(None);
        };
        let page = self.store.log(known.number, 1).await?;
        Ok(page.entries.first().and_then(|(_, entry)| read(entry)))
    }

    /// A certificate was shown: its holder has it still, also where a newer one was signed and never arrived.
    pub fn seen(&self, serial: &Serial) -> bool {
        match self.known.write().get_mut(serial) {
            Some(known) => {
                known.superseded = false;
                true
            }
            None => false,
        }
    }

    /// Whether anybody but the control plane ever got a certificate, as far as that is remembered.
    pub fn has_members(&self) -> bool {
        self.known.read().values().any(|known| !known.own)
    }

    /// How many certificates of proxies may be in use that hang on another root than this one (SHA-256).
    pub fn in_use_elsewhere(&self, root: &[u8; 32], now_ms: u64) -> usize {
        let root = short(&hex(root));
        let known = self.known.read();
        let in_use = known
            .values()
            .filter(|known| known.root != root && !known.superseded && !known.own);
        in_use.filter(|known| known.not_after_ms > now_ms).count()
    }

    /// Entries from a number on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn page(&self, from: u64, count: usize) -> Result<Vec<Entry>, StoreError> {
        let page = self.store.log(from, count).await?;
        Ok(page.entries.iter().filter_map(|(_, entry)| read(entry)).collect())
    }

    /// How many entries there ever were.
    pub async fn next(&self) -> u64 {
        self.turn.lock().await.0.next
    }

    /// Forgets serial numbers whose certificates prove nothing any more.
    pub fn forget_ended(&self, now_ms: u64) {
        let kept = u64::try_from(HELD_EXPIRED_MAX.as_millis()).unwrap_or(u64::MAX);
        self.known
            .write()
            .retain(|_, known| known.not_after_ms.saturating_add(kept) > now_ms);
    }

    /// Walks the whole chain.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn verify(&self) -> Result<Verified, StoreError> {
        let head = self.turn.lock().await.0.clone();
        let mut at = head.first;
        let mut hash = head.anchor.clone();
        let said = |at: u64, hash: &str, wrong: Option<String>| Verified {
            sound: wrong.is_none(),
            entries: at - head.first,
            first: head.first,
            hash: hash.to_owned(),
            wrong,
        };
        while at < head.next {
            let page = self.store.log(at, PAGE).await?;
            if page.entries.is_empty() {
                return Ok(said(at, &hash, Some(format!("entry {at} is missing"))));
            }
            for (number, encoded) in &page.entries {
                // Entries that were written since the walk began are not part of it.
                if at == head.next {
                    break;
                }
                let entry = read(encoded).filter(|entry| *number == at && entry.number == at && entry.previous == hash);
                let sound = entry.filter(|entry| *entry == linked(at, entry.issuance.clone(), hash.clone()));
                let Some(entry) = sound else {
                    return Ok(said(
                        at,
                        &hash,
                        Some(format!("entry {at} does not follow the one before")),
                    ));
                };
                hash = entry.hash;
                at += 1;
            }
        }
        let wrong = (hash != head.hash).then(|| "the chain does not end where it was left".to_owned());
        Ok(said(at, &hash, wrong))
    }
}

fn remember(known: &mut HashMap<Serial, Known>, number: u64, issuance: &Issuance) {
    let Some(serial) = Serial::parse(&issuance.serial) else {
        return;
    };
    if let Proof::Held { serial } = &issuance.by
        && let Some(before) = Serial::parse(serial).and_then(|before| known.get_mut(&before))
    {
        before.superseded = true;
    }
    let one = Known {
        number,
        not_after_ms: issuance.not_after_ms,
        root: short(&issuance.root),
        superseded: false,
        own: issuance.by == Proof::Own,
    };
    known.insert(serial, one);
}

/// The first eight bytes of a digest in hexadecimal: enough to tell three roots apart.
fn short(root: &str) -> u64 {
    root.get(..16)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or(0)
}

fn linked(number: u64, issuance: Issuance, previous: String) -> Entry {
    // The content as JSON in the order of its fields, which is that of the type.
    let content = serde_json::to_vec(&issuance).unwrap_or_default();
    let text = [
        b"meshgate issuance 1\0".as_slice(),
        &number.to_be_bytes(),
        previous.as_bytes(),
        &content,
    ]
    .concat();
    Entry {
        number,
        issuance,
        previous,
        hash: hex(digest(&SHA256, &text).as_ref()),
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn encoded(entry: &Entry) -> Result<Bytes, StoreError> {
    serde_json::to_vec(entry)
        .map(Bytes::from)
        .map_err(|error| StoreError::Failed {
            what: format!("an issuance cannot be written: {error}"),
        })
}

fn read(entry: &Bytes) -> Option<Entry> {
    serde_json::from_slice(entry).ok()
}

/// What is written down about a certificate.
pub(crate) fn issuance_of(
    signed: &crate::ca::Signed,
    identity: &meshgate_model::SpiffeId,
    public_key: &[u8],
    by: Proof,
    from: String,
    now: std::time::SystemTime,
) -> Issuance {
    Issuance {
        at_ms: unix_ms(now),
        identity: identity.to_string(),
        serial: signed.serial.to_string(),
        key: hex(&crate::ca::spki_digest(public_key)),
        not_after_ms: unix_ms(signed.not_after),
        root: hex(&signed.root),
        by,
        from,
    }
}
