//! A target is one small file that says how a gateway is set up and started, so that anybody can add the one they have.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    Failure,
    requests::{Protocol, Workload},
};

/// One gateway and how to start it. The texts may hold the words that `fill` knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Target {
    #[serde(skip)]
    pub(crate) name: String,
    /// One line for the table.
    pub(crate) about: String,
    /// The program, where this tree does not build it.
    #[serde(default)]
    pub(crate) program: Option<Program>,
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Files to write into its directory first.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, String>,
    /// Files that grow and are thrown away after each round.
    #[serde(default)]
    pub(crate) discard: Vec<String>,
    /// Path of its MCP endpoint.
    pub(crate) path: String,
    /// The file in its directory that holds the bearer token, where it wants one.
    #[serde(default)]
    pub(crate) token: Option<String>,
    /// How it is spoken to.
    pub(crate) protocol: Protocol,
    /// What it can do.
    pub(crate) workloads: Vec<Workload>,
    /// Whether it hands out sessions of its own or passes on those of the server.
    #[serde(default)]
    pub(crate) sessions: bool,
    /// Whether such a session may have a stream.
    #[serde(default)]
    pub(crate) streams: bool,
    /// Whether its last server is also replaced by one that misbehaves (`@reach@`), to see what that does to the others.
    #[serde(default)]
    pub(crate) neighbours: bool,
    /// Whether its server is a child process, which is then also called over bare pipes.
    #[serde(default)]
    pub(crate) pipes: bool,
}

/// A program that somebody else makes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Program {
    /// Its name on the path, or with `pip` its path below `site-packages`.
    pub(crate) find: String,
    /// A package of PyPI, with its version, that is installed into the cache.
    #[serde(default)]
    pub(crate) pip: Option<String>,
    /// What to tell a person who lacks it.
    pub(crate) missing: String,
}

impl Target {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let mut target: Self =
            serde_saphyr::from_str(&text).map_err(|e| format!("{} is no target: {e}", path.display()))?;
        target.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok(target)
    }
}

/// The targets of a directory, all or those named, the floor first.
pub(crate) fn all(directory: &Path, named: &[String], floor: &str) -> Result<Vec<Target>, Failure> {
    let entries = fs::read_dir(directory).map_err(|e| format!("cannot read {}: {e}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"))
        .collect();
    files.sort();
    let mut targets = files
        .iter()
        .map(|file| Target::read(file))
        .collect::<Result<Vec<_>, _>>()?;
    for name in named {
        if !targets.iter().any(|target| target.name == *name) {
            return Err(format!("there is no target `{name}` in {}", directory.display()));
        }
    }
    targets.retain(|target| named.is_empty() || named.contains(&target.name));
    targets.sort_by_key(|target| target.name != floor);
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_target_of_the_tree_is_well_formed() {
        for set in [crate::set::HOP, crate::set::MESH] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(set.directory);
            let targets = super::all(&directory, &[], set.floor).unwrap();
            assert_eq!(targets.first().unwrap().name, set.floor);
            for name in set.short {
                assert!(targets.iter().any(|target| target.name == *name), "{name}");
            }
            assert!(targets.iter().all(|target| !target.command.is_empty()));
        }
    }
}
