//! Where values and secrets are: named here, read by whoever assembles a proxy, and never printed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::Digest;

/// Where the value of an environment variable or header comes from. `Debug` never shows a literal.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// As written in the file.
    Literal(Arc<str>),
    /// `prefix`, then a variable of the gateway's own environment.
    Environment {
        /// What goes before the value.
        prefix: String,
        /// The variable.
        name: String,
        /// The value where it is not set.
        default: Option<String>,
    },
    /// `prefix`, then the content of a file without its trailing line end.
    File {
        /// What goes before the value.
        prefix: String,
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(..)"),
            Self::Environment { name, .. } => f.debug_tuple("Environment").field(name).finish(),
            Self::File { path, .. } => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Where a service token is kept. The mesh file never holds the token itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum TokenSource {
    /// First line of a file.
    File(PathBuf),
    /// A variable of the gateway's environment.
    Environment(String),
    /// SHA-256 of the token.
    Sha256(Digest),
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Environment(name) => f.debug_tuple("Environment").field(name).finish(),
            Self::Sha256(digest) => {
                f.write_str("Sha256(")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(")")
            }
        }
    }
}
