//! The files that a configuration is made of, and whether one of them has changed.
//!
//! Beside the mesh file these are the files it takes values and tokens from. Each is known by a digest of what it holds,
//! because a file that was written again with the same content is no news; its contents are kept nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use meshgate_model::{EnvValue, Reach, Server, Snapshot, TokenSource};

/// Longest file that is looked at; what reads it has a smaller limit of its own.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What a file holds; `None` where it cannot be read.
pub(super) type Content = Option<[u8; 32]>;

/// Files with their contents' digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inputs(BTreeMap<PathBuf, Content>);

impl Inputs {
    /// The files that a snapshot refers to, as they are now.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let tokens = snapshot.applications.iter().flat_map(|a| &a.tokens);
        let tokens = tokens.filter_map(|token| match token {
            TokenSource::File(path) => Some(path),
            TokenSource::Environment(_) | TokenSource::Sha256(_) => None,
        });
        let values = snapshot.servers.values().flat_map(|server| values(server));
        Self::read(tokens.chain(values).map(PathBuf::as_path))
    }

    /// These files, as they are now.
    pub(super) fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let paths: BTreeSet<&Path> = paths.into_iter().collect();
        Self(paths.into_iter().map(|path| (path.to_owned(), content(path))).collect())
    }

    /// A file that has been read already.
    pub(super) fn text(path: &Path, text: &str) -> Self {
        let content = digest(&SHA256, text.as_bytes()).as_ref().try_into().ok();
        Self(BTreeMap::from([(path.to_owned(), content)]))
    }

    /// These and others.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    /// The same files as they are now.
    pub(super) fn again(&self) -> Self {
        Self::read(self.paths())
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Servers that take a value from a file which holds something else now than it did in `before`. A file that was not
    /// known before belongs to a definition that has changed anyway.
    pub(super) fn touched(&self, before: &Self, snapshot: &Snapshot) -> BTreeSet<Arc<str>> {
        let differs = |path: &PathBuf| {
            let (old, new) = (before.0.get(path), self.0.get(path));
            old.is_some() && old != new
        };
        let touched = snapshot.servers.values();
        let touched = touched.filter(|server| values(server).any(differs));
        touched.map(|server| server.name.clone()).collect()
    }

    /// Files of servers that cannot be read and were not known to be so in `before`.
    pub(super) fn lost(&self, before: &Self, snapshot: &Snapshot) -> Vec<(Arc<str>, PathBuf)> {
        let lost = |path: &PathBuf| self.0.get(path) == Some(&None) && before.0.get(path) != Some(&None);
        let servers = snapshot.servers.values();
        servers
            .flat_map(|server| {
                let lost = values(server).filter(|path| lost(path));
                lost.map(|path| (server.name.clone(), path.clone())).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The files that a server's variables and headers come from.
fn values(server: &Server) -> impl Iterator<Item = &PathBuf> {
    let values: &[(String, EnvValue)] = match direct(&server.reach) {
        Reach::Stdio { env, .. } => env,
        Reach::Http { headers, .. } | Reach::Sse { headers, .. } => headers,
        Reach::Sidecar { .. } => &[],
    };
    values.iter().filter_map(|(_, value)| match value {
        EnvValue::File { path, .. } => Some(path),
        EnvValue::Literal(_) | EnvValue::Environment { .. } => None,
    })
}

/// How the server itself is reached, by whoever stands beside it.
fn direct(reach: &Reach) -> &Reach {
    match reach {
        Reach::Sidecar {
            beside: Some(beside), ..
        } => beside,
        other => other,
    }
}

fn content(path: &Path) -> Content {
    let file = std::fs::File::open(path).ok()?;
    // A pipe or a device would be waited for without end.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    digest(&SHA256, &bytes).as_ref().try_into().ok()
}
