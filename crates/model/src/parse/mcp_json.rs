//! The servers that other programs are configured with: `mcp.json` and its many cousins.
//!
//! Claude, Cursor, VS Code, Windsurf, Cline, Zed, Gemini and Continue write JSON or YAML, Codex writes TOML; each has its
//! own word for the object of servers and its own fields. A file is known by what it holds, never by its name. It carries
//! fields of the program it was written for, so an unknown field is a warning here and an error nowhere. Comments and
//! trailing commas are taken, because those programs take them. `${NAME}` becomes a read of the gateway's environment
//! where a value may come from there: passing the text `${TOKEN}` on as a token would fail far away from its cause.

mod entry;
mod jsonc;
mod notes;
mod roots;
mod spec;
#[cfg(test)]
mod tests;
mod toml;
mod variables;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{self, Key, Node, Shape, steps};
use super::{Config, Document, Origin, Spec, failure};
use crate::Severity;
use crate::finding::{Finding, codes};
use crate::kinds::{Metadata, ServerSpec, ToolsSpec, ViewServerSpec, ViewSpec};
use entry::Entry;
use notes::Notes;
use roots::{Found, Holder};
use spec::Maker;

pub(crate) use entry::alias_of;
pub(crate) use roots::OwnedStep;
pub use variables::Surroundings;

/// Directories in a project that hold the files of an editor or assistant.
const EDITORS: [&str; 9] = [
    ".vscode",
    ".cursor",
    ".windsurf",
    ".roo",
    ".cline",
    ".zed",
    ".gemini",
    ".continue",
    ".codex",
];

/// The project that a file of another program belongs to: its directory, or the one above where that is an editor's own.
pub fn project_of(file: &Path) -> PathBuf {
    let directory = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let is_editors = directory
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| EDITORS.contains(&name));
    match directory.parent() {
        Some(above) if is_editors && !above.as_os_str().is_empty() => above.to_owned(),
        Some(_) if is_editors => PathBuf::from("."),
        _ => directory.to_owned(),
    }
}

/// Everything a file says, with what is wrong with it; an entry that is wrong has no server.
pub(crate) struct Reading {
    pub(crate) servers: Vec<Read>,
    pub(crate) findings: Vec<Finding>,
    /// Entries that are switched off.
    pub(crate) off: usize,
    /// Entries that could not be read.
    pub(crate) broken: usize,
}

/// A server of the file.
pub(crate) struct Read {
    pub(crate) document: Document,
    pub(crate) tools: ToolsSpec,
}

/// Whether a text is such a file: it holds servers and is no document of ours.
pub(super) fn is_one(text: &str) -> bool {
    if toml::is_one(text) {
        return true;
    }
    let Ok(pieces) = tree::read(&readable(text)) else {
        return text.contains("\"mcpServers\"");
    };
    pieces.first().is_some_and(|piece| roots::holds(&piece.root))
}

/// Reads such a file into documents of kind `Server`, and one of kind `View` where it chooses among tools.
pub(super) fn read(source: &Arc<str>, text: &str, around: &Surroundings<'_>) -> Result<Config, Vec<Finding>> {
    let Reading { servers, findings, .. } = read_all(source, text, around).map_err(|finding| vec![*finding])?;
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    // What is replaced at every start is of today by itself.
    let warnings = findings
        .into_iter()
        .filter(|finding| finding.code != codes::ENTRY_REPLACED)
        .collect();
    let chooses = servers.iter().any(|server| server.tools != ToolsSpec::default());
    let view = chooses.then(|| view(source, &servers));
    Ok(Config {
        whole: false,
        documents: servers.into_iter().map(|server| server.document).chain(view).collect(),
        warnings,
        sources: vec![source.clone()],
    })
}

/// Reads everything that can be read.
pub(crate) fn read_all(source: &Arc<str>, text: &str, around: &Surroundings<'_>) -> Result<Reading, Box<Finding>> {
    let root = root(source, text)?;
    let entries = match roots::entries(&root) {
        Holder::Entries(entries) => entries,
        Holder::Missing => {
            let finding = Finding::error(codes::MCP_JSON, source, "the file has no object `mcpServers`");
            return Err(Box::new(
                finding.remedy("write `{\"mcpServers\": {\"name\": {\"command\": …}}}`"),
            ));
        }
        Holder::Wrong(path, key) => {
            let message = format!("`{}` is not an object of servers", path.join("."));
            let finding = Finding::error(codes::MCP_JSON, source, message);
            return Err(Box::new(
                finding.remedy("write `{\"name\": {\"command\": …}}`").at(key.span),
            ));
        }
    };
    let inputs = roots::inputs(&root);
    let mut reading = Reading {
        servers: Vec::new(),
        findings: Vec::new(),
        off: 0,
        broken: 0,
    };
    let mut names = BTreeMap::new();
    for found in entries {
        let mut notes = Notes {
            source,
            path: &found.path,
            key: &found.key,
            node: found.node,
            findings: Vec::new(),
        };
        match one(&found, &mut notes, &inputs, around, &mut names) {
            Outcome::Server(read) => reading.servers.push(*read),
            Outcome::Off => reading.off += 1,
            Outcome::Broken => reading.broken += 1,
        }
        reading.findings.extend(notes.findings);
    }
    Ok(reading)
}

/// The values of the file, whatever it is written in.
fn root(source: &Arc<str>, text: &str) -> Result<Node, Box<Finding>> {
    if toml::is_one(text) {
        return toml::read(source, text).map_err(Box::new);
    }
    let pieces = tree::read(&readable(text)).map_err(|error| Box::new(failure::of_tree(source, text, error)))?;
    Ok(pieces.into_iter().next().map(|piece| piece.root).unwrap_or_default())
}

