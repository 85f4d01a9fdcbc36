//! Join tokens: made for one identity, kept as a digest, good once.
//!
//! That a token is good once is decided by the commit that uses it: it compares the record of the token with what was read,
//! so of a thousand that come at the same moment exactly one is written, together with the certificate it got. The used
//! token is remembered for a day, because who comes second must not be told "unknown": either they are an attacker, or one
//! was first.

use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::JoinToken;
use meshgate_model::SpiffeId;
use serde::{Deserialize, Serialize};

use crate::issuance::hex;
use crate::limits::{JOIN_TOKEN_LIFE_MAX, JOIN_TOKEN_LIFE_MIN, JOIN_TOKENS_MAX, USED_TOKEN_KEPT};
use crate::store::{self, Clock, Commit, Compare, Record, Store, StoreError, Write, unix_ms};

const PREFIX: &str = "join/";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The life that was asked for is outside its range.
    #[error("a join token lives {}s to {}s, not {asked_seconds}s", JOIN_TOKEN_LIFE_MIN.as_secs(), JOIN_TOKEN_LIFE_MAX.as_secs())]
    Life {
        /// In seconds.
        asked_seconds: u64,
    },
    /// Too many wait to be used.
    #[error("{JOIN_TOKENS_MAX} join tokens wait to be used; withdraw some, or wait until they end")]
    TooMany,
    /// The system gave no entropy.
    #[error("the system's random source failed")]
    Entropy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token is not taken. What somebody who guesses is told is the same for all but the last.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefusal {
    /// Nobody made it, or that is too long ago.
    #[error("the join token is not known here, or has ended; make a new one with `meshgate join-token`")]
    Unknown,
    /// Its time is over.
    #[error("the join token ended {seconds_ago} s ago; make a new one with `meshgate join-token`")]
    Ended {
        /// How long ago.
        seconds_ago: u64,
    },
    /// It was used.
    #[error(
        "the join token was used {seconds_ago} s ago from {from}, for the certificate {serial}; if that was not you, somebody \
         else is `{identity}` now: deny that certificate with `meshgate deny {serial}`, and make a new token"
    )]
    Used {
        /// How long ago.
        seconds_ago: u64,
        /// By which address.
        from: String,
        /// What it got.
        serial: String,
        /// What it was for.
        identity: String,
    },
}

/// A token as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    identity: String,
    made_ms: u64,
    ends_ms: u64,
    used: Option<Use>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Use {
    at_ms: u64,
    from: String,
    serial: String,
}

/// A token, for those who show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenStatus {
    /// Its public name: the first eight bytes of its digest, hexadecimal.
    pub name: String,
    /// What it is for.
    pub identity: String,
    /// When it ends, in milliseconds since 1970.
    pub ends_ms: u64,
    /// When it was used, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_ms: Option<u64>,
    /// The serial number of the certificate that it got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

/// A token that may be used now.
#[derive(Clone, Debug)]
pub struct Good {
    /// Its public name.
    pub name: String,
    /// What it is for.
    pub identity: SpiffeId,
    record: Record,
    kept: Kept,
}

/// The join tokens of a mesh.
pub struct Tokens {
    store: Arc<dyn Store>,
    clock: Clock,
}

