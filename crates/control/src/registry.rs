//! What the mesh is made of: the documents that were applied, as a whole that means something.
//!
//! A document alone is never right or wrong; the set is. So a change is put together with all that is kept, read by the same
//! compiler that every proxy runs, held against what is served now (would it lock everybody out, does it take away more than
//! a person takes away on purpose), and committed only if nothing else was committed meanwhile. What is refused leaves no
//! trace but its findings, each at the line that its author wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use meshgate_model::diff::Change;
use meshgate_model::{Config, Finding, Severity, Snapshot, TrustDomain};
use serde::{Deserialize, Serialize};

use crate::store::{self, Clock, Commit, Compare, Listing, Revision, Store, StoreError, Write, unix_ms};
use meaning::{against, changes, meaning, moved_domain};

mod meaning;

#[cfg(test)]
mod tests;

const HEAD: &str = "config/head";
const OBJECTS: &str = "object/";

/// Which document: its kind and its name.
pub type Title = (String, String);

/// A document that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The document, in its canonical form.
    pub json: Bytes,
    /// The number of the configuration that changed it last.
    pub number: u64,
}

/// Everything that was applied.
#[derive(Clone)]
pub struct Configuration {
    /// Counts changes from 1; what people and access records call the revision. 0 is before the first one.
    pub number: u64,
    /// When it was changed last, in milliseconds since 1970.
    pub changed_ms: u64,
    /// The documents by kind and name.
    pub documents: BTreeMap<Title, Kept>,
    /// All of them, with every default written out.
    pub config: Config,
    /// What each gateway makes of them, by its name; one at least.
    pub gateways: BTreeMap<Arc<str>, Arc<Snapshot>>,
    /// The commit that wrote it.
    revision: Option<Revision>,
}

/// On which terms a change is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Documents that the change does not have go.
    pub replace: bool,
    /// Only look.
    pub dry_run: bool,
    /// Only if the configuration has this number.
    pub if_number: Option<u64>,
    /// Much may go.
    pub allow_shrink: bool,
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It is kept, and on its way to the proxies.
    Applied,
    /// It says what is kept already.
    Unchanged,
    /// It would be applied; this was a dry run.
    WouldApply,
    /// It is not right, or may not be; the findings say why.
    Refused,
}

/// What came of a change, in full.
#[derive(Clone, Debug)]
pub struct Applied {
    /// In one word.
    pub outcome: Outcome,
    /// The number of the configuration that is kept now.
    pub number: u64,
    /// Errors and warnings.
    pub findings: Vec<Finding>,
    /// What it changes.
    pub changes: Vec<Change>,
}

/// Why a change could not even be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The configuration is another one than the change was made for.
    #[error(
        "the configuration is number {is}, and the change is for number {expected}; read it again and make the change anew"
    )]
    Moved {
        /// As it is.
        is: u64,
        /// As it was expected.
        expected: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    number: u64,
    changed_ms: u64,
}

/// The configuration of a mesh.
pub struct Registry {
    store: Arc<dyn Store>,
    clock: Clock,
    /// Held by the one change that runs.
    turn: tokio::sync::Mutex<()>,
    current: ArcSwap<Configuration>,
}

impl Registry {
    /// The configuration of a store.
    ///
    /// # Errors
    /// When the store fails, or holds what this program does not take.
    pub async fn open(store: Arc<dyn Store>, clock: Clock) -> Result<Self, StoreError> {
        let listing = store.list(OBJECTS).await?;
        let head = store.get(HEAD).await?;
        let current = kept(&listing, head.as_ref())?;
        Ok(Self {
            store,
            clock,
            turn: tokio::sync::Mutex::new(()),
            current: ArcSwap::from_pointee(current),
        })
    }

    /// What is kept now.
    pub fn current(&self) -> Arc<Configuration> {
        self.current.load_full()
    }

