//! The clients: what each must end up speaking, and how it is run.

use std::{fs, process::Command};

use serde_json::Value;

use super::{Outcomes, Stage, inspector, operations};
use crate::{
    Failure,
    command::{program, run_logged},
};

/// A client's name, the revision it must end up with, and how to run it.
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) revision: &'static str,
    pub(super) run: fn(&Stage<'_>) -> Result<Outcomes, Failure>,
}

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

pub(super) const CLIENTS: &[Client] = &[
    Client {
        name: "python",
        revision: MODERN,
        run: |stage| python(stage, "python", "mcp"),
    },
    // Pinned to the newest revision: it never leads a handshake.
    Client {
        name: "python-modern",
        revision: MODERN,
        run: |stage| python(stage, "python-modern", "modern"),
    },
    Client {
        name: "fastmcp",
        revision: MODERN,
        run: |stage| python(stage, "fastmcp", "fastmcp"),
    },
    Client {
        name: "typescript",
        revision: LEGACY,
        run: |stage| typescript(stage, "typescript", "legacy"),
    },
    Client {
        name: "typescript-auto",
        revision: MODERN,
        run: |stage| typescript(stage, "typescript-auto", "auto"),
    },
    Client {
        name: "typescript-sdk",
        revision: LEGACY,
        run: |stage| typescript(stage, "typescript-sdk", "sdk"),
    },
    Client {
        name: "inspector",
        revision: LEGACY,
        run: inspector::run,
    },
    Client {
        name: "rmcp",
        revision: LEGACY,
        run: |stage| rmcp(stage, "rmcp", "initialize"),
    },
    Client {
        name: "rmcp-auto",
        revision: MODERN,
        run: |stage| rmcp(stage, "rmcp-auto", "auto"),
    },
];

fn python(stage: &Stage<'_>, name: &str, library: &str) -> Result<Outcomes, Failure> {
    let mut command = program(stage.place, stage.place.venv("interop").join("bin/python"));
    command.arg(stage.place.root().join("tests/interop/client.py"));
    script(stage, name, &mut command, library)
}

fn typescript(stage: &Stage<'_>, name: &str, kind: &str) -> Result<Outcomes, Failure> {
    // A module finds packages from where it lies, so it is run from beside them.
    let home = stage.place.npm("interop");
    let copy = home.join("client.mjs");
    fs::copy(stage.place.root().join("tests/interop/client.mjs"), &copy)
        .map_err(|e| format!("cannot copy to {}: {e}", copy.display()))?;
    let mut command = program(stage.place, "node");
    command.arg(&copy);
    script(stage, name, &mut command, kind)
}

fn rmcp(stage: &Stage<'_>, name: &str, cycle: &str) -> Result<Outcomes, Failure> {
    let mut command = program(stage.place, stage.place.program("interop-rmcp")?);
    script(stage, name, &mut command, cycle)
}

/// Runs a client that reads the operations and reads its JSON lines.
fn script(stage: &Stage<'_>, name: &str, command: &mut Command, kind: &str) -> Result<Outcomes, Failure> {
    let log = stage.place.log(&format!("interop-{name}"));
    command.arg(operations::file_of(stage, name)?).arg(kind);
    let command = command
        .env("MESHGATE_URL", &stage.url)
        .env("MESHGATE_TOKEN", &stage.token);
    let ended = run_logged(command, &log);
    let outcomes = lines(&super::read(&log)?);
    // What it did before it ended badly says more than that it did.
    if outcomes.is_empty() {
        ended.map(|()| outcomes)
    } else {
        Ok(outcomes)
    }
}

fn lines(text: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let Ok(report) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let field = |name: &str| report.get(name).and_then(Value::as_str).map(str::to_owned);
        let Some(operation) = field("operation") else { continue };
        outcomes.insert(
            operation,
            field("text").ok_or_else(|| field("error").unwrap_or_default()),
        );
    }
    outcomes
}
