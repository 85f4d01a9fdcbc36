//! (types first; the rest follows)
use crate::{Finding, Snapshot};

/// What a source says, parsed and not yet checked.
#[derive(Clone, Debug, Default)]
pub struct Config {}

/// Reads a mesh file or an `mcp.json`.
///
/// # Errors
/// Everything that is wrong with its form.
pub fn parse(_source_name: &str, _text: &str) -> Result<Config, Vec<Finding>> {
    Ok(Config {})
}

impl Config {
    /// Checks and resolves it.
    ///
    /// # Errors
    /// Everything that is wrong with its content.
    pub fn compile(self) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
        crate::compile::compile(&self)
    }
    /// Reads the `mcpServers` form.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_mcp_json(source_name: &str, text: &str) -> Result<Self, Vec<Finding>> {
        parse(source_name, text)
    }
}
