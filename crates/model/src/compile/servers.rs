//! `Server`: one alias each, reached in one way, with deadlines that make sense.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::report::Report;
use super::{Given, calls, questions, unpinned, values};
use crate::finding::codes;
use crate::kinds::{
    ArgumentCheck, CatalogueChoice, Duplicates, Era, HttpSpec, ResultCheck, ServerSpec, Sharing, StdioSpec, Transport,
    ValidationSpec,
};
use crate::limits;
use crate::naming;
use crate::parse::tree::steps;
use crate::parse::{Document, Spec};
use crate::snapshot::{Check, EraChoice, Reach, Server, UNIX};
use crate::spiffe;

pub(super) fn compile(given: Given<'_>, mesh: &ValidationSpec, report: &mut Report) -> BTreeMap<Arc<str>, Arc<Server>> {
    let mut servers = BTreeMap::new();
    let mut aliases: BTreeMap<String, &str> = BTreeMap::new();
    for document in given.documents {
        let Spec::Server(spec) = &document.spec else { continue };
        let name = document.metadata.name.as_str();
        if given.role.server().is_some_and(|own| **own != *name) {
            continue;
        }
        let alias = alias(document, spec, report);
        if let Some(other) = aliases.insert(alias.clone(), name) {
            let message = format!("`{other}` has the alias `{alias}` already");
            report.error(
                (document, steps!["spec", "alias"]),
                codes::ALIAS_TWICE,
                message,
                "give one of the two another alias",
            );
        }
        let reach = given.role.reach(name, reach(document, spec, report));
        let deadlines = calls::deadlines(document, spec, report);
        let server = Server {
            name: name.into(),
            team: document.metadata.team.as_deref().map(Into::into),
            alias: alias.into(),
            reach,
            era: match spec.era {
                Era::Auto => EraChoice::Auto,
                Era::Legacy => EraChoice::Legacy,
                Era::Modern => EraChoice::Modern,
            },
            deadline: deadlines.silence,
            hard_deadline: deadlines.hard,
            tools: calls::tools(document, spec, deadlines, report),
            concurrency: calls::concurrency(document, &spec.concurrency, report),
            per_caller: per_caller(document, spec, report),
            questions: questions::compile(document, &spec.questions, report),
            validate_arguments: arguments_check(spec.validation.arguments.or(mesh.arguments)),
            validate_results: results_check(spec.validation.results.or(mesh.results)),
            duplicate_arguments: spec.duplicate_arguments == Duplicates::Allow,
            catalogue_per_caller: spec.catalogue == CatalogueChoice::PerCaller,
            catalogue_refresh: calls::period(
                document,
                steps!["spec"],
                ("catalogueRefresh", spec.catalogue_refresh),
                Duration::from_secs(1)..=limits::DEADLINE_MAX,
                report,
            )
            .unwrap_or(limits::CATALOGUE_REFRESH),
        };
        servers.insert(server.name.clone(), Arc::new(server));
    }
    servers
}

/// Whether callers have sessions of their own. A modern server has no sessions that could be shared or not.
fn per_caller(document: &Document, spec: &ServerSpec, report: &mut Report) -> bool {
    let per_caller = spec.sharing == Sharing::PerCaller;
    if per_caller && spec.era == Era::Modern {
        report.error(
            (document, steps!["spec", "sharing"]),
            codes::SHARING,
            "`sharing: perCaller` is about sessions, which a server of `era: modern` does not have",
            "remove one of the two",
        );
    }
    per_caller
}

fn arguments_check(choice: Option<ArgumentCheck>) -> Check {
    match choice {
        Some(ArgumentCheck::Off) => Check::Off,
        Some(ArgumentCheck::Warn) => Check::Warn,
        Some(ArgumentCheck::Enforce) | None => Check::Enforce,
    }
}

fn results_check(choice: Option<ResultCheck>) -> Check {
    match choice {
        Some(ResultCheck::Off) => Check::Off,
        Some(ResultCheck::Warn) | None => Check::Warn,
    }
}

fn alias(document: &Document, spec: &ServerSpec, report: &mut Report) -> String {
    let alias = spec.alias.as_ref().unwrap_or(&document.metadata.name);
    if !naming::valid_alias(alias) {
        let (message, at) = match spec.alias {
            Some(_) => (format!("`{alias}` is not an alias"), steps!["spec", "alias"]),
            None => (
                format!("the name `{alias}` is too long to be the alias as well"),
                steps!["metadata", "name"],
            ),
        };
        report.error(
            (document, at),
            codes::ALIAS,
            message,
            "give `spec.alias` 1 to 32 of `a-z`, `0-9` and `-`",
        );
    }
    alias.clone()
}

fn reach(document: &Document, spec: &ServerSpec, report: &mut Report) -> Reach {
    let Some(sidecar) = &spec.sidecar else {
        return directly(document, spec, report);
    };
    let version = sidecar.version.as_deref().unwrap_or(limits::SERVER_VERSION);
    if !spiffe::is_version(version) {
        report.error(
            (document, steps!["spec", "sidecar", "version"]),
            codes::VERSION,
            format!("`{version}` cannot name a version"),
            "write 1 to 63 of `a-z`, `A-Z`, `0-9`, `.`, `-` and `_`, the first a letter or a digit",
        );
    }
    let told = spec.stdio.is_some() || spec.http.is_some();
    let beside = told.then(|| Box::new(directly(document, spec, report)));
    if let Some(host) = spec.http.as_ref().and_then(|http| elsewhere(&http.url)) {
        report.warn(
            (document, steps!["spec", "http", "url"]),
            codes::BYPASS,
            format!("the sidecar is not on the server's machine, so whoever reaches `{host}` calls the server past it"),
            "start the sidecar beside the server, or let the network keep everybody else away from it",
        );
    }
    Reach::Sidecar {
        version: version.into(),
        beside,
    }
}

