//! `Gateway`: the edge that applications see.

use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named edge: where it listens and which views it serves. At most one document; without it the gateway listens on
/// `127.0.0.1:7300` and serves every view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewaySpec {
    /// The addresses it listens on. Default: one listener on `127.0.0.1:7300`. An empty list is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listeners: Option<Vec<ListenerSpec>>,
    /// Names of the views it serves. Default: every view. An empty list serves none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub views: Option<Vec<String>>,
}

/// One address the gateway listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerSpec {
    /// IP address and port, such as `127.0.0.1:7300` or `[::1]:7300`. Port 0 takes a free one. An address that is not
    /// loopback needs `tls`, `hosts` and an `Application` document.
    #[serde(deserialize_with = "crate::amount::address")]
    #[schemars(with = "String")]
    pub address: SocketAddr,
    /// Certificate and key. Default: none, which only a loopback address may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// Host names served, each a name or IP address with or without a port; any other `Host` is refused. Default on
    /// loopback: `localhost`, `127.0.0.1` and `[::1]`; any other address must name its hosts. An empty list serves nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Web origins whose pages may call, in the form `https://chat.example.com`; a request without `Origin` passes.
    /// Default on loopback: the origins of its own hosts; on any other address: none. An empty list admits none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<String>>,
}

/// PEM files of a listener. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsSpec {
    /// File with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// File with the private key.
    pub key: PathBuf,
}
