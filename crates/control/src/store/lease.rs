//! Who leads. A leader that was stopped and woke up again believes it still leads; the store must know better.
//!
//! So a lease carries a number that grows whenever it passes to somebody else, and every commit of a leader says under which
//! number it was made. Time only decides when somebody else may take over, never whether a write is good.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_core::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{Commit, Compare, Listing, LogPage, Record, Revision, Store, StoreError, Watch, unix_ms};

/// A lease as its holder has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its name.
    pub name: String,
    /// Grows by one whenever the lease passes to somebody else.
    pub fence: u64,
}

/// A lease as the store has it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) holder: String,
    pub(super) fence: u64,
    pub(super) ends_ms: u64,
}

pub(super) fn key(name: &str) -> String {
    format!("lease/{name}")
}

/// Takes, takes over or renews a lease.
pub(super) async fn take<S: Store + ?Sized>(
    store: &S,
    name: &str,
    holder: &str,
    life: Duration,
    now: SystemTime,
) -> Result<Lease, StoreError> {
    let key = key(name);
    let found = store.get(&key).await?;
    let stored: Option<Stored> = found.as_ref().map(super::json).transpose()?;
    let now_ms = unix_ms(now);
    let fence = match &stored {
        None => 1,
        Some(stored) if stored.holder == holder => stored.fence,
        Some(stored) if stored.ends_ms <= now_ms => stored.fence + 1,
        Some(stored) => {
            return Err(StoreError::Held {
                name: name.to_owned(),
                holder: stored.holder.clone(),
                left_seconds: (stored.ends_ms - now_ms).div_ceil(1000),
            });
        }
    };
    let compare = found.map_or_else(
        || Compare::Absent(key.clone()),
        |record| Compare::At(key.clone(), record.revision),
    );
    let renewed = Stored {
        holder: holder.to_owned(),
        fence,
        ends_ms: unix_ms(now + life),
    };
    let write = super::put(key, &renewed)?;
    store.commit(Commit::new([compare], [write])).await?;
    Ok(Lease {
        name: name.to_owned(),
        fence,
    })
}

/// A store to which its holder writes only while it holds a lease.
pub struct Fenced {
    store: Arc<dyn Store>,
    lease: Lease,
}

impl Fenced {
    /// Takes the lease `name` for `holder`.
    ///
    /// # Errors
    /// When somebody else holds it.
    pub async fn take(
        store: Arc<dyn Store>,
        name: &str,
        holder: &str,
        life: Duration,
        now: SystemTime,
    ) -> Result<Self, StoreError> {
        let lease = store.lease(name, holder, life, now).await?;
        Ok(Self { store, lease })
    }
}

impl Store for Fenced {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.store.get(key)
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>> {
        self.store.list(prefix)
    }

    fn list_at<'a>(&'a self, prefix: &'a str, revision: Revision) -> BoxFuture<'a, Result<Listing, StoreError>> {
        self.store.list_at(prefix, revision)
    }

    fn commit(&self, mut commit: Commit) -> BoxFuture<'_, Result<Revision, StoreError>> {
        commit.compare.push(Compare::Held(self.lease.clone()));
        self.store.commit(commit)
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.store.watch(prefix, from)
    }

    fn log(&self, from: u64, count: usize) -> BoxFuture<'_, Result<LogPage, StoreError>> {
        self.store.log(from, count)
    }
}