/// The way that whoever stands beside the server takes.
fn directly(document: &Document, spec: &ServerSpec, report: &mut Report) -> Reach {
    match (&spec.stdio, &spec.http) {
        (Some(stdio), None) => stdio_reach(document, stdio, report),
        (None, Some(http)) => http_reach(document, spec.era, http, report),
        (both, _) => {
            let message = if both.is_some() {
                "the server is reached in two ways"
            } else {
                "nothing says how the server is reached"
            };
            let remedy = "write exactly one of `stdio: {command: …}` and `http: {url: …}`, or `sidecar: {}` for a server whose sidecar joins the mesh";
            report.error((document, steps!["spec"]), codes::REACH, message, remedy);
            Reach::Http {
                url: String::new(),
                headers: Vec::new(),
            }
        }
    }
}

fn stdio_reach(document: &Document, stdio: &StdioSpec, report: &mut Report) -> Reach {
    let at = steps!["spec", "stdio", "command"];
    if stdio.command.trim().is_empty() || stdio.command.contains('\0') {
        report.error(
            (document, at),
            codes::COMMAND,
            "the command is empty or holds a NUL character",
            "name a program",
        );
    } else if stdio.args.is_empty() && stdio.command.contains(' ') && !stdio.command.contains('/') {
        let message = format!("`{}` is looked up as one program, blanks and all", stdio.command);
        report.error(
            (document, at),
            codes::COMMAND,
            message,
            "write the program as `command` and the rest as `args`, one item each",
        );
    }
    for (index, argument) in stdio.args.iter().enumerate() {
        if argument.contains('\0') {
            report.error(
                (document, steps!["spec", "stdio", "args", index]),
                codes::COMMAND,
                "the argument holds a NUL character",
                "remove it",
            );
        }
    }
    if let Some((index, package)) = unpinned::package(&stdio.command, &stdio.args) {
        let message = format!("`{package}` is run in whatever version is newest at each start");
        report.warn(
            (document, steps!["spec", "stdio", "args", index]),
            codes::UNPINNED,
            message,
            "name its version",
        );
    }
    let command = if stdio.command.contains('/') {
        report
            .file((document, at), Path::new(&stdio.command))
            .to_string_lossy()
            .into_owned()
    } else {
        stdio.command.clone()
    };
    let cwd = stdio
        .cwd
        .as_ref()
        .map(|cwd| report.file((document, steps!["spec", "stdio", "cwd"]), cwd));
    Reach::Stdio {
        command,
        args: stdio.args.clone(),
        env: values::environment(document, &stdio.env, report),
        cwd,
    }
}

fn http_reach(document: &Document, era: Era, http: &HttpSpec, report: &mut Report) -> Reach {
    url(document, &http.url, report);
    let url = http.url.clone();
    let headers = values::headers(document, &http.headers, report);
    match http.transport {
        Transport::Streamable => Reach::Http { url, headers },
        Transport::Sse => {
            if era == Era::Modern {
                report.error(
                    (document, steps!["spec", "http", "transport"]),
                    codes::TRANSPORT,
                    "`transport: sse` is of 2024-11-05, and `era` says `modern`",
                    "remove one of the two",
                );
            }
            Reach::Sse { url, headers }
        }
    }
}

fn url(document: &Document, url: &str, report: &mut Report) {
    let at = (document, steps!["spec", "http", "url"]);
    if let Some(socket) = url.strip_prefix(UNIX) {
        let (socket, path) = socket.split_once(':').unwrap_or((socket, "/mcp"));
        let sound = socket.len() > 1 && socket.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok();
        if !(sound && path.starts_with('/')) {
            let message = "behind `unix:` stands no absolute path of a socket";
            let remedy =
                "write it as `unix:/run/server.sock`, and where its endpoint is not `/mcp`, that behind another colon";
            report.error(at, codes::URL, message, remedy);
        }
        return;
    }
    let remedy = "write it as `https://host[:port]/path`";
    let uri: http::Uri = match url.parse() {
        Ok(uri) => uri,
        Err(_) => return report.error(at, codes::URL, "the URL is not one", remedy),
    };
    let scheme = uri.scheme_str().unwrap_or_default();
    let Some(authority) = uri.authority().filter(|a| !a.host().is_empty()) else {
        return report.error(at, codes::URL, "the URL names no host", remedy);
    };
    if !matches!(scheme, "http" | "https") {
        return report.error(
            at,
            codes::URL,
            format!("the scheme `{scheme}` is not `https` or `http`"),
            remedy,
        );
    }
    if authority.as_str().contains('@') {
        return report.error(
            at,
            codes::URL,
            "the URL holds a user name or password",
            "send them in a header (`headers: {Authorization: {fromFile: PATH}}`)",
        );
    }
    if values::port(authority).is_none() {
        return report.error(at, codes::URL, "the URL's port is not a number up to 65535", remedy);
    }
    if url.contains('#') {
        return report.error(
            at,
            codes::URL,
            "the URL holds a fragment, which is never sent",
            "remove what begins with `#`",
        );
    }
    if scheme == "http" && !is_this_machine(authority.host()) {
        let message = format!("calls to `{}` leave this machine without TLS", authority.host());
        report.warn(at, codes::PLAIN_HTTP, message, "use `https://` where the server has it");
    }
}

/// The host of a URL, where that is another machine.
fn elsewhere(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.host().filter(|host| !host.is_empty() && !is_this_machine(host))?;
    Some(host.to_owned())
}

fn is_this_machine(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}
