//! `View`: servers that exist, paths of their own, and nothing open that other machines can reach.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Given;
use super::gateway::Edge;
use super::mesh::out_of_range;
use super::report::Report;
use crate::finding::codes;
use crate::kinds::{NamingChoice, ToolsSpec, ViewSpec};
use crate::limits;
use crate::naming;
use crate::parse::tree::steps;
use crate::parse::{Document, Spec};
use crate::snapshot::{Naming, Server, ToolFilter, View, ViewServer};

const DEFAULT_VIEW: &str = "default";
const PATH_CHARS_MAX: usize = 200;

type Servers = BTreeMap<Arc<str>, Arc<Server>>;

/// Every view there is, ordered by name; without a document, the one of all servers.
pub(super) fn compile(given: Given<'_>, servers: &Servers, edge: &Edge<'_>, report: &mut Report) -> Vec<Arc<View>> {
    let mut views: Vec<Arc<View>> = Vec::new();
    let mut any = false;
    for document in given.documents {
        let Spec::View(spec) = &document.spec else { continue };
        any = true;
        let view = view(document, spec, (servers, given.role.server().is_some()), edge, report);
        if let Some(other) = views
            .iter()
            .find(|other| other.path == view.path && other.name != view.name)
        {
            let message = format!("the view `{}` is served at `{}` already", other.name, view.path);
            report.error(
                (document, steps!["spec", "path"]),
                codes::VIEW_PATH_TWICE,
                message,
                "give one of the two another path",
            );
        }
        views.push(Arc::new(view));
    }
    if !any && !given.whole {
        views.push(Arc::new(default_view(servers)));
    }
    views.sort_by(|a, b| a.name.cmp(&b.name));
    views
}

/// The views there are, as a remedy.
pub(super) fn known(views: &[Arc<View>]) -> String {
    let names: Vec<String> = views.iter().map(|view| format!("`{}`", view.name)).collect();
    if names.is_empty() {
        "there is none".to_owned()
    } else {
        format!("the views are {}", names.join(", "))
    }
}

fn default_view(servers: &Servers) -> View {
    let servers = by_alias(
        servers
            .values()
            .map(|server| ViewServer {
                server: server.clone(),
                tools: ToolFilter::default(),
            })
            .collect(),
    );
    let naming = default_naming(servers.len());
    View {
        name: DEFAULT_VIEW.into(),
        team: None,
        path: limits::PATH.into(),
        servers,
        naming,
        anonymous: false,
        limits_lifted: false,
        instructions: None,
        list_ttl_ms: milliseconds(limits::LIST_TTL),
    }
}

fn default_naming(servers: usize) -> Naming {
    if servers > 1 { Naming::Prefixed } else { Naming::Plain }
}

fn by_alias(mut servers: Vec<ViewServer>) -> Vec<ViewServer> {
    servers.sort_by(|a, b| a.server.alias.cmp(&b.server.alias));
    servers
}

fn milliseconds(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

/// `only_own`: servers that are not known are another part's.
fn view(
    document: &Document,
    spec: &ViewSpec,
    (servers, only_own): (&Servers, bool),
    edge: &Edge<'_>,
    report: &mut Report,
) -> View {
    let servers = view_servers(document, spec, (servers, only_own), report);
    if edge.serves(&document.metadata.name) {
        loopback_only(document, spec, edge, report);
    }
    let naming = match spec.naming {
        Some(NamingChoice::Prefixed) => Naming::Prefixed,
        Some(NamingChoice::Plain) => Naming::Plain,
        None => default_naming(servers.len()),
    };
    if naming == Naming::Plain && servers.len() > 1 {
        let message =
            "names of several servers are shown without their prefix; a name that two of them share is not shown";
        report.warn(
            (document, steps!["spec", "naming"]),
            codes::PLAIN_MERGED,
            message,
            "write `naming: prefixed` to have them all",
        );
    }
    if let Some(text) = spec
        .instructions
        .as_ref()
        .filter(|text| text.len() > limits::INSTRUCTIONS_BYTES)
    {
        let message = format!(
            "the instructions have {} bytes, at most {} are sent",
            text.len(),
            limits::INSTRUCTIONS_BYTES
        );
        report.error(
            (document, steps!["spec", "instructions"]),
            codes::INSTRUCTIONS,
            message,
            "shorten them",
        );
    }
    let ttl = spec.list_ttl.map_or(limits::LIST_TTL, |period| {
        if period.0 > limits::DEADLINE_MAX {
            out_of_range(
                report,
                (document, steps!["spec", "listTtl"]),
                "listTtl",
                &period.to_string(),
                ("0s", "24h"),
            );
        }
        period.0
    });
    View {
        name: document.metadata.name.as_str().into(),
        team: document.metadata.team.as_deref().map(Into::into),
        path: view_path(document, spec, report),
        servers,
        naming,
        anonymous: spec.anonymous,
        limits_lifted: spec.lift_limits,
        instructions: spec.instructions.as_deref().map(Into::into),
        list_ttl_ms: milliseconds(ttl),
    }
}

/// What is open to anybody, or without limits, is for this machine only.
fn loopback_only(document: &Document, spec: &ViewSpec, edge: &Edge<'_>, report: &mut Report) {
    let Some(listener) = edge.beyond_loopback() else { return };
    if spec.anonymous {
        let message = format!(
            "an anonymous view is for loopback only, and the gateway listens on `{}`",
            listener.address
        );
        report.error(
            (document, steps!["spec", "anonymous"]),
            codes::ANONYMOUS,
            message,
            "remove `anonymous: true`",
        );
    }
    if spec.lift_limits {
        let message = format!(
            "a view without limits is for loopback only, and the gateway listens on `{}`",
            listener.address
        );
        report.error(
            (document, steps!["spec", "liftLimits"]),
            codes::LIFTED,
            message,
            "remove `liftLimits: true`",
        );
    }
}

fn view_path(document: &Document, spec: &ViewSpec, report: &mut Report) -> Arc<str> {
    let Some(written) = &spec.path else {
        let name = document.metadata.name.as_str();
        return if name == DEFAULT_VIEW {
            limits::PATH.into()
        } else {
            format!("/views/{name}/mcp").into()
        };
    };
    let segment = |s: &str| {
        !s.is_empty()
            && !s.starts_with('.')
            && s.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-'))
    };
    let valid = written.len() <= PATH_CHARS_MAX
        && written
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(segment));
    if !valid {
        let remedy =
            "write `/` and segments of `a-z`, `0-9`, `.`, `_` and `-` that do not begin with `.`: `/mcp`, `/team/mcp`";
        report.error(
            (document, steps!["spec", "path"]),
            codes::VIEW_PATH,
            format!("`{written}` is not the path of a view"),
            remedy,
        );
    }
    written.as_str().into()
}

