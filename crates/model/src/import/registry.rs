//! From the entries of an MCP registry to proposals.
//!
//! Whoever publishes an entry writes what it says, so nothing of it may start anything. Every document of a proposal is a
//! comment until a person takes the mark away. What the launch may consist of is decided here and not by the entry: one
//! runner for each kind of package, the package's exact version, and the arguments and variables that the package documents
//! for itself. Arguments for the runner (which mount, which network, which shell) are shown and never taken.

mod entry;
mod launch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::finding::{Finding, codes};
use crate::kinds::{HttpSpec, ServerSpec, ToolsSpec};
use crate::parse::Config;

use super::naming::{Given, Names};
use super::{Written, write};
use entry::{Listed, Remote, Server};
use launch::{Asked, Refused};

pub use entry::{Page, page};

/// Longest text of an entry that is repeated in a remark, in characters.
const REMARK_CHARS_MAX: usize = 200;
/// What stands before each line of a document until a person accepts it.
const MARK: &str = "#: ";

/// What a registry offers, as a file in which nothing runs.
#[derive(Clone, Debug)]
pub struct Proposals {
    /// The file.
    pub text: String,
    /// Documents in it.
    pub count: usize,
    /// What is to say about the entries.
    pub findings: Vec<Finding>,
}

/// Writes proposals for the entries of a registry, in their order.
pub fn proposals(registry: &str, pages: &[Page]) -> Proposals {
    let source: Arc<str> = registry.into();
    let mut proposer = Proposer {
        source,
        names: Names::default(),
        text: write::comment(&[
            format!("Proposals from {registry}, written by `meshgate import`. Nothing in this file runs."),
            "Read an entry before you accept it: what it says was written by whoever published it.".to_owned(),
            format!(
                "To accept one, take the `{}` off its lines, copy it into a mesh file, and name it in a view.",
                MARK.trim()
            ),
        ]),
        count: 0,
        findings: Vec::new(),
    };
    for listed in pages.iter().flat_map(|page| &page.servers) {
        proposer.entry(listed);
    }
    Proposals {
        text: proposer.text,
        count: proposer.count,
        findings: proposer.findings,
    }
}

struct Proposer {
    source: Arc<str>,
    names: Names,
    text: String,
    count: usize,
    findings: Vec<Finding>,
}

impl Proposer {
    fn entry(&mut self, listed: &Listed) {
        let Server { name, version, .. } = &listed.server;
        let status = listed.status();
        if status == "deleted" {
            self.warn(name, codes::PROPOSAL, "the entry is deleted in its registry", "");
            return;
        }
        let mut remarks = vec![format!(
            "{} {}: {}",
            short(name),
            short(version),
            short(&listed.server.description)
        )];
        if let Some(repository) = &listed.server.repository {
            remarks.push(format!("source: {}", short(&repository.url)));
        }
        if status != "active" && !status.is_empty() {
            remarks.push(format!("its registry calls it {}", short(status)));
        }
        let alias = alias(name);
        let mut ways = 0;
        for package in &listed.server.packages {
            let mut asked = Asked::new(&alias);
            let way = format!("package {} `{}`", package.registry_type, package.identifier);
            let made = launch::package(package, &mut asked).map(|stdio| ServerSpec {
                stdio: Some(stdio),
                ..ServerSpec::default()
            });
            ways += usize::from(self.way(listed, (&alias, &way), &remarks, asked, made));
        }
        for remote in &listed.server.remotes {
            let mut asked = Asked::new(&alias);
            let way = format!("endpoint `{}`", remote.url);
            let made = of_remote(remote, &mut asked);
            ways += usize::from(self.way(listed, (&alias, &way), &remarks, asked, made));
        }
        if ways == 0 && listed.server.packages.is_empty() && listed.server.remotes.is_empty() {
            let remedy = "its source may say how it is started";
            self.warn(
                name,
                codes::PROPOSAL,
                "the entry names no package and no endpoint",
                remedy,
            );
        }
    }

    /// One way to have the server; whether it can be proposed.
    fn way(
        &mut self,
        listed: &Listed,
        (alias, way): (&str, &str),
        remarks: &[String],
        asked: Asked,
        made: Result<ServerSpec, Refused>,
    ) -> bool {
        let name = &listed.server.name;
        for left_out in &asked.left_out {
            let message = format!("{}: {left_out}", short(way));
            self.warn(name, codes::PROPOSAL_FIELD, &message, "add it by hand if you want it");
        }
        let spec = match made {
            Ok(spec) => spec,
            Err(Refused { why, remedy }) => {
                self.warn(name, codes::PROPOSAL, &format!("{}: {why}", short(way)), &remedy);
                return false;
            }
        };
        let mut remarks = remarks.to_vec();
        remarks.push(short(way));
        remarks.extend(asked.remarks.iter().map(|remark| short(remark)));
        remarks.extend(
            asked
                .left_out
                .iter()
                .map(|left_out| format!("not in this proposal: {}", short(left_out))),
        );
        let tools = ToolsSpec::default();
        let (given, other) = match self.names.give(alias, name, &spec, &tools) {
            Given::First(given) => (given, None),
            Given::Other(given, other) => (given, Some(other)),
            Given::Same(_) => return true,
        };
        if other.as_ref() == Some(name) {
            remarks.push("another way to have the same server; keep one".to_owned());
        }
        let document = write::server(&Written {
            name: given,
            remarks: Vec::new(),
            spec,
            tools,
        });
        if let Err(found) = crate::parse(&self.source, &document).and_then(Config::compile) {
            let why = found
                .first()
                .map_or_else(String::new, |finding| finding.message.clone());
            self.warn(name, codes::PROPOSAL, &format!("{}: {why}", short(way)), "");
            return false;
        }
        self.text.push('\n');
        self.text.push_str(&write::comment(&remarks));
        for line in std::iter::once("---").chain(document.lines()) {
            self.text.push_str(&format!("{MARK}{line}\n"));
        }
        self.count += 1;
        true
    }

    fn warn(&mut self, name: &str, code: &'static str, message: &str, remedy: &str) {
        let mut finding = Finding::warning(code, &self.source, message).remedy(remedy);
        finding.document = Some(short(name));
        self.findings.push(finding);
    }
}

/// An endpoint of somebody else's.
fn of_remote(remote: &Remote, asked: &mut Asked) -> Result<ServerSpec, Refused> {
    if remote.kind != "streamable-http" {
        return Err(Refused::new(
            format!("the transport `{}` is not proposed", short(&remote.kind)),
            "ask its publisher for a streamable HTTP endpoint",
        ));
    }
    let url = asked.filled("the URL", &remote.url, &remote.variables)?;
    if !url.starts_with("https://") {
        return Err(Refused::new(
            "its address is not `https`",
            "ask its publisher for one that is",
        ));
    }
    let mut headers = std::collections::BTreeMap::new();
    for header in &remote.headers {
        if crate::compile::is_own_header(&header.name.to_ascii_lowercase()) {
            asked
                .left_out
                .push(format!("the header `{}`, which the gateway writes itself", header.name));
        } else if let Some(value) = asked.header(header)? {
            headers.insert(header.name.clone(), value);
        }
    }
    Ok(ServerSpec {
        http: Some(HttpSpec {
            url,
            headers,
            transport: crate::kinds::Transport::default(),
        }),
        ..ServerSpec::default()
    })
}

/// `io.example/weather-server` becomes `weather-server`.
fn alias(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    match crate::parse::mcp_json::alias_of(last) {
        alias if alias.is_empty() => "server".to_owned(),
        alias => alias,
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(REMARK_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
