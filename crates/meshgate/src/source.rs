//! Which file says what to do, and what it says.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use meshgate_model::{Config, Finding, Severity, Snapshot, Surroundings};

use crate::exit::{CONFIGURATION, Failure};
use crate::findings;
use crate::out;

/// Files that are looked for when none is named.
const DEFAULTS: [&str; 2] = ["mesh.yaml", "mcp.json"];
/// More than the largest file the model reads, so that it can say that a file is too large.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file and its text.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file as it was named.
    pub(crate) name: String,
    /// What it says.
    pub(crate) text: String,
    /// Whether each server gets a sidecar, whatever the file says.
    pub(crate) sidecars: bool,
}

impl Source {
    /// A file that has been read already.
    pub(crate) fn new(name: String, text: String) -> Self {
        Self {
            name,
            text,
            sidecars: false,
        }
    }

    /// The same, where each server may get a sidecar.
    pub(crate) fn with_sidecars(self, sidecars: bool) -> Self {
        Self { sidecars, ..self }
    }

    /// Reads the named file, or the first of the default files in this directory.
    pub(crate) fn find(file: Option<&Path>) -> Result<Self, Failure> {
        let path = match file {
            Some(file) => file.to_owned(),
            None => DEFAULTS
                .iter()
                .map(PathBuf::from)
                .find(|path| path.exists())
                .ok_or_else(nothing_here)?,
        };
        Self::read(&path)
    }

    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
            .map_err(|cause| Failure::new(CONFIGURATION, format!("`{name}` cannot be read: {cause}")))?;
        Ok(Self::new(name, text))
    }

    /// Everything that is to say about the file, and what it means if it means anything.
    pub(crate) fn compile(&self) -> (Option<Snapshot>, Vec<Finding>) {
        let (_, snapshot, found) = self.read_whole();
        (snapshot, found)
    }

    /// The same with the documents themselves.
    pub(crate) fn read_whole(&self) -> (Config, Option<Snapshot>, Vec<Finding>) {
        let workspace = std::path::absolute(meshgate_model::project_of(Path::new(&self.name)));
        let workspace = workspace.ok().map(|path| path.to_string_lossy().into_owned());
        let around = Surroundings {
            variable: &|name| std::env::var(name).ok(),
            workspace: workspace.as_deref(),
        };
        let config = match meshgate_model::parse_in(&self.name, &self.text, &around) {
            Ok(config) if self.sidecars => config.with_sidecars(),
            Ok(config) => config,
            Err(found) => return (Config::default(), None, found),
        };
        match config.clone().compile() {
            Ok((snapshot, warnings)) => (config, Some(snapshot), warnings),
            Err(found) => (config, None, found),
        }
    }

    /// The same under its path from the root.
    pub(crate) fn under_root(self) -> Self {
        let name = std::path::absolute(&self.name).map_or(self.name, |path| path.display().to_string());
        Self { name, ..self }
    }

    /// What the file means; what is wrong with it goes to standard error.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, Failure> {
        let (snapshot, found) = self.compile();
        for finding in &found {
            out::note(&findings::drawn(finding, &self.text));
        }
        self.or_refused(snapshot, &found)
    }

    /// What the file means, where everything has been said about it.
    pub(crate) fn snapshot_quietly(&self) -> Result<Snapshot, Failure> {
        let (snapshot, found) = self.compile();
        self.or_refused(snapshot, &found)
    }

    fn or_refused(&self, snapshot: Option<Snapshot>, found: &[Finding]) -> Result<Snapshot, Failure> {
        snapshot.ok_or_else(|| {
            let errors = found
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .count();
            let what = if errors == 1 {
                "1 error".to_owned()
            } else {
                format!("{errors} errors")
            };
            Failure::new(
                CONFIGURATION,
                format!("`{}` has {what}; nothing was started", self.name),
            )
            .remedy(format!("`meshgate check {}` shows them again", self.name))
        })
    }
}

fn nothing_here() -> Failure {
    Failure::new(
        CONFIGURATION,
        "there is no `mesh.yaml` and no `mcp.json` in this directory",
    )
    .remedy(
        "name a file, as in `meshgate up path/to/mcp.json`, or write one. A whole `mcp.json`:\n        \
         {\"mcpServers\": {\"files\": {\"command\": \"npx\", \"args\": [\"-y\", \
         \"@modelcontextprotocol/server-filesystem\", \"/srv/docs\"]}}}",
    )
}
