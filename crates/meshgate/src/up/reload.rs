//! Taking over a changed file while calls run.
//!
//! A file is read, checked and compiled whole beside what is served, with every token and file that it refers to, and
//! either all of it is taken over at once or nothing. What is refused is kept in mind, with why and since when, so that
//! `status`, the log and a metric say the same; the next good file clears it.

mod target;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use futures_core::future::BoxFuture;
use meshgate_model::diff::{Running, reload_findings};
use meshgate_model::finding::codes;
use meshgate_model::{Config, Finding, Severity, Snapshot};
use meshgate_proxy::admin::shape::{self, Compared, Configuration, ReloadFailure, Reloaded};
use meshgate_proxy::admin::{Candidate, Steer};
use meshgate_proxy::gateway::Comparison;
use meshgate_telemetry::Metrics;
use parking_lot::Mutex;

use super::inputs::Inputs;
use super::tokens;
use crate::findings::{place, shown};
use crate::source::Source;
use crate::state::StateDirectory;

pub(super) use self::target::{Taken, Target, Wanted};

/// What keeps the configuration of a running gateway current. A clone is the same.
#[derive(Clone)]
pub(super) struct Reloader(Arc<Inner>);

struct Inner {
    /// The file, from the root.
    file: PathBuf,
    watched: bool,
    /// Whether every server gets a sidecar.
    sidecars: bool,
    state: Arc<StateDirectory>,
    target: Target,
    metrics: Arc<Metrics>,
    /// Held by the one reload that runs.
    turn: tokio::sync::Mutex<()>,
    standing: Mutex<Standing>,
}

/// How things are.
struct Standing {
    revision: u64,
    applied: Instant,
    reloads: u64,
    refused: u64,
    failure: Option<(Instant, Vec<shape::Finding>)>,
    waiting: Vec<shape::Finding>,
    /// Every file that matters, as it was looked at last.
    looked: Inputs,
    /// What the served configuration refers to, as it was when it was taken over.
    served: Inputs,
}

/// A file, read and held against what runs.
struct Held {
    config: Config,
    snapshot: Option<Snapshot>,
    findings: Vec<shape::Finding>,
    inputs: Inputs,
    touched: BTreeSet<Arc<str>>,
}

impl Reloader {
    /// Follows a file, of which what is served now was read.
    pub(super) fn new(
        source: &Source,
        watched: bool,
        state: Arc<StateDirectory>,
        target: Target,
        metrics: Arc<Metrics>,
    ) -> Self {
        let file = PathBuf::from(&source.name);
        metrics.configuration.revision.set(1);
        let served = Inputs::of(target.started());
        let standing = Standing {
            revision: 1,
            applied: Instant::now(),
            reloads: 0,
            refused: 0,
            failure: None,
            waiting: Vec::new(),
            looked: Inputs::text(&file, &source.text).and(&served),
            served,
        };
        Self(Arc::new(Inner {
            file,
            watched,
            sidecars: source.sidecars,
            state,
            target,
            metrics,
            turn: tokio::sync::Mutex::new(()),
            standing: Mutex::new(standing),
        }))
    }

    /// Whether changes of the files are to be noticed.
    pub(super) fn is_watched(&self) -> bool {
        self.0.watched
    }

    /// The files whose changes matter.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let standing = self.0.standing.lock();
        standing.looked.paths().map(Path::to_owned).collect()
    }

    /// Reloads if a file holds something else than when it was looked at last.
    pub(super) async fn look(&self) {
        let this = self.clone();
        let news = tokio::task::spawn_blocking(move || this.0.is_news()).await;
        if news.unwrap_or(false) {
            self.reload(false).await;
        }
    }

    /// Reads the file and takes it over if it is good.
    pub(super) async fn reload(&self, allow_shrink: bool) -> Reloaded {
        let _turn = self.0.turn.lock().await;
        let this = self.clone();
        let read = tokio::task::spawn_blocking(move || this.0.read(allow_shrink)).await;
        match read {
            Ok(Read::Done(answer)) => answer,
            Ok(Read::Wanted(wanted, findings)) => self.0.take(*wanted, findings).await,
            Err(error) => Reloaded {
                outcome: "refused".to_owned(),
                findings: vec![shape::Finding {
                    severity: "error".to_owned(),
                    message: format!("the reload broke off: {error}"),
                    ..shape::Finding::default()
                }],
                ..Reloaded::default()
            },
        }
    }
}

