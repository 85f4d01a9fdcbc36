//! The `mcp.json` that people already have, as Claude, Cursor and VS Code write it.
//!
//! Those files carry fields of the program they were written for, so an unknown field is a warning here and an error
//! nowhere. Comments and trailing commas are taken, because those programs take them. `${NAME}` and `${env:NAME}` become
//! reads of the gateway's environment where a value may come from there, and are refused everywhere else: passing the
//! text `${TOKEN}` on as a token would fail far away from its cause.

mod entry;
mod jsonc;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tree::{self, Key, Node, Piece, Shape, steps, written};
use super::{Config, Document, Origin, Spec, failure};
use crate::finding::{Finding, codes};
use crate::kinds::{HttpSpec, Metadata, ServerSpec, StdioSpec, Value};
use entry::{Entry, Lenient, as_document, variable};

/// The names of the object that holds the servers: everybody's, and VS Code's.
const ROOTS: [&str; 2] = ["mcpServers", "servers"];

/// Fields of an entry that mean something here, beside `disabled`.
const FIELDS: [&str; 9] = [
    "type",
    "transport",
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "serverUrl",
    "headers",
];

/// Whether a text is such a file: one object that holds servers and is no document of ours.
pub(super) fn is_one(text: &str) -> bool {
    let blanked = jsonc::blanked(text);
    if !blanked.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        return false;
    }
    let Ok(pieces) = tree::read(&blanked) else {
        return text.contains("\"mcpServers\"");
    };
    pieces.first().is_some_and(|piece| {
        piece.root.get("apiVersion").is_none() && ROOTS.iter().any(|root| piece.root.get(root).is_some())
    })
}

/// Reads such a file into documents of kind `Server`.
pub(super) fn read(source: &Arc<str>, text: &str) -> Result<Config, Vec<Finding>> {
    let blanked = jsonc::blanked(text);
    let pieces = tree::read(&blanked).map_err(|error| vec![failure::of_tree(source, text, error)])?;
    let found = pieces.first().and_then(|piece| {
        ROOTS
            .iter()
            .find_map(|root| piece.root.member(root).map(|m| (*root, m, piece)))
    });
    let Some((root, (key, servers), piece)) = found else {
        let message = "the file has no object `mcpServers`";
        return Err(vec![
            Finding::error(codes::MCP_JSON, source, message)
                .remedy("write `{\"mcpServers\": {\"name\": {\"command\": …}}}`"),
        ]);
    };
    let Shape::Map(entries) = &servers.shape else {
        let message = format!("`{root}` is not an object of servers");
        return Err(vec![
            Finding::error(codes::MCP_JSON, source, message)
                .remedy("write `{\"name\": {\"command\": …}}`")
                .at(key.span.clone()),
        ]);
    };
    let mut reader = Reader {
        source,
        text: &blanked,
        piece,
        root,
        documents: Vec::new(),
        findings: Vec::new(),
        names: BTreeMap::new(),
    };
    for (key, node) in entries {
        reader.entry(key, node);
    }
    let Reader {
        documents, findings, ..
    } = reader;
    if findings
        .iter()
        .any(|finding| finding.severity == crate::Severity::Error)
    {
        return Err(findings);
    }
    Ok(Config {
        documents,
        warnings: findings,
        sources: vec![source.clone()],
    })
}

struct Reader<'a> {
    source: &'a Arc<str>,
    text: &'a str,
    piece: &'a Piece,
    root: &'static str,
    documents: Vec<Document>,
    findings: Vec<Finding>,
    /// Names given so far, with the entries they come from.
    names: BTreeMap<String, String>,
}

