//! What the admin interface says, as JSON. Programs read this: members are added, never renamed or given a new meaning.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

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
    /// `stdio` or `http`.
    pub reach: String,
    /// `up`, `starting` or `away`.
    pub state: String,
    /// Why it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Seconds it has been away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_seconds: Option<u64>,
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
