//! The mesh file of a soak, and the ways in which it is changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::Failure;

/// Where the ledger's tools are called.
pub(super) const VIEW: &str = "/mcp";
const HEAD: &str = "---\napiVersion: meshgate.dev/v1alpha1\n";

/// What a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    Bad,
}

/// `mesh.yaml → ..data/mesh.yaml`, `..data → ..v<n>`, as a mounted configuration is laid out.
pub(super) struct Files {
    directory: PathBuf,
    good: String,
}

impl Files {
    pub(super) fn new(scratch: &Path, authority: &str, server: &Path, ledger: &Path) -> Result<Self, Failure> {
        let directory = scratch.join("config");
        fs::create_dir(&directory).map_err(failure)?;
        let (server, ledger) = (server.display(), ledger.display());
        let good = format!(
            "{HEAD}kind: Mesh\nmetadata: {{name: soak}}\nspec: {{accessLog: off, limits: {{drain: 10s}}}}\n\
             {HEAD}kind: Gateway\nmetadata: {{name: main}}\nspec: {{listeners: [{{address: '{authority}'}}]}}\n\
             {HEAD}kind: Server\nmetadata: {{name: ledger}}\nspec: {{stdio: {{command: '{server}', args: [--ledger, '{ledger}']}}}}\n\
             {HEAD}kind: View\nmetadata: {{name: main}}\nspec: {{path: {VIEW}, servers: [{{name: ledger}}], liftLimits: true}}\n"
        );
        let files = Self { directory, good };
        files.put("..v", &files.good)?;
        files.swap("..v")?;
        symlink("..data/mesh.yaml", files.path()).map_err(failure)?;
        Ok(files)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.join("mesh.yaml")
    }

    /// Makes the change of this number: every second one is bad, and they come in two ways.
    pub(super) fn change(&mut self, number: usize) -> Result<Kind, Failure> {
        let (kind, text) = if number.is_multiple_of(2) {
            (Kind::Good, self.good_text(number / 2))
        } else {
            (Kind::Bad, self.bad_text(number / 2))
        };
        if number % 4 < 2 {
            let beside = self.directory.join("..data/mesh.yaml.new");
            fs::write(&beside, text).map_err(failure)?;
            fs::rename(&beside, self.directory.join("..data/mesh.yaml")).map_err(failure)?;
        } else {
            let (version, last) = (format!("..v{number}"), fs::read_link(self.directory.join("..data")));
            self.put(&version, &text)?;
            self.swap(&version)?;
            fs::remove_dir_all(self.directory.join(last.map_err(failure)?)).map_err(failure)?;
        }
        Ok(kind)
    }

    /// Good ones: another view, another process of the ledger, one more server over stdio, one over HTTP that is away.
    fn good_text(&self, turn: usize) -> String {
        let more = |document: &str| format!("{}{HEAD}{document}", self.good);
        let changed = |to: &str| {
            self.good
                .replace("liftLimits: true", &format!("liftLimits: true, {to}"))
        };
        match turn % 5 {
            0 => changed(&format!("instructions: 'turn {turn}'")),
            1 => self
                .good
                .replace("args: [--ledger", &format!("env: {{TURN: '{turn}'}}, args: [--ledger")),
            2 => more(&format!(
                "kind: Server\nmetadata: {{name: more}}\nspec: {{stdio: {{command: cat, args: ['-', /dev/null]}}, deadline: {}s}}\n",
                1 + turn % 50
            )),
            3 => more(&format!(
                "kind: Server\nmetadata: {{name: away}}\nspec: {{http: {{url: 'http://127.0.0.1:9/{turn}'}}}}\n"
            )),
            _ => self
                .good
                .replace("drain: 10s", &format!("drain: 10s, callBurst: {}", 100 + turn % 1000)),
        }
    }

    /// Bad ones: half a file, a word too many, nothing at all, no server left, a value of the wrong form.
    fn bad_text(&self, turn: usize) -> String {
        match turn % 5 {
            0 => format!("{}\nkind: [", self.good),
            1 => self.good.replace("accessLog", "accesLog"),
            2 => String::new(),
            3 => self.good.split("kind: Server").next().unwrap_or_default().to_owned() + "kind: Nothing\n",
            _ => self
                .good
                .replace("drain: 10s", &format!("drain: 10s, callBurst: -{turn}")),
        }
    }

    fn put(&self, version: &str, text: &str) -> Result<(), Failure> {
        let directory = self.directory.join(version);
        fs::create_dir(&directory).map_err(failure)?;
        fs::write(directory.join("mesh.yaml"), text).map_err(failure)
    }

    fn swap(&self, version: &str) -> Result<(), Failure> {
        let beside = self.directory.join("..data.new");
        symlink(version, &beside).map_err(failure)?;
        fs::rename(&beside, self.directory.join("..data")).map_err(failure)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to `map_err`")]
fn failure(error: std::io::Error) -> Failure {
    format!("the mesh file cannot be changed: {error}")
}