fn view_servers(
    document: &Document,
    spec: &ViewSpec,
    (servers, only_own): (&Servers, bool),
    report: &mut Report,
) -> Vec<ViewServer> {
    let mut out: Vec<ViewServer> = Vec::new();
    if spec.servers.is_empty() {
        report.warn(
            (document, steps!["spec", "servers"]),
            codes::EMPTY_VIEW,
            "the view has no server, so it shows nothing",
            "name its servers",
        );
    }
    for (index, written) in spec.servers.iter().enumerate() {
        let at = (document, steps!["spec", "servers", index, "name"]);
        let Some(server) = servers.get(written.name.as_str()) else {
            if only_own {
                continue;
            }
            let names: Vec<String> = servers.keys().map(|name| format!("`{name}`")).collect();
            let remedy = if names.is_empty() {
                "there is none".to_owned()
            } else {
                format!("the servers are {}", names.join(", "))
            };
            report.error(
                at,
                codes::UNKNOWN_SERVER,
                format!("there is no server `{}`", written.name),
                remedy,
            );
            continue;
        };
        if out.iter().any(|earlier| earlier.server.name == server.name) {
            report.error(
                at,
                codes::SERVER_TWICE,
                format!("the view has `{}` already", written.name),
                "join the two entries",
            );
            continue;
        }
        let tools = tools(document, index, &written.tools, report);
        out.push(ViewServer {
            server: server.clone(),
            tools,
        });
    }
    by_alias(out)
}

fn tools(document: &Document, server: usize, spec: &ToolsSpec, report: &mut Report) -> ToolFilter {
    let rule = "a tool's name has 1 to 128 of `A-Z`, `a-z`, `0-9`, `_`, `.` and `-`";
    let lists = [
        ("allow", spec.allow.as_deref().unwrap_or_default()),
        ("hide", spec.hide.as_slice()),
    ];
    for (field, names) in lists {
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !naming::valid_name(name)) {
            let at = (document, steps!["spec", "servers", server, "tools", field, index]);
            report.error(
                at,
                codes::TOOL_NAME,
                format!("`{name}` is not the name of a tool"),
                rule,
            );
        }
    }
    for (index, name) in spec
        .allow
        .iter()
        .flatten()
        .enumerate()
        .filter(|(_, name)| spec.hide.contains(name))
    {
        let at = (document, steps!["spec", "servers", server, "tools", "allow", index]);
        report.warn(
            at,
            codes::RENAME,
            format!("`{name}` is allowed and hidden; it stays hidden"),
            "remove it from one of the two lists",
        );
    }
    let mut taken: BTreeSet<&str> = spec
        .allow
        .iter()
        .flatten()
        .filter(|name| !spec.rename.contains_key(*name))
        .map(String::as_str)
        .collect();
    for (from, to) in &spec.rename {
        let at = (document, steps!["spec", "servers", server, "tools", "rename", from]);
        for name in [from, to].into_iter().filter(|name| !naming::valid_name(name)) {
            report.error(
                at,
                codes::TOOL_NAME,
                format!("`{name}` is not the name of a tool"),
                rule,
            );
        }
        if !taken.insert(to) {
            report.error(
                at,
                codes::RENAME,
                format!("two tools of the server are named `{to}` in this view"),
                "give one of them another name",
            );
        }
    }
    let shared = |names: &Vec<String>| names.iter().map(|name| name.as_str().into()).collect();
    ToolFilter {
        allow: spec.allow.as_ref().map(shared),
        hide: shared(&spec.hide),
        rename: spec
            .rename
            .iter()
            .map(|(from, to)| (from.as_str().into(), to.as_str().into()))
            .collect(),
    }
}
