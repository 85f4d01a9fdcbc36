//! Where CorpAssist's programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exit::{FAILED, Failure};
use crate::out;

const DOCUMENTS: &str = "corpassist-documents";
const PROJECTS: &str = "corpassist-projects";
const ASSISTANT: &str = "corpassist";

/// The three programs of the example.
#[derive(Debug)]
pub(super) struct Programs {
    /// The document repository.
    pub(super) documents: PathBuf,
    /// The project tracker.
    pub(super) projects: PathBuf,
    /// The assistant.
    pub(super) assistant: PathBuf,
}

impl Programs {
    /// Finds them beside this executable, or builds them where there is a checkout.
    pub(super) fn find() -> Result<Self, Failure> {
        let executable = std::env::current_exe()
            .map_err(|cause| Failure::new(FAILED, format!("this program cannot find itself: {cause}")))?;
        let beside = executable.parent().map(Path::to_owned).unwrap_or_default();
        if let Some(found) = Self::within(&beside) {
            return Ok(found);
        }
        let checkout = checkout(&executable).ok_or_else(|| {
            Failure::new(
                FAILED,
                format!("CorpAssist's programs are not in `{}`", beside.display()),
            )
            .remedy(format!(
                "put `{DOCUMENTS}`, `{PROJECTS}` and `{ASSISTANT}` there, or run the demo in a checkout"
            ))
        })?;
        build(&checkout, &beside)?;
        Self::within(&beside).ok_or_else(|| {
            Failure::new(
                FAILED,
                format!(
                    "CorpAssist was built, and its programs are not in `{}`",
                    beside.display()
                ),
            )
            .remedy("run the demo with `cargo run --release -- demo`")
        })
    }

    fn within(directory: &Path) -> Option<Self> {
        let program = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
        Some(Self {
            documents: program(DOCUMENTS)?,
            projects: program(PROJECTS)?,
            assistant: program(ASSISTANT)?,
        })
    }
}

/// The checkout this executable, or this directory, is in.
fn checkout(executable: &Path) -> Option<PathBuf> {
    let here = std::env::current_dir().unwrap_or_default();
    let holds = |path: &&Path| path.join("examples/corpassist/Cargo.toml").is_file();
    executable
        .ancestors()
        .chain(here.ancestors())
        .find(holds)
        .map(Path::to_owned)
}

/// The profile that fills a directory of this name; Cargo keeps what `dev` makes in `debug`.
fn profile(directory: &Path) -> &str {
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => "release",
    }
}

/// Builds the example with the profile of this executable, into the same directory.
fn build(checkout: &Path, beside: &Path) -> Result<(), Failure> {
    out::note(&format!(
        "building CorpAssist (`cargo build --package corpassist`) into {}; this happens once",
        beside.display()
    ));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(checkout)
        .args(["build", "--package", "corpassist", "--bins"])
        .args(["--profile", profile(beside)]);
    if let Some(target) = beside.parent() {
        command.arg("--target-dir").arg(target);
    }
    let refused = |why: String| {
        Failure::new(FAILED, format!("CorpAssist cannot be built: {why}"))
            .remedy("build it yourself with `cargo build --release --package corpassist`")
    };
    let status = command.status().map_err(|cause| refused(cause.to_string()))?;
    if status.success() {
        Ok(())
    } else {
        Err(refused(format!("cargo ended with {status}")))
    }
}
