//! From the files of other programs to a mesh file.
//!
//! An import is read by a person before anything runs from it. So what is written is short, says where each server came
//! from, and passes `check`; and whatever is not carried over is named, because a silent loss is found in production.
//! Secrets stay where they are: the file names a variable for each, unless the operator asks for the values.

mod naming;
mod registry;
mod secrets;
mod write;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Severity;
use crate::finding::{Finding, codes};
use crate::kinds::{ServerSpec, ToolsSpec};
use crate::parse::mcp_json::{self, Read, Reading};
use crate::parse::tree::{Step, steps};
use crate::parse::{Config, Document, Spec, Surroundings, refuse_oversize};

use naming::Names;
use secrets::Secrets;

pub use registry::{Page, Proposals, page, proposals};

/// A file of another program.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Its path, as findings name it.
    pub name: &'a str,
    /// The directory that relative paths in it start at; absolute.
    pub directory: &'a Path,
    /// What it says.
    pub text: &'a str,
}

/// What is done with what the files say.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Copies secrets into the mesh file.
    pub inline_values: bool,
    /// What is known of the machine.
    pub around: Surroundings<'a>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The mesh file.
    pub text: String,
    /// Servers in it.
    pub servers: usize,
    /// Entries that are in the files and could not be carried over.
    pub lost: usize,
    /// Everything that is to say about it.
    pub findings: Vec<Finding>,
}

/// A server as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) name: String,
    /// Lines above its document.
    pub(crate) remarks: Vec<String>,
    pub(crate) spec: ServerSpec,
    pub(crate) tools: ToolsSpec,
}

/// Makes one mesh file of several files, in their order.
pub fn import(sources: &[Source<'_>], options: &Options<'_>) -> Imported {
    let mut importer = Importer {
        options,
        secrets: Secrets::default(),
        names: Names::default(),
        servers: Vec::new(),
        findings: Vec::new(),
        lost: 0,
    };
    for source in sources {
        importer.file(source);
    }
    importer.finish(sources)
}

struct Importer<'a> {
    options: &'a Options<'a>,
    secrets: Secrets,
    names: Names,
    servers: Vec<Written>,
    findings: Vec<Finding>,
    lost: usize,
}

