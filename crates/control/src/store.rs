//! What the control plane knows for good: records under keys, each with the revision that wrote it.
//!
//! Everything that must survive is here and everything that is only true now (who is connected, how busy it is) is not, so
//! that a store may be slow, and its loss of a second is a loss of nothing. The trait is small on purpose: what it promises,
//! an embedded file, a cluster of etcd and the Kubernetes API can all keep.
//!
//! The promises: a commit happens whole or not at all; it happens only if everything it compares still holds; commits are in
//! one order, counted by a [`Revision`]; what was answered with a revision is there after a crash; whoever watches from a
//! revision sees every later change once, or is told that it has to list again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use serde::{Deserialize, Serialize};

mod file;
mod image;
mod lease;
mod memory;

#[cfg(test)]
mod tests;

pub use file::FileStore;
pub use lease::{Fenced, Lease};
pub use memory::MemoryStore;

/// Counts commits, from 1; 0 is the empty store.
pub type Revision = u64;

/// The time, as whoever assembles a control plane gives it.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Milliseconds since 1970; 0 for a time before.
pub fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of so many milliseconds since 1970.
pub fn from_unix_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// One value under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub value: Bytes,
    /// The commit that wrote the value.
    pub revision: Revision,
    /// The commit that wrote the key first, since it was last deleted.
    pub created: Revision,
}

/// Records at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The revision.
    pub revision: Revision,
    /// The records, by key.
    pub records: Vec<Record>,
}

/// What must still hold for a commit to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// There is no such key.
    Absent(String),
    /// The key was written last by this commit.
    At(String, Revision),
    /// This lease has not passed to somebody else.
    Held(Lease),
}

/// What a commit changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Puts a value under a key.
    Put(String, Bytes),
    /// Takes a key away; nothing where there is none.
    Delete(String),
    /// Appends to the log.
    Append(Bytes),
    /// Takes the entries of the log before this number away.
    Trim(u64),
}

/// Comparisons and writes that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// All happen, in this order.
    pub writes: Vec<Write>,
}

impl Commit {
    /// A commit of these writes if these comparisons hold.
    pub fn new(compare: impl Into<Vec<Compare>>, writes: impl Into<Vec<Write>>) -> Self {
        Self {
            compare: compare.into(),
            writes: writes.into(),
        }
    }
}

/// One change, as somebody who watches learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The commit.
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// The record now; `None` when it is gone.
    pub record: Option<Record>,
}

/// Part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The number of the oldest entry that is kept.
    pub first: u64,
    /// The number that the next entry will have.
    pub next: u64,
    /// Entries with their numbers, in order.
    pub entries: Vec<(u64, Bytes)>,
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Something that was compared no longer holds.
    #[error("`{key}` is not as it was compared: {found}; read it again and decide again")]
    Conflict {
        /// The key.
        key: String,
        /// How it is.
        found: String,
    },
    /// A lease has passed to somebody else.
    #[error("the lease `{name}` is held by `{holder}` by now; this control plane no longer leads")]
    Fenced {
        /// The lease.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// A lease is held by somebody else.
    #[error("the lease `{name}` is held by `{holder}` for another {left_seconds} s; wait, or stop that control plane")]
    Held {
        /// The lease.
        name: String,
        /// Who has it.
        holder: String,
        /// For how long at least.
        left_seconds: u64,
    },
    /// The revision is older than what is kept.
    #[error("revision {asked} is gone, {oldest} is the oldest that is kept; list again")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// What there is.
        oldest: Revision,
    },
    /// A limit of the store is reached.
    #[error("{what} would be {value}, at most {most} are kept")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How much it would be.
        value: usize,
        /// The limit.
        most: usize,
    },
    /// What is on disk was not written by this control plane, or was changed since.
    #[error("the store is damaged: {what}; restore it from a backup with its control key")]
    Damaged {
        /// Where.
        what: String,
    },
    /// Another process has the store open.
    #[error("the store `{path}` is in use by another control plane; stop that one first")]
    InUse {
        /// The file.
        path: String,
    },
    /// The disk or the cluster failed.
    #[error("the store failed: {what}")]
    Failed {
        /// What it said.
        what: String,
    },
}

/// What somebody who watches gets: the changes of one or more commits, in order, or an error after which nothing comes.
pub type Watch = BoxStream<'static, Result<Vec<Event>, StoreError>>;

/// A store of records.
pub trait Store: Send + Sync + 'static {
    /// The record under a key.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// Every record whose key begins with `prefix`, as it is now.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// Every record whose key begins with `prefix`, as it was at a revision.
    fn list_at<'a>(&'a self, prefix: &'a str, revision: Revision) -> BoxFuture<'a, Result<Listing, StoreError>>;

    /// Commits, and answers once that is for good.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, StoreError>>;

    /// Every change after `from` of a key that begins with `prefix`.
    fn watch(&self, prefix: &str, from: Revision) -> Watch;

    /// Entries of the log from a number on.
    fn log(&self, from: u64, count: usize) -> BoxFuture<'_, Result<LogPage, StoreError>>;

    /// Takes or renews a lease for `holder`, until `now` and `life` have passed.
    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        life: Duration,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Lease, StoreError>> {
        Box::pin(lease::take(self, name, holder, life, now))
    }
}

/// A value of a record as JSON.
///
/// # Errors
/// When the record holds something else, which only another version of the program writes.
pub(crate) fn json<T: for<'de> Deserialize<'de>>(record: &Record) -> Result<T, StoreError> {
    serde_json::from_slice(&record.value).map_err(|error| StoreError::Damaged {
        what: format!("`{}` does not read: {error}", record.key),
    })
}

/// A write of a value as JSON.
///
/// # Errors
/// Never for the types of this crate; serde says so by a result.
pub(crate) fn put<T: Serialize>(key: impl Into<String>, value: &T) -> Result<Write, StoreError> {
    let key = key.into();
    serde_json::to_vec(value)
        .map(|text| Write::Put(key.clone(), text.into()))
        .map_err(|error| StoreError::Failed {
            what: format!("`{key}` cannot be written: {error}"),
        })
}
