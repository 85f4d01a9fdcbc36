//! The store in memory: every record now, and the changes that led here, as far as they are kept.
//!
//! Reads never touch the disk, and what is on disk is written before this changes. An earlier revision is had by undoing
//! changes, so keeping one costs what has changed since and nothing when nobody asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::{Commit, Compare, Event, Lease, Listing, Record, Revision, StoreError, Write, lease};
use crate::limits::{
    COMMIT_WRITES_MAX, HISTORY_BYTES_MAX, HISTORY_CHANGES_MAX, KEY_BYTES_MAX, RECORDS_MAX, VALUE_BYTES_MAX,
};

/// One key before and after a commit.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) key: Arc<str>,
    pub(super) before: Option<Record>,
    pub(super) after: Option<Record>,
}

/// What one commit changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    pub(super) revision: Revision,
    pub(super) keys: Vec<Change>,
    pub(super) appended: Vec<Bytes>,
    pub(super) trimmed: Option<u64>,
}

impl Changes {
    fn bytes(&self) -> usize {
        let of = |record: &Option<Record>| record.as_ref().map_or(0, |r| r.value.len() + r.key.len());
        self.keys.iter().map(|c| of(&c.before) + of(&c.after)).sum()
    }
}

/// Every record, and what changed.
#[derive(Debug, Default)]
pub(super) struct Image {
    pub(super) revision: Revision,
    records: BTreeMap<Arc<str>, Record>,
    history: VecDeque<Changes>,
    history_changes: usize,
    history_bytes: usize,
}

