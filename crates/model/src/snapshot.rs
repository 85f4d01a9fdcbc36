//! The immutable outcome of a configuration: everything a call may ask, resolved and indexed.
//!
//! A call takes one snapshot at its start and sees nothing else until its end. So references are pointers here, not
//! names, defaults are filled in, and every question a call asks (`view_at`, `application_by_token_digest`, `may_use`)
//! is answered by a look-up.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod beside;
mod calls;
mod questions;
mod source;

use crate::spiffe::TrustDomain;

pub use calls::{Concurrency, Deadlines};
pub use questions::{PAGE_BYTES_MAX, Questions, is_host};
pub use source::{EnvValue, TokenSource};

/// The application that the generated local token proves.
pub const LOCAL_APPLICATION: &str = "local";

/// SHA-256 of a service token.
pub type Digest = [u8; 32];

/// One configuration, checked, resolved and indexed.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts up with every change; it is in every access record. The assembly sets it.
    pub revision: u64,
    /// What holds for the whole mesh.
    pub mesh: MeshSpec,
    /// The edge: where it listens.
    pub gateway: GatewaySpec,
    /// Servers by name.
    pub servers: BTreeMap<Arc<str>, Arc<Server>>,
    /// Views that the gateway serves, by path.
    pub views: Vec<Arc<View>>,
    /// Applications, by name.
    pub applications: Vec<Arc<Application>>,
    pub(crate) paths: HashMap<Arc<str>, usize>,
    pub(crate) tokens: HashMap<Digest, usize>,
}

/// What holds for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSpec {
    /// The mesh's name.
    pub name: Arc<str>,
    /// Its name in the identities of its parts.
    pub trust_domain: TrustDomain,
    /// How long a certificate of one of its parts is valid.
    pub certificate_life: Duration,
    /// The OTLP receiver that spans are sent to, `http://` or `https://`; `None` sends none.
    pub traces: Option<Arc<str>>,
    /// Limits of the gateway.
    pub limits: Limits,
    /// Loopback address of the admin listener (`/metrics`); `None` leaves only the admin socket.
    pub admin: Option<SocketAddr>,
    /// Where access records go.
    pub access_log: AccessLog,
}

/// Where access records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON line per call on standard error.
    Stderr,
    /// One JSON line per call, appended to this file.
    File(PathBuf),
    /// Nowhere.
    Off,
}

/// Limits of the gateway. Each has a default, so that nothing is ever unbounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Largest answer of a server, in bytes.
    pub response_bytes_max: usize,
    /// Longest line a stdio server may write, in bytes.
    pub line_bytes_max: usize,
    /// Largest event of an SSE stream, in bytes.
    pub event_bytes_max: usize,
    /// What one stream may hold for a slow reader, in bytes.
    pub stream_buffer_bytes_max: usize,
    /// Nesting of JSON from clients.
    pub json_depth_max: usize,
    /// Values in one JSON message from a client.
    pub json_nodes_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections from one address.
    pub connections_per_address_max: usize,
    /// Open streams of one caller.
    pub streams_per_caller_max: usize,
    /// Legacy sessions of one caller.
    pub sessions_per_caller_max: usize,
    /// Calls that may be in flight.
    pub calls_in_flight_max: usize,
    /// Calls per second of one caller.
    pub calls_per_second: u32,
    /// Calls one caller may make at once before its rate counts.
    pub call_burst: u32,
    /// Calls per second of one caller to one tool that may change something.
    pub writes_per_second: u32,
    /// Calls of one caller to one such tool at once.
    pub write_burst: u32,
    /// Requests per second of one address that has not proved who it is.
    pub unauthenticated_per_second: u32,
    /// Children that stdio servers may run as.
    pub children_max: usize,
    /// How long calls may end in peace when the gateway stops.
    pub drain: Duration,
}

/// The edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySpec {
    /// The gateway's name.
    pub name: Arc<str>,
    /// Where it listens; never empty.
    pub listeners: Vec<Listener>,
}

/// One address the gateway listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificate and key files; required unless the address is loopback.
    pub tls: Option<TlsFiles>,
    /// `Host` values served, lower case; one without a port matches the listener's own port, and the port left out where
    /// it is the scheme's default. `None`: on loopback `localhost`, `127.0.0.1` and `[::1]`; elsewhere the file must name
    /// them. Empty serves nobody.
    pub hosts: Option<Vec<Arc<str>>>,
    /// `Origin` values admitted, in the form `scheme://host[:port]`, lower case. A request without `Origin` passes. `None`:
    /// on loopback the origins of its own hosts; elsewhere none. Empty admits no request that carries one.
    pub origins: Option<Vec<Arc<str>>>,
}