impl Importer<'_> {
    fn file(&mut self, source: &Source<'_>) {
        let name: Arc<str> = source.name.into();
        let read = refuse_oversize(&name, source.text)
            .and_then(|()| mcp_json::read_all(&name, source.text, &self.options.around).map_err(|f| vec![*f]));
        match read {
            Ok(Reading {
                servers,
                findings,
                broken,
                ..
            }) => {
                self.findings.extend(findings);
                self.lost += broken;
                for read in servers {
                    self.server(source, read);
                }
            }
            Err(findings) => {
                self.findings.extend(findings);
                self.lost += 1;
            }
        }
    }

    fn server(&mut self, source: &Source<'_>, read: Read) {
        let Read { mut document, tools } = read;
        let entry = document.path(&[]);
        let Spec::Server(mut spec) = document.spec.clone() else {
            return;
        };
        let mut remarks = vec![format!("`{entry}` of {}", source.name)];
        if !self.options.inline_values {
            let before = self.findings.len();
            let kept = self.secrets.take_out(&document, &mut spec, &mut self.findings);
            remarks.extend(self.findings.iter().skip(before).map(|finding| finding.message.clone()));
            if !kept {
                self.lost += 1;
                return;
            }
        }
        place(&mut spec, source.directory, self.options.around.workspace);
        document.spec = Spec::Server(spec.clone());
        if !self.stands_alone(&document) {
            self.lost += 1;
            return;
        }
        match self.names.give(&document.metadata.name, source.name, &spec, &tools) {
            naming::Given::Same(other) => {
                let message = format!("the entry says the same as `{}` of {}", document.metadata.name, other);
                self.note(&document, codes::ENTRY_TWICE, &message, "it is written once");
            }
            naming::Given::Other(name, other) => {
                let message = format!(
                    "`{}` of {other} is another server of the same name",
                    document.metadata.name
                );
                let remedy = format!("this one is written as `{name}`; name it better");
                self.note(&document, codes::ENTRY_TWICE, &message, &remedy);
                self.write(name, remarks, spec, tools);
            }
            naming::Given::First(name) => self.write(name, remarks, spec, tools),
        }
    }

    fn write(&mut self, name: String, remarks: Vec<String>, spec: ServerSpec, tools: ToolsSpec) {
        self.servers.push(Written {
            name,
            remarks,
            spec,
            tools,
        });
    }

    /// Whether `check` has nothing against the server alone; what it has is noted.
    fn stands_alone(&mut self, document: &Document) -> bool {
        let config = Config {
            documents: vec![document.clone()],
            warnings: Vec::new(),
            sources: vec![document.source.clone()],
            whole: false,
        };
        let (good, found) = match config.compile() {
            Ok((_, warnings)) => (true, warnings),
            Err(findings) => (false, findings),
        };
        self.findings.extend(found);
        good
    }

    fn note(&mut self, document: &Document, code: &'static str, message: &str, remedy: &str) {
        let mut finding = Finding::warning(code, &document.source, message).remedy(remedy);
        finding.document = Some(document.title());
        finding.path = document.path(&[]);
        finding.span = Some(document.tree.span_of(steps!["metadata", "name"]));
        self.findings.push(finding);
    }

    /// What the files have and the mesh file has not, as lines for its head.
    fn left_out(&self) -> Vec<String> {
        let gone = |finding: &&Finding| finding.severity == Severity::Error || finding.code == codes::ENTRY_DISABLED;
        let mut lines: Vec<String> = Vec::new();
        for finding in self.findings.iter().filter(gone) {
            let entry = finding.document.as_deref().unwrap_or(&finding.source);
            let entry = entry.strip_prefix("Server/").unwrap_or(entry);
            lines.push(format!("  {entry} of {}: {}", finding.source, finding.message));
        }
        if !lines.is_empty() {
            lines.splice(0..0, [String::new(), "Left out:".to_owned()]);
        }
        lines
    }

    fn finish(mut self, sources: &[Source<'_>]) -> Imported {
        let names: Vec<&str> = sources.iter().map(|source| source.name).collect();
        let mut head = vec![
            format!("Written by `meshgate import` from {}.", names.join(", ")),
            "Read it, then `meshgate check` it: it says what will run on the gateway's machine.".to_owned(),
        ];
        head.extend(self.secrets.list());
        head.extend(self.left_out());
        let mut text = write::comment(&head);
        for server in &self.servers {
            text.push_str("---\n");
            text.push_str(&write::server(server));
        }
        text.push_str("---\n");
        text.push_str(&write::view(&self.servers));
        // What is written must be good; a finding here is a fault of ours and is said as one.
        if let Err(found) = crate::parse("the mesh file that was written", &text).and_then(Config::compile) {
            self.findings
                .extend(found.into_iter().filter(|finding| finding.severity == Severity::Error));
        }
        Imported {
            text,
            servers: self.servers.len(),
            lost: self.lost,
            findings: self.findings,
        }
    }
}

/// Paths that start at the file's directory are written out, because the mesh file may be anywhere.
fn place(spec: &mut ServerSpec, directory: &Path, workspace: Option<&str>) {
    let Some(stdio) = &mut spec.stdio else { return };
    if stdio.command.contains('/') && !stdio.command.starts_with('~') {
        stdio.command = joined(directory, Path::new(&stdio.command))
            .to_string_lossy()
            .into_owned();
    }
    if let Some(cwd) = stdio.cwd.as_mut().filter(|cwd| !cwd.starts_with("~")) {
        *cwd = joined(directory, cwd);
    }
    let is_near = |argument: &String| argument.starts_with("./") || argument.starts_with("../") || argument == ".";
    if stdio.cwd.is_none() && stdio.args.iter().any(is_near) {
        // The program that wrote the file starts its servers in the project, or beside the file.
        stdio.cwd = Some(workspace.map_or_else(|| directory.to_owned(), PathBuf::from));
    }
}

/// A path from a directory, without the `.` in between.
fn joined(directory: &Path, path: &Path) -> PathBuf {
    directory.join(path).components().collect()
}

/// The path of a value of a server's document.
fn value_at<'a>(part: &'a str, field: &'a str, name: &'a str) -> [Step<'a>; 4] {
    [Step::Key("spec"), Step::Key(part), Step::Key(field), Step::Key(name)]
}
