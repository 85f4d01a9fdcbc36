//! `Mesh`: what holds everywhere.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ValidationSpec;
use crate::amount::{Period, Size};

/// What holds for the whole mesh. At most one document; without it every default applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MeshSpec {
    /// Limits of the gateway. Default: those of each field.
    pub limits: LimitsSpec,
    /// How arguments and results are checked, for servers that say nothing themselves.
    pub validation: ValidationSpec,
    /// The name of the mesh in the identities of its parts (`spiffe://<trustDomain>/gateway/main`), which is for good: what
    /// was issued under another name is not of this mesh. Default: `<name of this document>.mesh`; 1 to 255 of `a-z`,
    /// `0-9`, `.`, `-` and `_`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9._-]{1,255}$"))]
    pub trust_domain: Option<String>,
    /// Certificates of the parts of the mesh. Default: those of each field.
    pub certificates: CertificatesSpec,
    /// Where spans go. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<TracesSpec>,
    /// The admin listener. Default: none; `/metrics` is then on the admin socket alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminSpec>,
    /// Where access records go, one JSON line per call. Default: `stderr`.
    pub access_log: AccessLogSpec,
}

/// Certificates of the parts of the mesh. They renew themselves after a third of their life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CertificatesSpec {
    /// How long one is valid, and so how long the control plane may be away: two thirds of it. Default: `36h`; 6 s to 90 d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<Period>,
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TracesSpec {
    /// An OTLP receiver over gRPC, such as `http://127.0.0.1:4317`.
    pub otlp: String,
}

/// A listener for `/metrics` and health. It answers without credentials, so it is loopback only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdminSpec {
    /// Loopback address and port, such as `127.0.0.1:7301`.
    #[serde(deserialize_with = "crate::amount::address")]
    #[schemars(with = "String")]
    pub address: SocketAddr,
}

/// Where access records go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessLogSpec {
    /// On standard error.
    #[default]
    Stderr,
    /// Nowhere.
    Off,
    /// Appended to this file.
    File(PathBuf),
}

/// Limits of the gateway. None can be switched off here; a view may lift the rates (`liftLimits`), on loopback only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// Largest request body. Default: `4MiB`; 1 KiB to 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Size>,
    /// Largest answer of a server. Default: `8MiB`; 1 KiB to 256 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Size>,
    /// Longest line a stdio server may write. Default: `8MiB`; 1 KiB to 256 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<Size>,
    /// Largest event of an SSE stream. Default: `1MiB`; 1 KiB to 256 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Size>,
    /// What one stream may hold for a slow reader before it is closed. Default: `256KiB`; 4 KiB to 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_buffer: Option<Size>,
    /// Levels of nesting in JSON from clients. Default: 64; 8 to 512.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_depth: Option<u32>,
    /// Values in one JSON message from a client. Default: 20000; 100 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_nodes: Option<u32>,
    /// Open connections. Default: 4096; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Open connections from one address. Default: 256; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_address: Option<u32>,
    /// Open streams of one caller. Default: 32; 1 to 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams_per_caller: Option<u32>,
    /// Sessions of legacy clients, for one caller. Default: 1000; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions_per_caller: Option<u32>,
    /// Calls in flight, all callers together. Default: 4096; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_in_flight: Option<u32>,
    /// Calls per second of one caller, as a mean. Default: 50; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_second: Option<u32>,
    /// Calls one caller may make at once before the rate counts. Default: 100; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_burst: Option<u32>,
    /// Calls per second of one caller to one tool that may change something, as a mean; that is every tool that does not
    /// say `readOnlyHint: true`. Default: 10; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes_per_second: Option<u32>,
    /// Calls one caller may make at once to one such tool before the rate counts. Default: 20; 1 to 1000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_burst: Option<u32>,
    /// Requests per second of one address that has not proved who it is. Default: 20; 1 to 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthenticated_per_second: Option<u32>,
    /// Child processes of stdio servers. Default: 256; 1 to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<u32>,
    /// How long calls may end in peace when the gateway stops. Default: `30s`; 0 s to 1 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Period>,
}