impl Listener {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// PEM files of a listener, reloaded when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// An MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name in the mesh.
    pub name: Arc<str>,
    /// The team that owns it.
    pub team: Option<Arc<str>>,
    /// The prefix of its names in views of several servers.
    pub alias: Arc<str>,
    /// How it is reached.
    pub reach: Reach,
    /// Which era it speaks.
    pub era: EraChoice,
    /// Silence after which a call is given up; progress starts it anew.
    pub deadline: Duration,
    /// Longest life of a call, whatever progress it reports.
    pub hard_deadline: Duration,
    /// Deadlines of single tools, by their own names.
    pub tools: BTreeMap<Arc<str>, Deadlines>,
    /// How many calls it is given at once.
    pub concurrency: Concurrency,
    /// Whether each caller has a session, or a child, of its own, where the server is a legacy one.
    pub per_caller: bool,
    /// What it may ask in the middle of a call.
    pub questions: Questions,
    /// Arguments against the tool's `inputSchema`.
    pub validate_arguments: Check,
    /// Structured results against the tool's `outputSchema`; never `Enforce`, because the call has run.
    pub validate_results: Check,
    /// Whether duplicate members inside `arguments` are let through.
    pub duplicate_arguments: bool,
    /// Whether its lists are read for each caller that can be asked, beside those for everybody.
    pub catalogue_per_caller: bool,
    /// How often its catalogue is read again when it announces nothing.
    pub catalogue_refresh: Duration,
}

impl Server {
    /// Whether a connection made for this definition serves the other one too: the two differ at most in how the server
    /// is named in views, who owns it, and how its catalogue is read and its calls and questions
    /// are checked.
    pub fn is_reached_as(&self, other: &Self) -> bool {
        let same = Self {
            team: other.team.clone(),
            alias: other.alias.clone(),
            questions: other.questions.clone(),
            validate_arguments: other.validate_arguments,
            validate_results: other.validate_results,
            duplicate_arguments: other.duplicate_arguments,
            catalogue_per_caller: other.catalogue_per_caller,
            catalogue_refresh: other.catalogue_refresh,
            ..self.clone()
        };
        same == *other
    }
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// A child of the gateway that speaks over its standard input and output.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Its whole environment beside the few variables every program needs.
        env: Vec<(String, EnvValue)>,
        /// Its working directory.
        cwd: Option<PathBuf>,
    },
    /// An endpoint over HTTP.
    Http {
        /// `http://` or `https://`, without user info and fragment.
        url: String,
        /// Headers added to every request.
        headers: Vec<(String, EnvValue)>,
    },
    /// An endpoint over HTTP+SSE of 2024-11-05.
    Sse {
        /// The address of the event stream: `http://` or `https://`, without user info and fragment.
        url: String,
        /// Headers added to every request.
        headers: Vec<(String, EnvValue)>,
    },
    /// Sidecars that have joined the mesh for it.
    Sidecar {
        /// The version that gets the calls.
        version: Arc<str>,
        /// How the sidecar that `meshgate up` runs reaches the server; never a sidecar again.
        beside: Option<Box<Self>>,
    },
}

/// How the URL of a server on a socket of the file system begins.
pub(crate) const UNIX: &str = "unix:";

impl Reach {
    /// Whether it names something of the machine it is written on: a program, or a socket of the file system. Another machine
    /// must not say such a thing.
    pub fn is_of_one_machine(&self) -> bool {
        match self {
            Self::Stdio { .. } => true,
            Self::Http { url, .. } | Self::Sse { url, .. } => url.starts_with(UNIX),
            Self::Sidecar { .. } => false,
        }
    }
}

/// Which era a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EraChoice {
    /// Asked with `server/discover`.
    #[default]
    Auto,
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28.
    Modern,
}

/// What happens to a value that breaks its schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Check {
    /// Not looked at.
    Off,
    /// Let through and recorded.
    #[default]
    Warn,
    /// Refused, with the path and the rule.
    Enforce,
}