    /// Applies documents. The trust domain may be no other than `fixed`, where that says one.
    ///
    /// # Errors
    /// When the configuration has moved on, or the store fails. Whatever is wrong with the documents is a refusal.
    pub async fn apply(
        &self,
        documents: Config,
        terms: &Terms,
        fixed: Option<&TrustDomain>,
    ) -> Result<Applied, ApplyError> {
        let given: BTreeSet<Title> = titles(&documents);
        self.change(terms, fixed, move |kept| {
            if terms.replace {
                documents
            } else {
                let fresh = |kind: &str, name: &str| !given.contains(&(kind.to_owned(), name.to_owned()));
                documents.and(kept.only(fresh))
            }
        })
        .await
    }

    /// Takes documents away. Those that are not there are no error: they are gone.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn delete(
        &self,
        gone: &[Title],
        terms: &Terms,
        fixed: Option<&TrustDomain>,
    ) -> Result<Applied, ApplyError> {
        let stays = |kind: &str, name: &str| !gone.iter().any(|(k, n)| k == kind && n == name);
        self.change(terms, fixed, |kept| kept.only(stays)).await
    }

    async fn change(
        &self,
        terms: &Terms,
        fixed: Option<&TrustDomain>,
        make: impl FnOnce(Config) -> Config,
    ) -> Result<Applied, ApplyError> {
        let _turn = self.turn.lock().await;
        let current = self.current();
        if let Some(expected) = terms.if_number.filter(|number| *number != current.number) {
            return Err(ApplyError::Moved {
                is: current.number,
                expected,
            });
        }
        let wanted = make(read(&current.documents)?);
        let refused = |findings| Applied {
            outcome: Outcome::Refused,
            number: current.number,
            findings,
            changes: Vec::new(),
        };
        let (gateways, mut findings) = match meaning(&wanted) {
            Ok(meaning) => meaning,
            Err(findings) => return Ok(refused(findings)),
        };
        findings.extend(against(&current, &gateways, terms.allow_shrink));
        findings.extend(fixed.and_then(|fixed| moved_domain(fixed, &gateways)));
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Ok(refused(findings));
        }
        let changes = changes(&current.gateways, &gateways);
        let written = written(&wanted);
        let same = written.len() == current.documents.len()
            && written
                .iter()
                .all(|(title, json)| current.documents.get(title).is_some_and(|kept| kept.json == *json));
        let answer = |outcome, number| Applied {
            outcome,
            number,
            findings,
            changes,
        };
        if same && current.number > 0 {
            return Ok(answer(Outcome::Unchanged, current.number));
        }
        if terms.dry_run {
            return Ok(answer(Outcome::WouldApply, current.number));
        }
        let number = self.commit(&current, written).await?;
        Ok(answer(Outcome::Applied, number))
    }

    /// Reads again when somebody else has changed what is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let head = self.store.get(HEAD).await?;
        if head.as_ref().map(|record| record.revision) == self.current().revision {
            return Ok(());
        }
        let listing = self.store.list(OBJECTS).await?;
        self.current.store(Arc::new(kept(&listing, head.as_ref())?));
        Ok(())
    }

    async fn commit(&self, current: &Configuration, written: BTreeMap<Title, Bytes>) -> Result<u64, StoreError> {
        let head = Head {
            number: current.number + 1,
            changed_ms: unix_ms((self.clock)()),
        };
        let compare = match current.revision {
            Some(revision) => Compare::At(HEAD.into(), revision),
            None => Compare::Absent(HEAD.into()),
        };
        let mut writes = vec![store::put(HEAD, &head)?];
        for (title, json) in &written {
            if current.documents.get(title).is_none_or(|kept| kept.json != *json) {
                let value = Numbered::encode(head.number, json);
                writes.push(Write::Put(key(title), value));
            }
        }
        let gone = current.documents.keys().filter(|title| !written.contains_key(*title));
        writes.extend(gone.map(|title| Write::Delete(key(title))));
        self.store.commit(Commit::new([compare], writes)).await?;
        let listing = self.store.list(OBJECTS).await?;
        let record = self.store.get(HEAD).await?;
        self.current.store(Arc::new(kept(&listing, record.as_ref())?));
        Ok(head.number)
    }
}

