//! `Application`: a program that calls.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A program that calls, how it proves itself and what it may use. Without any `Application` document, the token that the
/// gateway generates at its first start may use every view; with one, that token proves the application named `local`, and
/// nobody when there is none of that name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplicationSpec {
    /// Its service tokens, any one of which proves it; two of them make a rotation without a gap. An empty list proves nobody.
    pub tokens: Vec<Token>,
    /// Names of the views it may use; `"*"` alone is every view. An empty list is none.
    pub views: Vec<String>,
}

/// A service token: exactly one of `file`, `environment` and `sha256` says where it is. The mesh file never holds the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Token {
    /// A file whose first line is the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// A variable of the gateway's own environment that holds the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// SHA-256 of the token, as 64 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9a-fA-F]{64}$"))]
    pub sha256: Option<String>,
}