impl Tokens {
    /// Those of a store.
    pub fn new(store: Arc<dyn Store>, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Makes one for `identity`, in a mesh with this root (DER). Answers it, with its public name and its end in milliseconds
    /// since 1970.
    ///
    /// # Errors
    /// When `life` is outside its range, when too many wait, and when the store fails.
    pub async fn make(
        &self,
        identity: &SpiffeId,
        life: Duration,
        root: &[u8],
    ) -> Result<(JoinToken, String, u64), TokenError> {
        if !(JOIN_TOKEN_LIFE_MIN..=JOIN_TOKEN_LIFE_MAX).contains(&life) {
            return Err(TokenError::Life {
                asked_seconds: life.as_secs(),
            });
        }
        if self.store.list(PREFIX).await?.records.len() >= JOIN_TOKENS_MAX {
            return Err(TokenError::TooMany);
        }
        let mut failed = false;
        let token = JoinToken::generate(root, &mut |out| failed = getrandom::fill(out).is_err());
        if failed {
            return Err(TokenError::Entropy);
        }
        let now = unix_ms((self.clock)());
        let kept = Kept {
            identity: identity.to_string(),
            made_ms: now,
            ends_ms: now + u64::try_from(life.as_millis()).unwrap_or(u64::MAX),
            used: None,
        };
        let key = key(&token.digest());
        let write = store::put(key.clone(), &kept)?;
        self.store.commit(Commit::new([Compare::Absent(key)], [write])).await?;
        Ok((token.clone(), name(&token.digest()), kept.ends_ms))
    }

    /// What a token that somebody shows is worth.
    ///
    /// # Errors
    /// The outer one when the store fails; the inner one when the token is not taken.
    pub async fn look(&self, token: &JoinToken) -> Result<Result<Good, TokenRefusal>, StoreError> {
        let digest = token.digest();
        let Some(record) = self.store.get(&key(&digest)).await? else {
            return Ok(Err(TokenRefusal::Unknown));
        };
        let kept: Kept = store::json(&record)?;
        let now = unix_ms((self.clock)());
        if let Some(used) = &kept.used {
            return Ok(Err(TokenRefusal::Used {
                seconds_ago: now.saturating_sub(used.at_ms) / 1000,
                from: used.from.clone(),
                serial: used.serial.clone(),
                identity: kept.identity.clone(),
            }));
        }
        if kept.ends_ms <= now {
            return Ok(Err(TokenRefusal::Ended {
                seconds_ago: (now - kept.ends_ms) / 1000,
            }));
        }
        let Ok(identity) = kept.identity.parse() else {
            return Ok(Err(TokenRefusal::Unknown));
        };
        Ok(Ok(Good {
            name: name(&digest),
            identity,
            record,
            kept,
        }))
    }

    /// The use of a token, to be committed with the certificate that it gets: it happens only if nobody used it meanwhile.
    ///
    /// # Errors
    /// Never; writing JSON says so by a result.
    pub fn used(&self, good: &Good, serial: &str, from: &str) -> Result<Commit, StoreError> {
        let kept = Kept {
            used: Some(Use {
                at_ms: unix_ms((self.clock)()),
                from: from.to_owned(),
                serial: serial.to_owned(),
            }),
            ..good.kept.clone()
        };
        let key = good.record.key.to_string();
        let compare = Compare::At(key.clone(), good.record.revision);
        Ok(Commit::new([compare], [store::put(key, &kept)?]))
    }

    /// All of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<TokenStatus>, StoreError> {
        let listing = self.store.list(PREFIX).await?;
        let status = |record: &Record| -> Result<TokenStatus, StoreError> {
            let kept: Kept = store::json(record)?;
            let digits = record.key.strip_prefix(PREFIX).unwrap_or_default();
            Ok(TokenStatus {
                name: digits.get(..16).unwrap_or_default().to_owned(),
                identity: kept.identity,
                ends_ms: kept.ends_ms,
                used_ms: kept.used.as_ref().map(|used| used.at_ms),
                serial: kept.used.map(|used| used.serial),
            })
        };
        listing.records.iter().map(status).collect()
    }

    /// Takes a token that was not used back, by its public name. Answers whether there was one.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw(&self, name: &str) -> Result<bool, StoreError> {
        let well_formed = name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if !well_formed {
            return Ok(false);
        }
        let listing = self.store.list(&format!("{PREFIX}{name}")).await?;
        self.remove(listing.records.iter().filter(|record| is_unused(record)))
            .await
    }

    /// Takes every token that was not used back: they name a root that is none any more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw_all(&self) -> Result<bool, StoreError> {
        let listing = self.store.list(PREFIX).await?;
        self.remove(listing.records.iter().filter(|record| is_unused(record)))
            .await
    }

    /// Forgets tokens that nobody used in time, and uses of more than a day ago.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<bool, StoreError> {
        let now = unix_ms((self.clock)());
        let kept_ms = u64::try_from(USED_TOKEN_KEPT.as_millis()).unwrap_or(u64::MAX);
        let listing = self.store.list(PREFIX).await?;
        let over = |record: &&Record| {
            store::json::<Kept>(record).is_ok_and(|kept| {
                let since = kept.used.as_ref().map_or(kept.ends_ms, |used| used.at_ms);
                since.saturating_add(kept_ms) <= now
            })
        };
        self.remove(listing.records.iter().filter(over)).await
    }

    async fn remove<'a>(&self, records: impl Iterator<Item = &'a Record>) -> Result<bool, StoreError> {
        let records: Vec<&Record> = records.collect();
        if records.is_empty() {
            return Ok(false);
        }
        let compare: Vec<Compare> = records
            .iter()
            .map(|r| Compare::At(r.key.to_string(), r.revision))
            .collect();
        let writes: Vec<Write> = records.iter().map(|r| Write::Delete(r.key.to_string())).collect();
        self.store.commit(Commit::new(compare, writes)).await?;
        Ok(true)
    }
}

fn is_unused(record: &Record) -> bool {
    store::json::<Kept>(record).is_ok_and(|kept| kept.used.is_none())
}

fn key(digest: &[u8; 32]) -> String {
    format!("{PREFIX}{}", hex(digest))
}

fn name(digest: &[u8; 32]) -> String {
    hex(digest.get(..8).unwrap_or_default())
}
