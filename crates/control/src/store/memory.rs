//! A store that ends with its process: for `meshgate demo`, and for tests of everything above a store.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::stream;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::image::{Changes, Image};
use super::{Commit, Listing, LogPage, Record, Revision, Store, StoreError, Watch};
use crate::limits::ISSUANCES_MAX;

/// The image, and the bell that rings when it has changed.
pub(super) struct Shared {
    pub(super) image: RwLock<Image>,
    pub(super) bell: watch::Sender<Revision>,
}

impl Shared {
    pub(super) fn of(image: Image) -> Arc<Self> {
        let bell = watch::Sender::new(image.revision);
        Arc::new(Self {
            image: RwLock::new(image),
            bell,
        })
    }

    /// Takes changes over and tells those who watch.
    pub(super) fn take(&self, changes: Changes) -> Revision {
        let revision = changes.revision;
        self.image.write().take(changes);
        self.bell.send_replace(revision);
        revision
    }

    /// Reads on whenever the bell rings. Nothing is queued: who is slow reads more at once, and who is too slow is told.
    pub(super) fn watch(self: &Arc<Self>, prefix: &str, from: Revision) -> Watch {
        let start = Some((self.clone(), self.bell.subscribe(), prefix.to_owned(), from));
        Box::pin(stream::unfold(start, |state| async move {
            let (shared, mut bell, prefix, mut seen) = state?;
            loop {
                bell.borrow_and_update();
                let news = shared.image.read().since(&prefix, seen);
                match news {
                    Err(error) => return Some((Err(error), None)),
                    Ok((events, revision)) => {
                        seen = revision;
                        if !events.is_empty() {
                            return Some((Ok(events), Some((shared, bell, prefix, seen))));
                        }
                    }
                }
                bell.changed().await.ok()?;
            }
        }))
    }
}

/// A store in memory.
pub struct MemoryStore {
    shared: Arc<Shared>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    first: u64,
    entries: VecDeque<Bytes>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            shared: Shared::of(Image::default()),
            log: Mutex::new(Log::default()),
        }
    }
}

impl MemoryStore {
    fn commit_now(&self, commit: Commit) -> Result<Revision, StoreError> {
        // The lock of the log is the turn of writers: between looking and taking over nobody else commits.
        let mut log = self.log.lock();
        let changes = self.shared.image.read().prepare(commit)?;
        log.entries.extend(changes.appended.iter().cloned());
        let kept = log.entries.len() as u64;
        let wanted = changes.trimmed.unwrap_or(log.first).max(log.first);
        let first = wanted.max((log.first + kept).saturating_sub(ISSUANCES_MAX));
        while log.first < first && log.entries.pop_front().is_some() {
            log.first += 1;
        }
        Ok(self.shared.take(changes))
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move { Ok(self.shared.image.read().get(key).cloned()) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move { Ok(self.shared.image.read().list(prefix)) })
    }

    fn list_at<'a>(&'a self, prefix: &'a str, revision: Revision) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move { self.shared.image.read().list_at(prefix, revision) })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { self.commit_now(commit) })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.shared.watch(prefix, from)
    }

    fn log(&self, from: u64, count: usize) -> BoxFuture<'_, Result<LogPage, StoreError>> {
        Box::pin(async move {
            let log = self.log.lock();
            let numbered = (log.first..).zip(log.entries.iter().cloned());
            Ok(LogPage {
                first: log.first,
                next: log.first + log.entries.len() as u64,
                entries: numbered.filter(|(at, _)| *at >= from).take(count).collect(),
            })
        })
    }
}