impl Image {
    /// As it was read.
    pub(super) fn of(revision: Revision, records: BTreeMap<Arc<str>, Record>) -> Self {
        Self {
            revision,
            records,
            ..Self::default()
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        Listing {
            revision: self.revision,
            records: below(&self.records, prefix).cloned().collect(),
        }
    }

    /// The oldest revision that can still be listed, which is also the one watching can start from.
    fn oldest(&self) -> Revision {
        self.history
            .front()
            .map_or(self.revision, |first| first.revision.saturating_sub(1))
    }

    pub(super) fn list_at(&self, prefix: &str, revision: Revision) -> Result<Listing, StoreError> {
        self.reachable(revision)?;
        let mut records: BTreeMap<Arc<str>, Record> = below(&self.records, prefix)
            .map(|record| (record.key.clone(), record.clone()))
            .collect();
        let undone = self.history.iter().rev().take_while(|c| c.revision > revision);
        for change in undone.flat_map(|c| c.keys.iter().rev()) {
            if !change.key.starts_with(prefix) {
                continue;
            }
            match &change.before {
                Some(before) => records.insert(change.key.clone(), before.clone()),
                None => records.remove(&change.key),
            };
        }
        Ok(Listing {
            revision,
            records: records.into_values().collect(),
        })
    }

    /// The changes after a revision, below a prefix, and the revision they lead to.
    pub(super) fn since(&self, prefix: &str, from: Revision) -> Result<(Vec<Event>, Revision), StoreError> {
        self.reachable(from)?;
        let later = self.history.iter().filter(|c| c.revision > from);
        let events = later.flat_map(|commit| {
            let fit = commit.keys.iter().filter(|change| change.key.starts_with(prefix));
            fit.map(|change| Event {
                revision: commit.revision,
                key: change.key.clone(),
                record: change.after.clone(),
            })
        });
        Ok((events.collect(), self.revision))
    }

    fn reachable(&self, revision: Revision) -> Result<(), StoreError> {
        if (self.oldest()..=self.revision).contains(&revision) {
            return Ok(());
        }
        Err(StoreError::Compacted {
            asked: revision,
            oldest: self.oldest(),
        })
    }

    /// What a commit would change, if all it compares holds.
    pub(super) fn prepare(&self, commit: Commit) -> Result<Changes, StoreError> {
        within("the writes of a commit", commit.writes.len(), COMMIT_WRITES_MAX)?;
        commit.compare.iter().try_for_each(|compare| self.holds(compare))?;
        let revision = self.revision + 1;
        let mut changes = Changes {
            revision,
            ..Changes::default()
        };
        let mut keys: BTreeMap<Arc<str>, Option<Record>> = BTreeMap::new();
        for write in commit.writes {
            match write {
                Write::Put(key, value) => {
                    within("the bytes of a key", key.len(), KEY_BYTES_MAX)?;
                    within("the bytes of a value", value.len(), VALUE_BYTES_MAX)?;
                    let key: Arc<str> = key.into();
                    let created = self.records.get(&key).map_or(revision, |record| record.created);
                    let record = Record {
                        key: key.clone(),
                        value,
                        revision,
                        created,
                    };
                    keys.insert(key, Some(record));
                }
                Write::Delete(key) => {
                    keys.insert(key.into(), None);
                }
                Write::Append(entry) => {
                    within("the bytes of an entry", entry.len(), VALUE_BYTES_MAX)?;
                    changes.appended.push(entry);
                }
                Write::Trim(before) => changes.trimmed = Some(before),
            }
        }
        changes.keys = keys
            .into_iter()
            .map(|(key, after)| Change {
                before: self.records.get(&key).cloned(),
                key,
                after,
            })
            .filter(|change| change.before.is_some() || change.after.is_some())
            .collect();
        let count = |of: fn(&Change) -> bool| changes.keys.iter().filter(|c| of(c)).count();
        let more = count(|c| c.before.is_none());
        let less = count(|c| c.after.is_none());
        within(
            "the records of the store",
            (self.records.len() + more).saturating_sub(less),
            RECORDS_MAX,
        )?;
        Ok(changes)
    }

    /// Takes over what is for good by now.
    pub(super) fn take(&mut self, changes: Changes) {
        self.revision = changes.revision;
        for change in &changes.keys {
            match &change.after {
                Some(record) => self.records.insert(change.key.clone(), record.clone()),
                None => self.records.remove(&change.key),
            };
        }
        self.history_changes += changes.keys.len();
        self.history_bytes += changes.bytes();
        self.history.push_back(Changes {
            appended: Vec::new(),
            ..changes
        });
        while self.history_changes > HISTORY_CHANGES_MAX
            || self.history_bytes > HISTORY_BYTES_MAX
            || self.history.len() > HISTORY_CHANGES_MAX
        {
            let Some(gone) = self.history.pop_front() else { break };
            self.history_changes = self.history_changes.saturating_sub(gone.keys.len());
            self.history_bytes = self.history_bytes.saturating_sub(gone.bytes());
        }
    }

    fn holds(&self, compare: &Compare) -> Result<(), StoreError> {
        let conflict = |key: &str, found: String| {
            Err(StoreError::Conflict {
                key: key.to_owned(),
                found,
            })
        };
        match compare {
            Compare::Absent(key) => match self.records.get(key.as_str()) {
                Some(record) => conflict(key, format!("it exists, at revision {}", record.revision)),
                None => Ok(()),
            },
            Compare::At(key, revision) => match self.records.get(key.as_str()) {
                Some(record) if record.revision == *revision => Ok(()),
                Some(record) => conflict(key, format!("it is at revision {}", record.revision)),
                None => conflict(key, "it is gone".to_owned()),
            },
            Compare::Held(held) => self.still_held(held),
        }
    }

    fn still_held(&self, held: &Lease) -> Result<(), StoreError> {
        let now = self.records.get(lease::key(&held.name).as_str());
        let now: Option<lease::Stored> = now.map(super::json).transpose()?;
        match now {
            Some(stored) if stored.fence == held.fence => Ok(()),
            other => Err(StoreError::Fenced {
                name: held.name.clone(),
                holder: other.map_or_else(|| "nobody".to_owned(), |stored| stored.holder),
            }),
        }
    }
}

fn within(what: &'static str, value: usize, most: usize) -> Result<(), StoreError> {
    if value > most {
        return Err(StoreError::Limit { what, value, most });
    }
    Ok(())
}

fn below<'a>(records: &'a BTreeMap<Arc<str>, Record>, prefix: &'a str) -> impl Iterator<Item = &'a Record> {
    records
        .range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(_, record)| record)
}
