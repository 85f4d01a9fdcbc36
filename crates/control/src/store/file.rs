//! The embedded store: one file, one process, no set-up.
//!
//! redb keeps what was committed through a crash at any moment. What it does not do is tell whether the file is ours: its
//! checksums find a bad disk, not a person with an editor. So each record carries a code that only the control key makes, the
//! head of the file one over all of them together (so that none can be left out or put back), and a file that does not fit
//! is refused when it is opened, named, and never repaired by guessing.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_core::future::BoxFuture;
use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::image::{Changes, Image};
use super::memory::Shared;
use super::{Commit, Listing, LogPage, Record, Revision, Store, StoreError, Watch};
use crate::limits::ISSUANCES_MAX;
use crate::seal::{Mac, Seal};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("head");
const HEAD_KEY: &str = "meshgate control 1";
/// Enough for the pages of a mesh of a thousand servers; records are read from memory anyway.
const CACHE_BYTES: usize = 16 << 20;

/// A store in a file.
pub struct FileStore(Arc<Inner>);

struct Inner {
    database: Database,
    seal: Arc<Seal>,
    shared: Arc<Shared>,
    /// Held by the one commit that runs.
    turn: Mutex<Head>,
    /// A commit failed half-way, so that nobody knows what is on disk: nothing is written any more.
    failed: AtomicBool,
}

/// What the head of the file says.
#[derive(Clone, Copy, Default)]
struct Head {
    revision: Revision,
    /// All codes of records, joined by exclusive or: the same whatever the order, another as soon as one is another.
    joined: Mac,
    log_first: u64,
    log_next: u64,
}

impl FileStore {
    /// Opens the store at `path`, or makes one there (mode 0600, in a directory of mode 0700).
    ///
    /// # Errors
    /// When another process has it, when it was changed by anybody else, and when the disk fails.
    pub fn open(path: &Path, seal: Arc<Seal>) -> Result<Self, StoreError> {
        // A file whose pages are not what they should be makes some checks of redb panic instead of failing.
        catch_unwind(AssertUnwindSafe(|| Self::open_now(path, seal))).unwrap_or_else(|panic| {
            Err(StoreError::Damaged {
                what: format!("`{}` cannot be read: {}", path.display(), words_of(panic.as_ref())),
            })
        })
    }

    fn open_now(path: &Path, seal: Arc<Seal>) -> Result<Self, StoreError> {
        let database = database(path)?;
        let (head, records) = read(&database, &seal, path)?;
        Ok(Self(Arc::new(Inner {
            database,
            seal,
            shared: Shared::of(Image::of(head.revision, records)),
            turn: Mutex::new(head),
            failed: AtomicBool::new(false),
        })))
    }
}

impl Inner {
    fn commit(&self, commit: Commit) -> Result<Revision, StoreError> {
        let mut head = self.turn.lock();
        if self.failed.load(Ordering::Acquire) {
            return Err(failed(
                "an earlier write failed; restart the control plane, which reads what is there",
            ));
        }
        let changes = self.shared.image.read().prepare(commit)?;
        let after = self.after(*head, &changes);
        self.write(&changes, *head, after).inspect_err(|_| {
            self.failed.store(true, Ordering::Release);
        })?;
        *head = after;
        Ok(self.shared.take(changes))
    }

    /// The head once these changes are made.
    fn after(&self, head: Head, changes: &Changes) -> Head {
        let mut joined = head.joined;
        for record in changes.keys.iter().flat_map(|c| [&c.before, &c.after]).flatten() {
            join(&mut joined, &mac_of(&self.seal, record));
        }
        let log_next = head.log_next + changes.appended.len() as u64;
        let wanted = changes.trimmed.unwrap_or(0).min(log_next);
        Head {
            revision: changes.revision,
            joined,
            log_first: head.log_first.max(wanted).max(log_next.saturating_sub(ISSUANCES_MAX)),
            log_next,
        }
    }