/// What a caller sees under one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: Arc<str>,
    /// The team that owns it.
    pub team: Option<Arc<str>>,
    /// Where it is served, `/mcp` or `/views/<name>/mcp` by default.
    pub path: Arc<str>,
    /// Its servers, by alias; each alias occurs once. Empty shows nothing.
    pub servers: Vec<ViewServer>,
    /// How names are shown. URIs are wrapped exactly when there are several servers ([`View::is_merged`]).
    pub naming: Naming,
    /// Whether callers need no token; only on loopback.
    pub anonymous: bool,
    /// Whether rate and concurrency limits are off; only on loopback.
    pub limits_lifted: bool,
    /// Replaces the servers' own instructions; `Some("")` gives none.
    pub instructions: Option<Arc<str>>,
    /// How long a client may keep a list, in milliseconds.
    pub list_ttl_ms: u64,
}

impl View {
    /// Whether several servers are merged, so that URIs are wrapped and lists are built here. A view of one server is
    /// as the server made it.
    pub fn is_merged(&self) -> bool {
        self.servers.len() > 1
    }

    /// The server of this view that bears `alias`.
    pub fn by_alias(&self, alias: &str) -> Option<&ViewServer> {
        self.servers.iter().find(|entry| &*entry.server.alias == alias)
    }
}

/// One server of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewServer {
    /// The server.
    pub server: Arc<Server>,
    /// Which of its tools are in the view, and under which names.
    pub tools: ToolFilter,
}

/// How names are shown in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// `<alias>__<name>`; the default in views of several servers.
    Prefixed,
    /// Unchanged; the default in views of one. Names that two servers share are findings when the catalogue is built.
    Plain,
}

/// Which tools of a server a view has. Decided on the server's own names, the same for lists and for calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFilter {
    /// Only these; `None` is all of them, an empty list is none.
    pub allow: Option<Vec<Arc<str>>>,
    /// Never these, also when allowed.
    pub hide: Vec<Arc<str>>,
    /// The server's own name → the name before prefixing.
    pub rename: BTreeMap<Arc<str>, Arc<str>>,
}

impl ToolFilter {
    /// Whether the view has the tool that its server calls `name`.
    pub fn admits(&self, name: &str) -> bool {
        let allowed = self
            .allow
            .as_ref()
            .is_none_or(|allow| allow.iter().any(|a| &**a == name));
        allowed && !self.hide.iter().any(|h| &**h == name)
    }

    /// The tool's name in this view, before any prefix.
    pub fn renamed<'a>(&'a self, name: &'a str) -> &'a str {
        self.rename.get(name).map_or(name, |to| to)
    }
}

/// A program that calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name.
    pub name: Arc<str>,
    /// The team that owns it.
    pub team: Option<Arc<str>>,
    /// How it proves itself: any one of these tokens. Empty proves nobody.
    pub tokens: Vec<TokenSource>,
    /// The views it may use; `None` is every view, an empty list is none.
    pub views: Option<Vec<Arc<str>>>,
}

impl Snapshot {
    /// The view served at a path.
    pub fn view_at(&self, path: &str) -> Option<&Arc<View>> {
        self.paths.get(path).and_then(|index| self.views.get(*index))
    }

    /// A view by name.
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        self.views.iter().find(|view| &*view.name == name)
    }

    /// An application by name.
    pub fn application(&self, name: &str) -> Option<&Arc<Application>> {
        self.applications.iter().find(|application| &*application.name == name)
    }

    /// The application that a token proves. Tokens from files and environment count once [`Snapshot::add_token`] has
    /// been told their digests.
    pub fn application_by_token_digest(&self, digest: &Digest) -> Option<&Arc<Application>> {
        self.tokens.get(digest).and_then(|index| self.applications.get(*index))
    }

    /// Registers the digest of a token that the assembly has read for an application. Returns `false`, and changes
    /// nothing, when there is no such application or another one has the same token: a token proves one application.
    #[must_use]
    pub fn add_token(&mut self, application: &str, digest: Digest) -> bool {
        let Some(index) = self.applications.iter().position(|a| &*a.name == application) else {
            return false;
        };
        *self.tokens.entry(digest).or_insert(index) == index
    }

    /// The digests of an application's tokens, in order.
    pub fn token_digests(&self, application: &str) -> Vec<Digest> {
        let is_its = |index: usize| self.applications.get(index).is_some_and(|a| &*a.name == application);
        let tokens = self.tokens.iter().filter(|(_, index)| is_its(**index));
        let mut digests: Vec<Digest> = tokens.map(|(digest, _)| *digest).collect();
        digests.sort_unstable();
        digests
    }

    /// Whether an application may use a view. An application that is not in the snapshot may use none.
    pub fn may_use(&self, application: &str, view: &View) -> bool {
        self.application(application)
            .is_some_and(|found| found.views.as_ref().is_none_or(|views| views.contains(&view.name)))
    }
}
