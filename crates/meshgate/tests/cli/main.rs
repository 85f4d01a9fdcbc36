//! The binary from the outside: what a person or a script sees, byte for byte where that is a promise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod apart;
mod bad_files;
mod check;
mod demo;
mod descriptors;
mod gateway;
mod reload;
mod import;
mod mesh;
mod objects;
mod registry;
mod sinks;
mod start;
mod up;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of its own, with a state directory in it and none of the caller's settings.
struct Place {
    directory: tempfile::TempDir,
    state: PathBuf,
}

struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Place {
    fn new() -> Self {
        Self::with_state("state")
    }

    /// With the state directory at this path below it.
    fn with_state(below: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join(below);
        Self { directory, state }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn state(&self) -> PathBuf {
        self.state.clone()
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshgate"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("MESHGATE_STATE", self.state());
        command
    }

    /// The same through a program that runs it.
    fn command_through(&self, through: &[&str], args: &[&str]) -> Command {
        let own = self.command(args);
        let mut command = Command::new(through[0]);
        command.args(&through[1..]).arg(own.get_program()).args(own.get_args());
        command.current_dir(self.path()).stdin(Stdio::null()).env_clear();
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command until it ends as wanted.
    fn until(&self, args: &[&str], wanted: impl Fn(&Ended) -> bool) -> Ended {
        let latest = Instant::now() + PATIENCE;
        loop {
            let ended = self.run(args);
            if wanted(&ended) {
                return ended;
            }
            assert!(
                Instant::now() < latest,
                "{args:?} never ended as wanted: {}{}",
                ended.out,
                ended.err
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A mesh file whose one server nobody answers for, on a free port.
fn away_mesh() -> String {
    mesh("address: 127.0.0.1:0", "")
}

/// A mesh file with this listener, and more documents.
fn mesh(listener: &str, more: &str) -> String {
    format!(
        "apiVersion: meshgate.dev/v1alpha1\nkind: Mesh\nmetadata: {{name: test}}\nspec: {{accessLog: off}}\n---\n\
         apiVersion: meshgate.dev/v1alpha1\nkind: Gateway\nmetadata: {{name: edge}}\nspec:\n  listeners:\n    - {listener}\n---\n\
         apiVersion: meshgate.dev/v1alpha1\nkind: Server\nmetadata: {{name: ledger}}\nspec:\n  http: {{url: \"http://127.0.0.1:9/mcp\"}}\n{more}"
    )
}