/// What came of reading the file.
enum Read {
    /// There is nothing to take over.
    Done(Reloaded),
    /// This is to be taken over, and this is to be said about it.
    Wanted(Box<Wanted>, Vec<shape::Finding>),
}

impl Inner {
    fn is_news(&self) -> bool {
        let looked = self.standing.lock().looked.clone();
        looked.again() != looked
    }

    /// Reads the file and holds it against what runs.
    fn read(&self, allow_shrink: bool) -> Read {
        let looked = Inputs::read([self.file.as_path()]);
        let held = match Source::read(&self.file) {
            Ok(source) => self.hold(&source.with_sidecars(self.sidecars), allow_shrink),
            Err(failure) => self.unreadable(failure.words().0),
        };
        let mut standing = self.standing.lock();
        standing.looked = looked.and(&held.inputs);
        let Some(mut snapshot) = held.snapshot else {
            return Read::Done(self.refuse(&mut standing, held.findings));
        };
        let changes = self.target.changes(&snapshot, &held.touched);
        if changes.is_empty() {
            self.good(&mut standing, &held.findings, held.inputs);
            self.metrics.configuration.reloaded("unchanged");
            return Read::Done(answer("unchanged", standing.revision, held.findings, Vec::new()));
        }
        snapshot.revision = standing.revision + 1;
        let wanted = Wanted {
            config: held.config,
            snapshot,
            touched: held.touched,
            changes,
            inputs: held.inputs,
        };
        Read::Wanted(Box::new(wanted), held.findings)
    }

    /// What is wanted is good; whether it is news is another question.
    fn good(&self, standing: &mut Standing, findings: &[shape::Finding], inputs: Inputs) {
        standing.served = inputs;
        standing.waiting = findings.iter().filter(|f| f.code == codes::RESTART).cloned().collect();
        if standing.failure.take().is_some() {
            tracing::info!(revision = standing.revision, "the file is good again");
        }
        self.metrics.configuration.refused.set(0);
    }

    /// Takes over what was read.
    async fn take(&self, wanted: Wanted, mut findings: Vec<shape::Finding>) -> Reloaded {
        let (revision, changes) = (wanted.snapshot.revision, wanted.changes.clone());
        let inputs = wanted.inputs.clone();
        let before: Vec<Arc<str>> = self.target.running().servers.keys().cloned().collect();
        let taken = match self.target.take(wanted).await {
            Ok(taken) => taken,
            Err(refused) => {
                let refused = refused.iter().map(|finding| shown(finding, ""));
                findings.extend(refused);
                return self.refuse(&mut self.standing.lock(), findings);
            }
        };
        let mut standing = self.standing.lock();
        self.good(&mut standing, &findings, inputs);
        standing.revision = revision;
        standing.reloads += 1;
        standing.applied = Instant::now();
        for gone in before.iter().filter(|name| taken.servers.removed.contains(name)) {
            self.metrics.forget_server(gone);
        }
        self.metrics.configuration.reloaded("applied");
        let shown = i64::try_from(revision).unwrap_or(i64::MAX);
        self.metrics.configuration.revision.set(shown);
        tracing::info!(
            revision,
            changes = changes.len(),
            servers_added = taken.servers.added.len(),
            servers_removed = taken.servers.removed.len(),
            servers_renewed = taken.servers.renewed.len(),
            "a new configuration is served"
        );
        for finding in &findings {
            let (at, help) = (place(finding), &finding.remedy);
            tracing::warn!(code = finding.code, at, help, "{}", finding.message);
        }
        Reloaded {
            parts: taken.parts,
            ..answer("applied", revision, findings, changes)
        }
    }

    fn refuse(&self, standing: &mut Standing, findings: Vec<shape::Finding>) -> Reloaded {
        standing.refused += 1;
        self.metrics.configuration.reloaded("refused");
        self.metrics.configuration.refused.set(1);
        for finding in findings.iter().filter(|finding| finding.severity == "error") {
            tracing::error!(
                code = finding.code,
                at = place(finding),
                help = finding.remedy,
                served = standing.revision,
                "the new configuration is refused and the last good one is served on: {}",
                finding.message
            );
        }
        let since = standing.failure.take().map_or_else(Instant::now, |(since, _)| since);
        standing.failure = Some((since, findings.clone()));
        answer("refused", standing.revision, findings, Vec::new())
    }

