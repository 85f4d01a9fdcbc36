//! `View`: what a caller sees under one path.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Period;

/// A virtual endpoint: some servers, some of their tools, one path. Without any `View` document there is one view named
/// `default` of all servers, at `/mcp`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewSpec {
    /// Where it is served: segments of `a-z`, `0-9`, `.`, `_` and `-`, at most 200 characters. Default: `/mcp` for the view
    /// named `default`, otherwise `/views/<name>/mcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Its servers. An empty list shows nothing.
    pub servers: Vec<ViewServerSpec>,
    /// How names are shown: `prefixed` is `<alias>__<name>`, `plain` leaves them. With `plain` and several servers, a name
    /// that two servers share shows neither, which `status` reports. Default: `plain` for one server, otherwise `prefixed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub naming: Option<NamingChoice>,
    /// Whether callers need no token. Only where every listener is loopback. Default: `false`.
    #[serde(default)]
    pub anonymous: bool,
    /// Whether rate and concurrency limits of callers are off, for tests and benchmarks. Only where every listener is
    /// loopback. Default: `false`.
    #[serde(default)]
    pub lift_limits: bool,
    /// Text for the client's model, in place of the servers' own; empty gives none. At most 16 KiB. Default: the servers' own
    /// texts, each under its alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// How long a client may keep a list. Default: `60s`; 0 s to 24 h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_ttl: Option<Period>,
}

/// One server of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewServerSpec {
    /// The server's name.
    pub name: String,
    /// Which of its tools are in the view. Default: all of them, under their own names.
    #[serde(default)]
    pub tools: ToolsSpec,
}

/// Which tools of a server a view has, in the server's own names. What is not in the view cannot be called through it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ToolsSpec {
    /// Only these tools. Default: all. An empty list is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Never these tools, also when allowed. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hide: Vec<String>,
    /// New names, as `own name: new name`. The prefix still goes before the new name. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
}

/// How names are shown in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NamingChoice {
    /// `<alias>__<name>`.
    Prefixed,
    /// As the server names them.
    Plain,
}
