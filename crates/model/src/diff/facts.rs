//! A snapshot as a list of named values, each beside what of it may be shown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::amount::{Period, Size};
use crate::secret::{looks_secret, may_be_secret};
use crate::snapshot::{
    AccessLog, Application, EnvValue, Limits, Listener, MeshSpec, Reach, Server, Snapshot, TokenSource, View,
};

/// An argument at least this long, of letters and digits alone, may be a key.
const KEY_CHARS_MIN: usize = 20;

/// The kinds, in the order in which changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Mesh,
    Gateway,
    Server,
    View,
    Application,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::Gateway => "Gateway",
            Self::Server => "Server",
            Self::View => "View",
            Self::Application => "Application",
        }
    }
}

pub(super) type Key = (Kind, Arc<str>);

/// One object of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Object {
    pub(super) facts: Vec<Fact>,
    /// Equal for equal objects, so that a field which is not told apart is still told of. Never shown.
    pub(super) whole: String,
}

/// One value.
#[derive(Clone, Debug)]
pub(super) struct Fact {
    pub(super) path: String,
    /// Compared, never shown.
    pub(super) value: String,
    /// What may be shown.
    pub(super) shown: Option<String>,
    pub(super) at_restart: bool,
}

/// Every object of a snapshot. The mesh and the gateway are always there and always the same ones.
pub(super) fn objects(snapshot: &Snapshot) -> BTreeMap<Key, Object> {
    let mut all = BTreeMap::new();
    all.insert((Kind::Mesh, "".into()), mesh(&snapshot.mesh));
    all.insert((Kind::Gateway, "".into()), gateway(snapshot));
    for server in snapshot.servers.values() {
        all.insert((Kind::Server, server.name.clone()), of_server(server));
    }
    for view in &snapshot.views {
        all.insert((Kind::View, view.name.clone()), of_view(view));
    }
    for (index, application) in snapshot.applications.iter().enumerate() {
        let key = (Kind::Application, application.name.clone());
        all.insert(key, of_application(snapshot, index, application));
    }
    all
}

struct Facts(Vec<Fact>);

impl Facts {
    fn add(&mut self, path: impl Into<String>, value: impl ToString) {
        let value = value.to_string();
        self.0.push(Fact {
            path: path.into(),
            shown: Some(value.clone()),
            value,
            at_restart: false,
        });
    }

    fn add_some(&mut self, path: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(path, value);
        }
    }

    fn hide(&mut self, path: impl Into<String>, value: impl Into<String>, shown: Option<String>) {
        self.0.push(Fact {
            path: path.into(),
            value: value.into(),
            shown,
            at_restart: false,
        });
    }

    fn at_restart(&mut self, path: impl Into<String>, value: impl ToString) {
        self.add(path, value);
        if let Some(last) = self.0.last_mut() {
            last.at_restart = true;
        }
    }

    fn of(self, whole: &impl std::fmt::Debug) -> Object {
        Object {
            facts: self.0,
            whole: format!("{whole:?}"),
        }
    }
}

fn period(duration: Duration) -> String {
    Period(duration).to_string()
}

fn size(bytes: usize) -> String {
    Size(u64::try_from(bytes).unwrap_or(u64::MAX)).to_string()
}

fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(", "))
}

fn mesh(mesh: &MeshSpec) -> Object {
    let mut facts = Facts(Vec::new());
    facts.add("metadata.name", &mesh.name);
    if let Some(admin) = mesh.admin {
        facts.at_restart("admin.address", admin);
    }
    let log = match &mesh.access_log {
        AccessLog::Stderr => "stderr".to_owned(),
        AccessLog::Off => "off".to_owned(),
        AccessLog::File(path) => format!("file {}", path.display()),
    };
    facts.at_restart("accessLog", log);
    facts.at_restart("trustDomain", &mesh.trust_domain);
    facts.add("certificates.life", period(mesh.certificate_life));
    if let Some(receiver) = &mesh.traces {
        facts.at_restart("traces.otlp", receiver);
    }
    limits(&mut facts, &mesh.limits);
    facts.of(mesh)
}