/// JSON without its comments; YAML as it is, where `//` is the middle of a URL.
fn readable(text: &str) -> Cow<'_, str> {
    if text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '/']) {
        Cow::Owned(jsonc::blanked(text))
    } else {
        Cow::Borrowed(text)
    }
}

enum Outcome {
    Server(Box<Read>),
    Off,
    Broken,
}

fn one(
    found: &Found<'_>,
    notes: &mut Notes<'_>,
    inputs: &[variables::Input],
    around: &Surroundings<'_>,
    names: &mut BTreeMap<String, String>,
) -> Outcome {
    if !matches!(found.node.shape, Shape::Map(_)) {
        let remedy = "write `{\"command\": …}` or `{\"url\": …}`";
        notes.fail(codes::MCP_JSON, &[], "the entry is not an object", remedy);
        return Outcome::Broken;
    }
    let entry = Entry::read(found.node, notes);
    if entry.off {
        // What is left out needs no other remark.
        notes.findings.clear();
        let remedy = "remove `disabled` to have it";
        notes.warn(codes::ENTRY_DISABLED, &[], "the entry is disabled and left out", remedy);
        return Outcome::Off;
    }
    if !transport(&entry, notes) {
        return Outcome::Broken;
    }
    let name = name(&found.key, notes, names);
    let (spec, tools) = Maker { notes, inputs, around }.server(&entry);
    let Some(name) = name.filter(|_| !notes.is_broken()) else {
        return Outcome::Broken;
    };
    let tree = as_document(found, &entry, &spec);
    Outcome::Server(Box::new(Read {
        document: Document {
            source: notes.source.clone(),
            metadata: Metadata { name, team: None },
            spec: Spec::Server(spec),
            tree,
            origin: Origin::McpJson { at: found.path.clone() },
        },
        tools,
    }))
}

/// Whether the transport is one that is spoken here.
fn transport(entry: &Entry, notes: &mut Notes<'_>) -> bool {
    let Some((field, written)) = &entry.transport else {
        return true;
    };
    let folded: String = written.to_ascii_lowercase().replace(['-', '_'], "");
    match folded.as_str() {
        "" | "stdio" | "local" | "http" | "streamablehttp" | "remote" | "sse" => true,
        _ => {
            let remedy =
                "the types are `stdio` and `http` (also `streamable-http`, and `sse` for HTTP+SSE of 2024-11-05)";
            let message = format!("`{written}` is not a type of server");
            notes.fail(codes::UNKNOWN_VALUE, steps![*field], &message, remedy);
            false
        }
    }
}

/// The name and alias an entry gives: lower case, everything else a `-`.
fn name(key: &Key, notes: &mut Notes<'_>, names: &mut BTreeMap<String, String>) -> Option<String> {
    let name = alias_of(&key.text);
    if name.is_empty() {
        let message = "the entry's name holds no letter or digit to make an alias of";
        notes.fail(codes::ENTRY_NAME, &[], message, "rename the entry");
        return None;
    }
    if let Some(other) = names.insert(name.clone(), key.text.clone()) {
        let message = format!("the entry's alias is `{name}`, and so is that of `{other}`");
        notes.fail(codes::ENTRY_NAME, &[], &message, "rename one of the two");
        return None;
    }
    Some(name)
}

/// The view that shows what the file chooses.
fn view(source: &Arc<str>, servers: &[Read]) -> Document {
    let servers = servers.iter().map(|server| ViewServerSpec {
        name: server.document.metadata.name.clone(),
        tools: server.tools.clone(),
    });
    Document {
        source: source.clone(),
        metadata: Metadata {
            name: "default".to_owned(),
            team: None,
        },
        spec: Spec::View(ViewSpec {
            path: None,
            servers: servers.collect(),
            naming: None,
            anonymous: false,
            lift_limits: false,
            instructions: None,
            list_ttl: None,
        }),
        tree: Node::default(),
        origin: Origin::McpJson { at: Vec::new() },
    }
}

/// The entry's spans, arranged as those of the document it becomes.
fn as_document(found: &Found<'_>, entry: &Entry, spec: &ServerSpec) -> Node {
    let named = |text: &str| Key {
        text: text.to_owned(),
        span: found.key.span.clone(),
    };
    let text = Node {
        span: found.key.span.clone(),
        shape: Shape::Scalar(found.key.text.clone()),
    };
    let map = |members| Node {
        span: found.node.span.clone(),
        shape: Shape::Map(members),
    };
    let part = if spec.http.is_some() { "http" } else { "stdio" };
    // Under the names that the document has for its fields.
    let mut inside: Vec<(Key, Node)> = Vec::new();
    let holders = entry
        .inner
        .and_then(|inner| found.node.get(inner))
        .into_iter()
        .chain([found.node]);
    for holder in holders {
        let Shape::Map(members) = &holder.shape else { continue };
        inside.extend(members.iter().map(|(key, node)| {
            let text = match key.text.as_str() {
                "serverUrl" | "httpUrl" => "url",
                "path" if entry.inner.is_some() => "command",
                "http_headers" | "env_http_headers" => "headers",
                other => other,
            };
            let span = key.span.clone();
            let text = text.to_owned();
            (Key { text, span }, node.clone())
        }));
    }
    let metadata = map(vec![(named("name"), text.clone())]);
    let spec = map(vec![(named("alias"), text), (named(part), map(inside))]);
    map(vec![(named("metadata"), metadata), (named("spec"), spec)])
}
