//! `Server`: an MCP server and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::amount::Period;

/// An MCP server, unmodified, of any revision. `stdio`, `http` or `sidecar` says how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServerSpec {
    /// Prefix of its names in views of several servers (`<alias>__<tool>`), unique in the mesh: 1 to 32 of `a-z`, `0-9`
    /// and `-`. Default: the document's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9-]{1,32}$"))]
    pub alias: Option<String>,
    /// A program that the gateway starts and speaks to over standard input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdio: Option<StdioSpec>,
    /// An endpoint over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSpec>,
    /// It has a sidecar, which takes its calls. With `stdio` or `http` beside it, `meshgate up` runs that sidecar, and those
    /// say how it reaches the server. Default: none; the gateway reaches the server itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<SidecarSpec>,
    /// Which era it speaks: `auto` asks it, `legacy` is 2024-11-05 to 2025-11-25, `modern` is 2026-07-28. Default: `auto`.
    pub era: Era,
    /// Silence after which a call is given up; progress starts it anew. Default: `60s`; 100 ms to 24 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
    /// Longest life of a call, whatever progress it reports. Default: `10m`, or `deadline` where that is longer; at most 24 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_deadline: Option<Period>,
    /// Deadlines of single tools, by the server's own name of the tool. Default: none; every tool has those of the server.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolCallSpec>,
    /// How many calls it is given at once, and what happens to those beyond. Default: 256 at once, and 256 wait for `5s`.
    pub concurrency: ConcurrencySpec,
    /// What it may ask the people and programs behind a call, in the middle of it.
    pub questions: QuestionsSpec,
    /// Whose calls share a session of it, or a child. Default: `shared`.
    pub sharing: Sharing,
    /// How its arguments and results are checked. Default: what the `Mesh` document says.
    pub validation: ValidationSpec,
    /// What happens to arguments that name the same member twice. Default: `refuse`.
    pub duplicate_arguments: Duplicates,
    /// Whose its lists are: `shared` by all callers, or `perCaller` for a server that shows a client which can be asked
    /// something else than one which cannot. Default: `shared`.
    pub catalogue: CatalogueChoice,
    /// How often its catalogue is read again when it announces no change. Default: `5m`; 1 s to 24 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalogue_refresh: Option<Period>,
}

/// The sidecar of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SidecarSpec {
    /// The version of the server that gets the calls; sidecars of other versions may join and get none. Default: `v1`; 1 to
    /// 63 of `a-z`, `A-Z`, `0-9`, `.`, `-` and `_`, the first a letter or a digit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"))]
    pub version: Option<String>,
}

/// Whose the lists of a server are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CatalogueChoice {
    /// Read once for everybody, as a client that cannot be asked anything.
    #[default]
    Shared,
    /// Read once more for each caller and for what its client can be asked, in the session that its calls go to.
    PerCaller,
}

/// The deadlines of one tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ToolCallSpec {
    /// Silence after which a call is given up; progress starts it anew. Default: the server's `deadline`; 100 ms to 24 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Period>,
    /// Longest life of a call, whatever progress it reports. Default: the server's `hardDeadline`, or `deadline` where that
    /// is longer; at most 24 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_deadline: Option<Period>,
}

/// How many calls a server is given at once. Calls beyond wait in a queue in which callers take turns, so that a caller
/// with many calls does not hold up one with few; when the queue is full the caller with the most calls in it loses its
/// last one. A call that is turned away has not run and is told when to come back. Subscriptions do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConcurrencySpec {
    /// Calls in flight. Default: 256; 1 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Calls that wait for their turn. Default: 256; 0 to 10000, where 0 turns every call beyond `max` away at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<u32>,
    /// How long a call waits for its turn. Default: `5s`; 10 ms to 1 h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_time: Option<Period>,
}

/// What a server may ask in the middle of a call. A client that could answer is not said to be able to answer what is
/// denied here, so a server that keeps to the protocol does without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct QuestionsSpec {
    /// Elicitation: forms that a person fills in, and pages that a person opens. Default: `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elicitation: Option<Permission>,
    /// Hosts of the pages that a person may be asked to open, without a port; an empty list means none. A page is always
    /// one of `https`, without a user name in its address. Default: every host, but for internationalized names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Sampling: the server uses the application's model. Default: `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<Permission>,
    /// Roots: the server learns the names of the application's folders. Default: `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Permission>,
}