    fn write(&self, changes: &Changes, before: Head, after: Head) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut records = transaction.open_table(RECORDS).map_err(failed)?;
            for change in &changes.keys {
                match &change.after {
                    Some(record) => {
                        let encoded = encode(&self.seal, record);
                        records.insert(&*change.key, encoded.as_slice()).map_err(failed)?;
                    }
                    None => {
                        records.remove(&*change.key).map_err(failed)?;
                    }
                }
            }
            let mut log = transaction.open_table(LOG).map_err(failed)?;
            for (at, entry) in (before.log_next..).zip(&changes.appended) {
                let mut encoded = self.seal.mac(&[b"log", &at.to_be_bytes(), entry]).to_vec();
                encoded.extend_from_slice(entry);
                log.insert(at, encoded.as_slice()).map_err(failed)?;
            }
            for gone in before.log_first..after.log_first {
                log.remove(gone).map_err(failed)?;
            }
            let mut head = transaction.open_table(HEAD).map_err(failed)?;
            head.insert(HEAD_KEY, after.encode(&self.seal).as_slice())
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }

    fn log(&self, from: u64, count: usize) -> Result<LogPage, StoreError> {
        let head = *self.turn.lock();
        let mut page = LogPage {
            first: head.log_first,
            next: head.log_next,
            entries: Vec::new(),
        };
        let transaction = self.database.begin_read().map_err(failed)?;
        let log = match transaction.open_table(LOG) {
            Ok(log) => log,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(page),
            Err(error) => return Err(failed(error)),
        };
        let from = from.max(head.log_first);
        for (expected, entry) in (from..head.log_next)
            .zip(log.range(from..).map_err(failed)?)
            .take(count)
        {
            let (at, encoded) = entry.map_err(failed)?;
            let damaged = || damaged(format!("entry {expected} of the log"));
            let (mac, entry) = encoded.value().split_first_chunk::<32>().ok_or_else(damaged)?;
            if at.value() != expected || *mac != self.seal.mac(&[b"log", &expected.to_be_bytes(), entry]) {
                return Err(damaged());
            }
            page.entries.push((expected, Bytes::copy_from_slice(entry)));
        }
        Ok(page)
    }
}

impl Store for FileStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move { Ok(self.0.shared.image.read().get(key).cloned()) })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move { Ok(self.0.shared.image.read().list(prefix)) })
    }

    fn list_at<'a>(&'a self, prefix: &'a str, revision: Revision) -> BoxFuture<'a, Result<Listing, StoreError>> {
        Box::pin(async move { self.0.shared.image.read().list_at(prefix, revision) })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move { off_runtime(self.0.clone(), |inner| inner.commit(commit)).await })
    }

    fn watch(&self, prefix: &str, from: Revision) -> Watch {
        self.0.shared.watch(prefix, from)
    }

    fn log(&self, from: u64, count: usize) -> BoxFuture<'_, Result<LogPage, StoreError>> {
        Box::pin(async move { off_runtime(self.0.clone(), move |inner| inner.log(from, count)).await })
    }
}

/// Waiting for a disk is not for a thread that serves others.
async fn off_runtime<T: Send + 'static>(
    inner: Arc<Inner>,
    work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(move || work(&inner))
        .await
        .unwrap_or_else(|error| Err(failed(error)))
}

fn database(path: &Path) -> Result<Database, StoreError> {
    let directory = path.parent().map(PathBuf::from).unwrap_or_default();
    if !directory.as_os_str().is_empty() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed)?;
    }
    // Made here first, so that it is never readable by others for a moment.
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder.create(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse {
            path: path.display().to_string(),
        },
        DatabaseError::Storage(redb::StorageError::Io(error)) if error.kind() != std::io::ErrorKind::InvalidData => {
            failed(error)
        }
        error => damaged(format!("`{}`: {error}", path.display())),
    })
}

