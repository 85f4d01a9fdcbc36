//! The sets of servers: where their files are, what they find, and what must run before the gateway starts.

use std::{fs, path::Path, time::Duration};

use crate::{
    Failure,
    command::{Running, output, program},
    http,
    place::Place,
    setup,
};

/// What the committed files say, replaced by what a run has.
const DOCUMENTS: &str = "/srv/documents";
const REPOSITORY: &str = "/srv/repository";
const EVERYTHING: &str = "127.0.0.1:7393";
const MORE: &str = "/srv/more";
/// A client that knows only the modern revision, and one that knows none of it.
const ONE_ERA: &[&str] = &["python-modern", "typescript-sdk"];
const START_MAX: Duration = Duration::from_secs(60);

/// Servers by name with the newest revision that each speaks.
pub(super) type Revisions = &'static [(&'static str, &'static str)];

const USUAL: Revisions = &[
    ("everything", "2025-11-25"),
    ("files", "2025-11-25"),
    ("git", "2026-07-28"),
    ("time", "2026-07-28"),
];
const NINE: Revisions = &[
    ("alchemy", "2026-07-28"),
    ("backlog", "2025-11-25"),
    ("dbhub", "2026-07-28"),
    ("everything", "2025-11-25"),
    ("kanban", "2024-11-05"),
    ("memory", "2025-11-25"),
    ("sqlite", "2025-11-25"),
    ("thinking", "2025-11-25"),
    ("time", "2026-07-28"),
];

/// One set of servers, ready for a gateway.
pub(super) struct Set {
    pub(super) folder: &'static str,
    /// The clients that meet them unless a person asks for another; all, when there are none.
    pub(super) clients: &'static [&'static str],
    /// The revision that each server must be met with.
    pub(super) revisions: Revisions,
    texts: Vec<(&'static str, String)>,
    _running: Running,
}

impl Set {
    /// Two legacy servers from npm and two from PyPI that speak every revision.
    pub(super) fn usual(place: &Place, scratch: &Path) -> Result<Self, Failure> {
        let (documents, repository) = seed(place, scratch)?;
        let everything = format!("127.0.0.1:{}", http::free_port()?);
        let running = start_everything(place, "streamableHttp", &everything)?;
        Ok(Self {
            folder: "tests/interop",
            clients: &[],
            revisions: USUAL,
            texts: vec![
                (DOCUMENTS, documents),
                (REPOSITORY, repository),
                (EVERYTHING, everything),
            ],
            _running: running,
        })
    }

    /// Nine others, from the first revision to the newest, most of whose packages only this set needs.
    pub(super) fn more(place: &Place, scratch: &Path) -> Result<Self, Failure> {
        setup::more_servers(place)?;
        for folder in ["backlog", "kanban"] {
            let path = scratch.join(folder);
            fs::create_dir_all(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        }
        let mut backlog = program(place, "backlog");
        backlog.args([
            "init",
            "Interop",
            "--defaults",
            "--no-git",
            "--integration-mode",
            "none",
        ]);
        output(backlog.env("BACKLOG_CWD", scratch.join("backlog")))?;
        let everything = format!("127.0.0.1:{}", http::free_port()?);
        let running = start_everything(place, "sse", &everything)?;
        Ok(Self {
            folder: "tests/interop/more",
            clients: ONE_ERA,
            revisions: NINE,
            texts: vec![(MORE, scratch.to_string_lossy().into_owned()), (EVERYTHING, everything)],
            _running: running,
        })
    }

    pub(super) fn replacements(&self) -> Vec<(&str, &str)> {
        self.texts.iter().map(|(from, to)| (*from, to.as_str())).collect()
    }

    /// A committed text with what this run has.
    pub(super) fn replaced(&self, committed: String) -> String {
        self.texts
            .iter()
            .fold(committed, |text, (from, to)| text.replace(from, to))
    }
}

/// A folder of documents and a repository with one commit.
fn seed(place: &Place, scratch: &Path) -> Result<(String, String), Failure> {
    let failure = |e: std::io::Error| format!("cannot write into {}: {e}", scratch.display());
    let (documents, repository) = (scratch.join("documents"), scratch.join("repository"));
    fs::create_dir_all(&documents).map_err(failure)?;
    fs::create_dir_all(&repository).map_err(failure)?;
    fs::write(
        documents.join("strategy.txt"),
        "In the first quarter we grow in the north.\n",
    )
    .map_err(failure)?;
    fs::write(repository.join("plan.txt"), "Plan\n").map_err(failure)?;
    let author = ["-c", "user.name=Interop", "-c", "user.email=interop@example.invalid"];
    let commit = ["commit", "--quiet", "--message", "Write down the plan"];
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "plan.txt"],
        &[&author[..], &commit].concat(),
    ] {
        output(program(place, "git").args(arguments).current_dir(&repository))?;
    }
    Ok((
        documents.to_string_lossy().into_owned(),
        repository.to_string_lossy().into_owned(),
    ))
}

/// The everything server over HTTP, which the gateway does not start by itself.
fn start_everything(place: &Place, transport: &str, authority: &str) -> Result<Running, Failure> {
    let port = authority.rsplit(':').next().unwrap_or_default().to_owned();
    let mut command = program(place, "mcp-server-everything");
    command.arg(transport).env("PORT", port);
    let log = place.log("interop-everything");
    let mut running = Running::start(&mut command, log)?;
    running.wait_until("its port", START_MAX, || {
        std::net::TcpStream::connect(authority).is_ok()
    })?;
    Ok(running)
}