    /// Everything that is to say about a source in this process.
    fn hold(&self, source: &Source, allow_shrink: bool) -> Held {
        let served = self.standing.lock().served.clone();
        let (config, snapshot, mut found) = source.read_whole();
        let mut held = Held {
            config,
            snapshot: None,
            findings: Vec::new(),
            inputs: served.again(),
            touched: BTreeSet::new(),
        };
        if let Some(mut snapshot) = snapshot {
            let now = self.target.running();
            held.inputs = Inputs::of(&snapshot);
            if let Err(failure) = tokens::register(&mut snapshot, &self.state) {
                let (message, remedy) = failure.words();
                let remedy = remedy.unwrap_or_default();
                found.push(Finding::of_assembly(codes::TOKEN_VALUE, &source.name, message, remedy));
            }
            for (server, path) in held.inputs.lost(&served, &snapshot) {
                let message = format!(
                    "a value of server `{server}` is in `{}`, which cannot be read",
                    path.display()
                );
                let remedy = "put the file there, or name another";
                found.push(Finding::of_assembly(codes::UNREADABLE, &source.name, message, remedy));
            }
            let running = Running {
                started: self.target.started(),
                now: &now,
                allow_shrink,
            };
            found.extend(reload_findings(&source.name.as_str().into(), running, &snapshot));
            held.touched = held.inputs.touched(&served, &snapshot);
            let is_bad = found.iter().any(|finding| finding.severity == Severity::Error);
            held.snapshot = (!is_bad).then_some(snapshot);
        }
        held.findings = found.iter().map(|finding| shown(finding, &source.text)).collect();
        held
    }

    fn unreadable(&self, why: &str) -> Held {
        let name = self.file.display().to_string();
        let remedy = "put the file back; until then the last good configuration is served";
        let finding = Finding::of_assembly(codes::UNREADABLE, &name, why, remedy);
        Held {
            config: Config::default(),
            snapshot: None,
            findings: vec![shown(&finding, "")],
            inputs: self.standing.lock().served.again(),
            touched: BTreeSet::new(),
        }
    }

    fn compare(&self, candidate: Option<Candidate>) -> Compared {
        let source = match candidate {
            Some(Candidate { name, text }) => Ok(Source::new(name, text)),
            None => Source::read(&self.file),
        };
        let held = match source {
            Ok(source) => self.hold(&source.with_sidecars(self.sidecars), false),
            Err(failure) => self.unreadable(failure.words().0),
        };
        let Some(snapshot) = held.snapshot else {
            return Compared {
                outcome: "refused".to_owned(),
                findings: held.findings,
                ..Compared::default()
            };
        };
        let Comparison {
            changes,
            tools,
            unknown,
        } = self.target.compare(&snapshot, &held.touched);
        Compared {
            outcome: if changes.is_empty() { "same" } else { "changes" }.to_owned(),
            findings: held.findings,
            changes,
            tools,
            unknown: unknown.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Steer for Reloader {
    fn configuration(&self) -> Configuration {
        let standing = self.0.standing.lock();
        let failure = standing.failure.as_ref().map(|(since, findings)| ReloadFailure {
            since_seconds: since.elapsed().as_secs(),
            findings: findings.clone(),
        });
        Configuration {
            file: self.0.file.display().to_string(),
            watched: self.0.watched,
            revision: standing.revision,
            applied_seconds: standing.applied.elapsed().as_secs(),
            reloads: standing.reloads,
            refused: standing.refused,
            failure,
            waits_for_restart: standing.waiting.clone(),
        }
    }

    fn reload(&self, allow_shrink: bool) -> BoxFuture<'_, Reloaded> {
        Box::pin(Self::reload(self, allow_shrink))
    }

    fn compare(&self, candidate: Option<Candidate>) -> BoxFuture<'_, Compared> {
        let this = self.clone();
        Box::pin(async move {
            let compared = tokio::task::spawn_blocking(move || this.0.compare(candidate)).await;
            compared.unwrap_or_default()
        })
    }
}

fn answer(outcome: &str, revision: u64, findings: Vec<shape::Finding>, changes: Vec<shape::Change>) -> Reloaded {
    Reloaded {
        outcome: outcome.to_owned(),
        revision,
        findings,
        changes,
        ..Reloaded::default()
    }
}