/// Everything in the file, each record held against its code and all against the head.
fn read(database: &Database, seal: &Seal, path: &Path) -> Result<(Head, BTreeMap<Arc<str>, Record>), StoreError> {
    let transaction = database.begin_read().map_err(failed)?;
    let table = match transaction.open_table(RECORDS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((Head::default(), BTreeMap::new())),
        Err(error) => return Err(damaged(format!("`{}`: {error}", path.display()))),
    };
    let head = transaction
        .open_table(HEAD)
        .ok()
        .and_then(|table| table.get(HEAD_KEY).ok().flatten())
        .and_then(|value| Head::decode(seal, value.value()))
        .ok_or_else(|| {
            damaged(format!(
                "the head of `{}` does not fit this control key",
                path.display()
            ))
        })?;
    let mut records = BTreeMap::new();
    let mut joined = Mac::default();
    for entry in table.iter().map_err(failed)? {
        let (key, value) = entry.map_err(failed)?;
        let record = decode(seal, key.value(), value.value())
            .ok_or_else(|| damaged(format!("the record `{}` was changed by somebody else", key.value())))?;
        join(&mut joined, &mac_of(seal, &record));
        records.insert(record.key.clone(), record);
    }
    if joined != head.joined {
        return Err(damaged(format!(
            "records of `{}` are missing, or were put back",
            path.display()
        )));
    }
    Ok((head, records))
}

impl Head {
    fn encode(self, seal: &Seal) -> Vec<u8> {
        let mut out = Vec::with_capacity(88);
        out.extend_from_slice(&self.revision.to_be_bytes());
        out.extend_from_slice(&self.log_first.to_be_bytes());
        out.extend_from_slice(&self.log_next.to_be_bytes());
        out.extend_from_slice(&self.joined);
        let mac = seal.mac(&[b"head", &out]);
        out.extend_from_slice(&mac);
        out
    }

    fn decode(seal: &Seal, encoded: &[u8]) -> Option<Self> {
        let (said, mac) = encoded.split_last_chunk::<32>()?;
        if *mac != seal.mac(&[b"head", said]) {
            return None;
        }
        let (revision, rest) = said.split_first_chunk::<8>()?;
        let (log_first, rest) = rest.split_first_chunk::<8>()?;
        let (log_next, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            revision: u64::from_be_bytes(*revision),
            log_first: u64::from_be_bytes(*log_first),
            log_next: u64::from_be_bytes(*log_next),
            joined: rest.try_into().ok()?,
        })
    }
}

fn mac_of(seal: &Seal, record: &Record) -> Mac {
    let (revision, created) = (record.revision.to_be_bytes(), record.created.to_be_bytes());
    seal.mac(&[b"record", record.key.as_bytes(), &revision, &created, &record.value])
}

fn encode(seal: &Seal, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(48 + record.value.len());
    out.extend_from_slice(&record.revision.to_be_bytes());
    out.extend_from_slice(&record.created.to_be_bytes());
    out.extend_from_slice(&mac_of(seal, record));
    out.extend_from_slice(&record.value);
    out
}

fn decode(seal: &Seal, key: &str, encoded: &[u8]) -> Option<Record> {
    let (revision, rest) = encoded.split_first_chunk::<8>()?;
    let (created, rest) = rest.split_first_chunk::<8>()?;
    let (mac, value) = rest.split_first_chunk::<32>()?;
    let record = Record {
        key: key.into(),
        value: Bytes::copy_from_slice(value),
        revision: u64::from_be_bytes(*revision),
        created: u64::from_be_bytes(*created),
    };
    (*mac == mac_of(seal, &record)).then_some(record)
}

fn join(joined: &mut Mac, mac: &Mac) {
    joined.iter_mut().zip(mac).for_each(|(to, from)| *to ^= from);
}

fn damaged(what: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: what.into() }
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed {
        what: error.to_string(),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a check failed".to_owned())
}