impl Reader<'_> {
    fn entry(&mut self, key: &Key, node: &Node) {
        let before = self.findings.len();
        let Some(entry) = self.values(key, node) else { return };
        if entry.disabled {
            self.warn(
                codes::ENTRY_DISABLED,
                key,
                node,
                None,
                "the entry is disabled and left out",
                "remove `disabled` to have it",
            );
            return;
        }
        let transport = entry
            .r#type
            .as_deref()
            .or(entry.transport.as_deref())
            .unwrap_or_default();
        if transport.eq_ignore_ascii_case("sse") {
            let remedy = "use the server's streamable HTTP endpoint (`\"type\": \"http\"`), which every revision since 2025-03-26 has";
            self.warn(
                codes::ENTRY_SSE,
                key,
                node,
                None,
                "the entry uses the SSE transport of 2024-11-05 and is left out",
                remedy,
            );
            return;
        }
        self.unknown_fields(key, node);
        let Some(name) = self.name(key, node) else { return };
        let transport = transport.to_owned();
        let spec = self.spec(key, node, &transport, entry);
        if self
            .findings
            .iter()
            .skip(before)
            .any(|finding| finding.severity == crate::Severity::Error)
        {
            return;
        }
        let part = if spec.http.is_some() { "http" } else { "stdio" };
        self.documents.push(Document {
            source: self.source.clone(),
            metadata: Metadata { name, team: None },
            spec: Spec::Server(spec),
            tree: as_document(key, node, part),
            origin: Origin::McpJson {
                root: self.root,
                entry: key.text.clone(),
            },
        });
    }

    fn values(&mut self, key: &Key, node: &Node) -> Option<Entry> {
        if !matches!(node.shape, Shape::Map(_)) {
            self.fail(
                codes::MCP_JSON,
                key,
                node,
                None,
                "the entry is not an object",
                "write `{\"command\": …}` or `{\"url\": …}`",
            );
            return None;
        }
        let piece = Piece {
            root: self.piece.root.clone(),
            text: node.span.clone(),
        };
        let slice = self.text.get(node.span.clone()).unwrap_or_default();
        match serde_saphyr::from_str_with_options(slice, super::mesh_file::options()) {
            Ok(entry) => Some(entry),
            Err(error) => {
                self.findings
                    .push(failure::of_values(self.source, Some(title(key)), &piece, &error));
                None
            }
        }
    }

    /// The name and alias an entry gives: lower case, everything else a `-`.
    fn name(&mut self, key: &Key, node: &Node) -> Option<String> {
        let name = entry::alias_of(&key.text);
        if name.is_empty() {
            self.fail(
                codes::ENTRY_NAME,
                key,
                node,
                None,
                "the entry's name holds no letter or digit to make an alias of",
                "rename the entry",
            );
            return None;
        }
        if let Some(other) = self.names.insert(name.clone(), key.text.clone()) {
            let message = format!("the entry's alias is `{name}`, and so is that of `{other}`");
            self.fail(codes::ENTRY_NAME, key, node, None, &message, "rename one of the two");
            return None;
        }
        Some(name)
    }

    fn unknown_fields(&mut self, key: &Key, node: &Node) {
        let Shape::Map(members) = &node.shape else { return };
        for (field, _) in members {
            if !FIELDS.contains(&field.text.as_str()) && field.text != "disabled" {
                let message = format!("`{}` means nothing to this program and is ignored", field.text);
                self.warn(codes::ENTRY_FIELD, key, node, Some(&field.text), &message, "");
            }
        }
    }

    fn spec(&mut self, key: &Key, node: &Node, transport: &str, entry: Entry) -> ServerSpec {
        for (field, text) in [
            ("command", entry.command.as_ref()),
            ("url", entry.url.as_ref()),
            ("serverUrl", entry.server_url.as_ref()),
        ] {
            self.no_variable(key, node, steps![field], text.map(String::as_str).unwrap_or_default());
        }
        for (index, argument) in entry.args.iter().enumerate() {
            self.no_variable(key, node, steps!["args", index], argument);
        }
        if let Some(cwd) = &entry.cwd {
            self.no_variable(key, node, steps!["cwd"], &cwd.to_string_lossy());
        }
        let env = self.values_of(key, node, "env", &entry.env);
        let headers = self.values_of(key, node, "headers", &entry.headers);
        let mut spec = ServerSpec::default();
        match transport.to_ascii_lowercase().as_str() {
            "" | "stdio" | "http" | "streamable-http" | "streamablehttp" | "streamable_http" => {}
            other => {
                let remedy = "the types are `stdio` and `http` (also `streamable-http`)";
                let field = if entry.r#type.is_some() { "type" } else { "transport" };
                self.fail(
                    codes::UNKNOWN_VALUE,
                    key,
                    node,
                    Some(field),
                    &format!("`{other}` is not a type of server"),
                    remedy,
                );
            }
        }
        spec.stdio = entry.command.map(|command| StdioSpec {
            command,
            args: entry.args,
            env,
            cwd: entry.cwd,
        });
        spec.http = entry.url.or(entry.server_url).map(|url| HttpSpec { url, headers });
        spec
    }

    fn values_of(
        &mut self,
        key: &Key,
        node: &Node,
        field: &str,
        values: &BTreeMap<String, Lenient>,
    ) -> BTreeMap<String, Value> {
        let mut out = BTreeMap::new();
        for (name, value) in values {
            let text = value.text();
            match variable(&text) {
                Ok(value) => drop(out.insert(name.clone(), value)),
                Err(()) => self.no_variable(key, node, steps![field, name], &text),
            }
        }
        out
    }

    fn no_variable(&mut self, key: &Key, node: &Node, path: &[tree::Step<'_>], text: &str) {
        if !text.contains("${") {
            return;
        }
        let span = node.span_of(path);
        let message = format!("`{}` holds a variable that is not replaced here", written(path));
        let remedy = "write the value out; `${NAME}` is read at the end of a value of `env` or `headers` only";
        let mut finding = Finding::error(codes::VARIABLE, self.source, message)
            .remedy(remedy)
            .at(span);
        finding.document = Some(title(key));
        finding.path = format!("{}.{}", written(steps![self.root, &key.text]), written(path));
        self.findings.push(finding);
    }

    fn fail(&mut self, code: &'static str, key: &Key, node: &Node, field: Option<&str>, message: &str, remedy: &str) {
        let finding = Finding::error(code, self.source, message).remedy(remedy);
        self.push(finding, key, node, field);
    }

    fn warn(&mut self, code: &'static str, key: &Key, node: &Node, field: Option<&str>, message: &str, remedy: &str) {
        let finding = Finding::warning(code, self.source, message).remedy(remedy);
        self.push(finding, key, node, field);
    }

    fn push(&mut self, mut finding: Finding, key: &Key, node: &Node, field: Option<&str>) {
        finding.document = Some(title(key));
        finding.path = written(steps![self.root, &key.text]);
        finding.span = Some(key.span.clone());
        if let Some((member, _)) = field.and_then(|field| node.member(field)) {
            finding.path = written(steps![self.root, &key.text, &member.text]);
            finding.span = Some(member.span.clone());
        }
        self.findings.push(finding);
    }
}

fn title(key: &Key) -> String {
    format!("Server/{}", key.text)
}