fn limits(facts: &mut Facts, limits: &Limits) {
    for (name, bytes) in [
        ("body", limits.body_bytes_max),
        ("response", limits.response_bytes_max),
        ("line", limits.line_bytes_max),
        ("event", limits.event_bytes_max),
        ("streamBuffer", limits.stream_buffer_bytes_max),
    ] {
        facts.at_restart(format!("limits.{name}"), size(bytes));
    }
    facts.at_restart("limits.jsonDepth", limits.json_depth_max);
    facts.at_restart("limits.jsonNodes", limits.json_nodes_max);
    facts.add("limits.connections", limits.connections_max);
    facts.add("limits.connectionsPerAddress", limits.connections_per_address_max);
    facts.add("limits.streamsPerCaller", limits.streams_per_caller_max);
    facts.add("limits.sessionsPerCaller", limits.sessions_per_caller_max);
    facts.add("limits.callsInFlight", limits.calls_in_flight_max);
    facts.add("limits.callsPerSecond", limits.calls_per_second);
    facts.add("limits.callBurst", limits.call_burst);
    facts.add("limits.writesPerSecond", limits.writes_per_second);
    facts.add("limits.writeBurst", limits.write_burst);
    facts.add("limits.unauthenticatedPerSecond", limits.unauthenticated_per_second);
    facts.add("limits.children", limits.children_max);
    facts.add("limits.drain", period(limits.drain));
}

fn gateway(snapshot: &Snapshot) -> Object {
    let mut facts = Facts(Vec::new());
    facts.add("metadata.name", &snapshot.gateway.name);
    for (index, listener) in snapshot.gateway.listeners.iter().enumerate() {
        facts.at_restart(format!("listeners[{index}]"), of_listener(listener));
    }
    facts.of(&snapshot.gateway)
}

fn of_listener(listener: &Listener) -> String {
    let mut text = listener.address.to_string();
    if let Some(tls) = &listener.tls {
        text.push_str(&format!(
            ", tls {} and {}",
            tls.certificate.display(),
            tls.key.display()
        ));
    }
    if let Some(hosts) = &listener.hosts {
        text.push_str(&format!(", hosts {}", list(hosts)));
    }
    if let Some(origins) = &listener.origins {
        text.push_str(&format!(", origins {}", list(origins)));
    }
    text
}

fn reach(facts: &mut Facts, reach: &Reach) {
    match reach {
        Reach::Stdio {
            command,
            args,
            env,
            cwd,
        } => {
            facts.add("stdio.command", command);
            facts.hide("stdio.args", args.join("\0"), Some(arguments(args)));
            facts.add_some("stdio.cwd", cwd.as_ref().map(|cwd| cwd.display().to_string()));
            values(facts, "stdio.env", env);
        }
        Reach::Http { url, headers } => {
            facts.hide("http.url", url, Some(address(url)));
            values(facts, "http.headers", headers);
        }
        Reach::Sse { url, headers } => {
            facts.hide("http.url", url, Some(address(url)));
            facts.add("http.transport", "sse");
            values(facts, "http.headers", headers);
        }
        Reach::Sidecar { version, beside } => {
            facts.add("sidecar.version", version);
            if let Some(beside) = beside {
                self::reach(facts, beside);
            }
        }
    }
}

fn of_server(server: &Server) -> Object {
    let mut facts = Facts(Vec::new());
    facts.add_some("team", server.team.as_ref());
    facts.add("alias", &server.alias);
    reach(&mut facts, &server.reach);
    facts.add("era", format!("{:?}", server.era).to_lowercase());
    facts.add("deadline", period(server.deadline));
    facts.add("hardDeadline", period(server.hard_deadline));
    for (tool, deadlines) in &server.tools {
        facts.add(format!("tools.{tool}.deadline"), period(deadlines.silence));
        facts.add(format!("tools.{tool}.hardDeadline"), period(deadlines.hard));
    }
    facts.add("concurrency.max", server.concurrency.max);
    facts.add("concurrency.queue", server.concurrency.queue);
    facts.add("concurrency.queueTime", period(server.concurrency.queue_time));
    facts.add("sharing", if server.per_caller { "perCaller" } else { "shared" });
    let asks = &server.questions;
    let word = |may: bool| if may { "allow" } else { "deny" };
    facts.add("questions.elicitation", word(asks.elicitation));
    if let Some(hosts) = &asks.hosts {
        facts.add("questions.hosts", hosts.join(" "));
    }
    facts.add("questions.sampling", word(asks.sampling));
    facts.add("questions.roots", word(asks.roots));
    facts.add(
        "validateArguments",
        format!("{:?}", server.validate_arguments).to_lowercase(),
    );
    facts.add(
        "validateResults",
        format!("{:?}", server.validate_results).to_lowercase(),
    );
    facts.add("duplicateArguments", server.duplicate_arguments);
    facts.add("cataloguePerCaller", server.catalogue_per_caller);
    facts.add("catalogueRefresh", period(server.catalogue_refresh));
    facts.of(server)
}

