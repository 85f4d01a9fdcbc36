//! What an operator writes: the documents of a mesh file, field by field.
//!
//! These types are the file's shape and nothing more: the schema and the reference pages are generated from them, so
//! their comments are documentation for operators. What the fields mean together is decided in `compile`.

mod application;
mod gateway;
mod mesh;
mod server;
mod view;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use application::{ApplicationSpec, Token};
pub use gateway::{GatewaySpec, ListenerSpec, TlsSpec};
pub use mesh::{AccessLogSpec, AdminSpec, LimitsSpec, MeshSpec};
pub use server::{
    ArgumentCheck, CatalogueChoice, ConcurrencySpec, Duplicates, Era, HttpSpec, Permission, QuestionsSpec, ResultCheck,
    ServerSpec, Sharing, SidecarSpec, StdioSpec, ToolCallSpec, Transport, ValidationSpec, Value, ValueFrom,
};
pub use view::{NamingChoice, ToolsSpec, ViewServerSpec, ViewSpec};

/// The kinds there are, in the order they are documented.
pub const KINDS: [&str; 5] = ["Mesh", "Gateway", "Server", "View", "Application"];

/// What every document carries beside its `spec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The document's name, unique among documents of its kind: 1 to 63 of `a-z`, `0-9` and `-`, neither first nor last `-`.
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// The team that owns it, in the same form as a name. It appears in records and metrics. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub team: Option<String>,
}

/// One document of a mesh file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Document<S> {
    #[serde(rename = "apiVersion")]
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) metadata: Metadata,
    pub(crate) spec: S,
}
