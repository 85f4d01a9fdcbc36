//! What the admin interface says, as JSON. Programs read this: members are added, never renamed or given a new meaning.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use meshgate_model::diff::{Change, FieldChange, How};

/// The answer to `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// The configuration's name.
    pub mesh: String,
    /// Counts every change of configuration or catalogue.
    pub revision: u64,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Why calls should not be sent here yet, or any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
    /// Where it listens.
    pub listeners: Vec<ListenerStatus>,
    /// What callers see.
    pub views: Vec<ViewStatus>,
    /// The servers behind it.
    pub servers: Vec<ServerStatus>,
    /// How busy it is.
    pub load: Load,
    /// Where the configuration comes from, and what became of its last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// How it stands with its membership of a mesh, where it is a part of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberStatus>,
}

/// How a part stands with its membership of a mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// Its SPIFFE ID.
    pub identity: String,
    /// This start of it, in hexadecimal.
    pub instance: String,
    /// The control plane: host and port.
    pub control: String,
    /// Whether a stream to it is open.
    pub connected: bool,
    /// Seconds since that was last different.
    pub since_seconds: u64,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The epoch of the configuration in force; 0 while there is none.
    pub epoch: u64,
    /// Its revision.
    pub revision: u64,
    /// What was offered last and refused: which resource, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The serial number of its certificate.
    pub certificate_serial: String,
    /// When that ends, in seconds since 1970.
    pub certificate_ends: u64,
    /// `late` when renewal has failed for a third of a life, `ended` when it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_alarm: Option<String>,
    /// Why the last renewal failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_failed: Option<String>,
}

/// One address the gateway listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The address, with the port that was taken.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// `http://…` or `https://…`, without a path.
    pub url: String,
}

/// One view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewStatus {
    /// Its name.
    pub name: String,
    /// Where it is served.
    pub path: String,
    /// Its servers.
    pub servers: Vec<String>,
    /// Servers of it that are away.
    pub away: Vec<String>,
    /// How many tools it shows.
    pub tools: usize,
    /// Whether it needs no token.
    pub anonymous: bool,
}

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// Its name.
    pub name: String,
    /// The team that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// `stdio`, `http` or `sse`.
    pub reach: String,
    /// `up`, `starting` or `away`.
    pub state: String,
    /// Why it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds it has been away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_seconds: Option<u64>,
    /// Seconds until it is tried again, while a pause between two attempts lasts; longer after each failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_seconds: Option<u64>,
    /// `legacy` or `modern`, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub era: Option<String>,
    /// The protocol revision it speaks, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How many tools its catalogue has; absent while it has never been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<usize>,
    /// The process, where it is our child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How often it was started or connected again.
    pub restarts: u64,
    /// Calls it is working on.
    pub calls_in_flight: usize,
    /// Calls that wait for their turn at it.
    #[serde(default)]
    pub calls_waiting: usize,
    /// Calls that wait for their client to answer what it asked.
    #[serde(default)]
    pub calls_parked: usize,
    /// Sessions or children of it that belong to a single caller.
    #[serde(default)]
    pub own_sessions: usize,
    /// The sidecars in front of it, where it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointStatus>,
}

/// One sidecar, as the gateway that calls it sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Its start, in hexadecimal; no two are alike.
    pub instance: String,
    /// The version of the server that it stands beside.
    pub version: String,
    /// Host and port of its mesh port.
    pub address: String,
    /// `up`, or `out` when it has no calls because it could not be reached or broke them.
    pub state: String,
    /// Calls and streams on their way to it.
    pub in_flight: usize,
    /// Connections that calls share.
    pub connections: usize,
    /// Connections that long streams share.
    pub stream_connections: usize,
}

/// How busy a gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Client connections.
    pub connections: i64,
    /// Calls that are running.
    pub calls_in_flight: i64,
    /// Legacy sessions that hold state.
    pub sessions: i64,
    /// Long streams.
    pub streams: i64,
    /// Child processes.
    pub children: i64,
    /// Access records that were lost.
    pub records_dropped: u64,
}

/// The answer to `GET /tools`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tools {
    /// The view.
    pub view: String,
    /// Where it is served.
    pub path: String,
    /// Its tools, in the order clients see.
    pub tools: Vec<Tool>,
    /// Servers that are away, whose tools are missing.
    pub away: Vec<String>,
}

/// One tool of a view.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tool {
    /// The name callers use.
    pub name: String,
    /// The server it leads to.
    pub server: String,
    /// Its definition as clients see it.
    pub definition: Box<RawValue>,
}

/// How the configuration came to be what it is, in the answer to `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// The file.
    pub file: String,
    /// Whether the file is watched.
    pub watched: bool,
    /// Counts the configurations of this process, the first being 1.
    pub revision: u64,
    /// Seconds since this one was taken over.
    pub applied_seconds: u64,
    /// How often a new one was taken over.
    pub reloads: u64,
    /// How often one was refused.
    pub refused: u64,
    /// Why the file as it is now is not what is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ReloadFailure>,
    /// What takes effect at the next start only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for_restart: Vec<Finding>,
}

/// A reload that was refused; the last good configuration is served on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReloadFailure {
    /// Seconds since the file was first found to be so.
    pub since_seconds: u64,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with a configuration, or worth knowing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `error` or `warning`.
    pub severity: String,
    /// Its stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The file.
    pub source: String,
    /// The document in it.
    pub document: Option<String>,
    /// The field.
    pub path: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// The first byte.
    pub start: Option<usize>,
    /// The byte after the last.
    pub end: Option<usize>,
}

/// The answer to `POST /reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// `applied`, `unchanged` or `refused`.
    pub outcome: String,
    /// Which configuration of this process is served now.
    pub revision: u64,
    /// What is to be said about the file.
    pub findings: Vec<Finding>,
    /// What was changed; for a refused file, nothing.
    pub changes: Vec<Change>,
    /// Who serves it, where a mesh does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartReloaded>,
}

/// What a part of a mesh made of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartReloaded {
    /// Its SPIFFE ID.
    pub identity: String,
    /// `serves`, `refuses`, `waits` or `away`.
    pub state: String,
    /// What it refuses and why, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The answer to `POST /diff`: what a file would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// `same`, `changes` or `refused`.
    pub outcome: String,
    /// What is to be said about the file.
    pub findings: Vec<Finding>,
    /// What it would change; for a refused file, what is known of it.
    pub changes: Vec<Change>,
    /// Who would gain or lose which tools.
    pub tools: Vec<ToolChange>,
    /// Servers whose tools nobody can know before they run.
    pub unknown: Vec<String>,
}

/// What a caller would gain and lose in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolChange {
    /// The application; absent for callers without a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The view.
    pub view: String,
    /// Tools it could call that it cannot call now.
    pub gained: Vec<String>,
    /// Tools it could call no longer.
    pub lost: Vec<String>,
}