fn values(facts: &mut Facts, field: &str, values: &[(String, EnvValue)]) {
    for (name, value) in values {
        let path = format!("{field}.{name}");
        match value {
            EnvValue::Literal(text) => facts.hide(path, &**text, None),
            EnvValue::Environment { prefix, name, default } => {
                let value = format!("{prefix}\0{name}\0{default:?}");
                facts.hide(path, value, Some(format!("variable {name}")));
            }
            EnvValue::File { prefix, path: file } => {
                let shown = format!("file {}", file.display());
                facts.hide(path, format!("{prefix}\0{shown}"), Some(shown));
            }
        }
    }
}

/// Arguments without what may be a secret: what follows an option that sounds like one, and what looks like a key.
fn arguments(args: &[String]) -> String {
    let mut shown: Vec<String> = Vec::with_capacity(args.len());
    let mut hidden_next = false;
    for arg in args {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (arg.as_str(), None),
        };
        let secret = may_be_secret(name);
        shown.push(match value {
            _ if hidden_next => "…".to_owned(),
            Some(value) if secret || is_key(value) => format!("{name}=…"),
            None if secret && !arg.starts_with('-') || is_key(arg) => "…".to_owned(),
            _ => arg.clone(),
        });
        hidden_next = secret && value.is_none() && arg.starts_with('-');
    }
    list(&shown)
}

/// A URL without its query and without parts of its path that may be keys.
fn address(url: &str) -> String {
    let (path, query) = match url.split_once('?') {
        Some((path, _)) => (path, "?…"),
        None => (url, ""),
    };
    let parts: Vec<&str> = path
        .split('/')
        .map(|part| if is_key(part) { "…" } else { part })
        .collect();
    parts.join("/") + query
}

/// Doubtful forms count: an argument that is not shown costs nobody anything.
fn is_key(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+=".contains(&b));
    let long = plain && text.len() >= KEY_CHARS_MIN && text.bytes().any(|b| b.is_ascii_digit());
    long || looks_secret(text)
}

fn of_view(view: &View) -> Object {
    let mut facts = Facts(Vec::new());
    facts.add_some("team", view.team.as_ref());
    facts.add("path", &view.path);
    let names: Vec<&Arc<str>> = view.servers.iter().map(|entry| &entry.server.name).collect();
    facts.add("servers", list(&names));
    for entry in &view.servers {
        let field = |name: &str| format!("servers.{}.tools.{name}", entry.server.name);
        if let Some(allow) = &entry.tools.allow {
            facts.add(field("allow"), list(allow));
        }
        if !entry.tools.hide.is_empty() {
            facts.add(field("hide"), list(&entry.tools.hide));
        }
        for (from, to) in &entry.tools.rename {
            facts.add(format!("{}.{from}", field("rename")), to);
        }
    }
    facts.add("naming", format!("{:?}", view.naming).to_lowercase());
    facts.add("anonymous", view.anonymous);
    facts.add("liftLimits", view.limits_lifted);
    facts.add_some("instructions", view.instructions.as_ref());
    facts.add("listTtl", period(Duration::from_millis(view.list_ttl_ms)));
    // A server of the view has a change of its own.
    let whole: Vec<_> = view.servers.iter().map(|entry| &entry.tools).collect();
    facts.of(&whole)
}

fn of_application(snapshot: &Snapshot, index: usize, application: &Application) -> Object {
    let mut facts = Facts(Vec::new());
    facts.add_some("team", application.team.as_ref());
    let views = match &application.views {
        None => "*".to_owned(),
        Some(views) => list(views),
    };
    facts.add("views", views);
    let source = |token: &TokenSource| match token {
        TokenSource::File(path) => format!("file {}", path.display()),
        TokenSource::Environment(name) => format!("variable {name}"),
        TokenSource::Sha256(_) => "digest".to_owned(),
    };
    let shown: Vec<String> = application.tokens.iter().map(source).collect();
    let mut digests: Vec<_> = snapshot
        .tokens
        .iter()
        .filter(|(_, owner)| **owner == index)
        .map(|(digest, _)| digest)
        .collect();
    digests.sort();
    let value = format!("{shown:?}{digests:?}");
    facts.hide("tokens", value, Some(list(&shown)));
    facts.of(application)
}