/// Whether something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Permission {
    /// It may.
    Allow,
    /// It may not.
    Deny,
}

/// A program that the gateway starts. It sees a cleared environment: `env` and the few variables that every program needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdioSpec {
    /// The program: a name that is looked up in `PATH`, or a path (it holds a `/`; a relative one starts at the directory of
    /// this file). No shell reads it.
    pub command: String,
    /// Its arguments, each passed as it is. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment: each value a text, or where to read one. Variables that make a program load foreign code, such as
    /// `LD_PRELOAD` and `NODE_OPTIONS`, and `PATH` are passed on with a warning. Default: empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Value>,
    /// Its working directory; a relative one starts at the directory of this file. Default: the one the
    /// gateway was started in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
}

/// An endpoint over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSpec {
    /// `https://` or `http://` address of the endpoint, without user name, password and fragment; or `unix:/run/server.sock`
    /// for a server that listens on a socket of the file system, with its endpoint behind another colon where that is not
    /// `/mcp` (`unix:/run/server.sock:/path`).
    pub url: String,
    /// How messages travel: `streamable` (2025-03-26 and later), or `sse` for a server that has only HTTP+SSE of 2024-11-05,
    /// where `url` is the address of its event stream. `sse` is never tried unless it is written here. Default: `streamable`.
    #[serde(default)]
    pub transport: Transport,
    /// Headers added to every request: each value a text, or where to read one. Headers that carry the protocol or the
    /// connection cannot be set. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Value>,
}

/// How messages travel over HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// Streamable HTTP, of 2025-03-26 and later.
    #[default]
    Streamable,
    /// HTTP+SSE, of 2024-11-05.
    Sse,
}

/// A text, or where to read one.
#[derive(Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Value {
    /// The value as it is. Not for secrets: whoever reads the file reads them.
    Literal(String),
    /// Where to read the value.
    From(ValueFrom),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a text, `{fromEnvironment: NAME}` or `{fromFile: PATH}`; put numbers and truth values in quotes",
                )
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Literal(text.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                ValueFrom::deserialize(MapAccessDeserializer::new(map)).map(Value::From)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(..)"),
            Self::From(from) => from.fmt(f),
        }
    }
}

/// Where to read a value: exactly one of `fromEnvironment` and `fromFile`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ValueFrom {
    /// A variable of the gateway's own environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_environment: Option<String>,
    /// A file whose content is the value, without its last line end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_file: Option<PathBuf>,
    /// The value where that variable is not set. Default: none; a server whose variable is missing cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Text before the value, such as `Bearer `. Default: empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// Which era a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Era {
    /// Ask it.
    #[default]
    Auto,
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28.
    Modern,
}

/// Whose calls share a session of a server of 2024-11-05 to 2025-11-25, or a child of one. Calls whose client declares that
/// it can be asked (elicitation, sampling, roots) always have a session or child of their caller's own, one for each call at
/// the same time. Subscriptions are always those of the shared one, and so are lists, unless `catalogue` says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sharing {
    /// The calls of all callers.
    #[default]
    Shared,
    /// Those of one caller: for a server that keeps state between calls. It ends when its caller has made no call for half
    /// an hour. Counts as one of the 256 sessions, or 32 children, that a server may have for single callers.
    PerCaller,
}

/// How arguments and results are checked against the schemas a tool publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ValidationSpec {
    /// Arguments against `inputSchema`: `off`, `warn` (let through and record) or `enforce` (the call does not run, and
    /// its result says which rule was broken where). Default: `enforce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<ArgumentCheck>,
    /// Structured results against `outputSchema`: `off` or `warn`. The call has run, so its result is never withheld.
    /// Default: `warn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<ResultCheck>,
}

/// What happens to arguments that break their schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ArgumentCheck {
    /// They are not looked at.
    Off,
    /// They are let through and recorded.
    Warn,
    /// The call does not run.
    Enforce,
}

/// What happens to a structured result that breaks its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ResultCheck {
    /// It is not looked at.
    Off,
    /// It is let through and recorded.
    Warn,
}

/// What happens to arguments that name the same member twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Duplicates {
    /// The call is refused: two readers could each see another value.
    #[default]
    Refuse,
    /// The call passes; the server decides which one counts.
    Allow,
}