impl Configuration {
    /// The trust domain that the documents say, or would by the name of the mesh.
    pub fn trust_domain(&self) -> Option<TrustDomain> {
        self.any().map(|snapshot| snapshot.mesh.trust_domain.clone())
    }

    /// One snapshot: what holds for the whole mesh is the same in each.
    pub fn any(&self) -> Option<&Arc<Snapshot>> {
        self.gateways.values().next()
    }

    /// How long a certificate of a part of the mesh is good.
    pub fn certificate_life(&self) -> Duration {
        self.any().map_or(meshgate_model::limits::CERTIFICATE_LIFE, |snapshot| {
            snapshot.mesh.certificate_life
        })
    }

    /// Whether there is such a part, and so whether somebody may be it.
    pub fn has_part(&self, part: &meshgate_model::Part) -> bool {
        match part {
            meshgate_model::Part::Gateway(name) => self.gateways.contains_key(name),
            meshgate_model::Part::Server { server, .. } => {
                self.documents.contains_key(&("Server".to_owned(), server.to_string()))
            }
            meshgate_model::Part::Control | meshgate_model::Part::Operator(_) => false,
        }
    }
}

/// A document as it is in the store: the number that changed it last, then its text.
struct Numbered;

impl Numbered {
    fn encode(number: u64, json: &Bytes) -> Bytes {
        [number.to_be_bytes().as_slice(), json].concat().into()
    }

    fn decode(value: &Bytes) -> Option<Kept> {
        let (number, _) = value.split_first_chunk::<8>()?;
        Some(Kept {
            json: value.slice(8..),
            number: u64::from_be_bytes(*number),
        })
    }
}

fn key((kind, name): &Title) -> String {
    format!("{OBJECTS}{kind}/{name}")
}

fn titles(config: &Config) -> BTreeSet<Title> {
    let titles = config.titles().into_iter();
    titles.map(|(kind, name)| (kind.to_owned(), name.to_owned())).collect()
}

/// The documents as they are kept.
fn written(config: &Config) -> BTreeMap<Title, Bytes> {
    let objects = config.objects().into_iter();
    objects
        .map(|object| {
            (
                (object.kind.to_owned(), object.name.to_string()),
                Bytes::from(object.json),
            )
        })
        .collect()
}

/// Documents that are kept, read again. Findings name them as `kept/Server/documents`.
fn read(documents: &BTreeMap<Title, Kept>) -> Result<Config, StoreError> {
    let mut config = Config::default();
    for ((kind, name), kept) in documents {
        let damaged = |what: &str| StoreError::Damaged {
            what: format!("the document {kind}/{name} does not read: {what}"),
        };
        let text = std::str::from_utf8(&kept.json).map_err(|_| damaged("it is no text"))?;
        let one = meshgate_model::parse(&format!("kept/{kind}/{name}"), text)
            .map_err(|findings| damaged(&findings.first().map(ToString::to_string).unwrap_or_default()))?;
        config = config.and(one);
    }
    Ok(config)
}

fn kept(listing: &Listing, head: Option<&store::Record>) -> Result<Configuration, StoreError> {
    let said: Head = head.map(store::json).transpose()?.unwrap_or_default();
    let mut documents = BTreeMap::new();
    for record in &listing.records {
        let damaged = || StoreError::Damaged {
            what: format!("`{}` is no document", record.key),
        };
        let title = record.key.strip_prefix(OBJECTS).and_then(|rest| rest.split_once('/'));
        let (kind, name) = title.ok_or_else(damaged)?;
        let kept = Numbered::decode(&record.value).ok_or_else(damaged)?;
        documents.insert((kind.to_owned(), name.to_owned()), kept);
    }
    let config = read(&documents)?;
    let (gateways, _) = meaning(&config).map_err(|findings| StoreError::Damaged {
        what: format!(
            "what is kept means nothing to this program: {}",
            findings.first().map(ToString::to_string).unwrap_or_default()
        ),
    })?;
    Ok(Configuration {
        number: said.number,
        changed_ms: said.changed_ms,
        documents,
        config: config.in_full(),
        gateways,
        revision: head.map(|record| record.revision),
    })
}
