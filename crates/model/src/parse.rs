//! From text to documents: a mesh file, or the `mcp.json` people already have.
//!
//! Reading checks form only, document by document, so that one mistake hides no other. What the documents mean together
//! is checked by `compile`, which finds positions again through the tree of spans kept here.

mod canonical;
mod failure;
pub(crate) mod mcp_json;
mod meshed;
mod mesh_file;
mod objects;
pub(crate) mod tree;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::finding::{Finding, codes};
use crate::kinds::{ApplicationSpec, GatewaySpec, MeshSpec, Metadata, ServerSpec, ViewSpec};
use crate::limits;
use crate::role::Role;
use crate::snapshot::Snapshot;
pub use canonical::Object;
pub use mcp_json::{Surroundings, project_of};
use tree::{Node, Step};

/// What one or more sources say, read and not yet checked.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) documents: Vec<Document>,
    /// What reading found that does not keep it from being used.
    pub(crate) warnings: Vec<Finding>,
    pub(crate) sources: Vec<Arc<str>>,
    /// Whether every default is written out: what is not there is not meant either.
    pub(crate) whole: bool,
}

/// One document and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) source: Arc<str>,
    pub(crate) metadata: Metadata,
    pub(crate) spec: Spec,
    pub(crate) tree: Node,
    pub(crate) origin: Origin,
}

/// What a document says.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    Mesh(MeshSpec),
    Gateway(GatewaySpec),
    Server(ServerSpec),
    View(ViewSpec),
    Application(ApplicationSpec),
}

impl Spec {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Mesh(_) => "Mesh",
            Self::Gateway(_) => "Gateway",
            Self::Server(_) => "Server",
            Self::View(_) => "View",
            Self::Application(_) => "Application",
        }
    }
}

/// Which form a document was written in; decides how its paths read.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    MeshFile,
    /// An entry of another program's file, at this path.
    McpJson {
        at: Vec<mcp_json::OwnedStep>,
    },
}

impl Document {
    /// The document as findings name it: `Server/documents`.
    pub(crate) fn title(&self) -> String {
        format!("{}/{}", self.spec.kind(), self.metadata.name)
    }

    /// A path as its author wrote it.
    pub(crate) fn path(&self, path: &[Step<'_>]) -> String {
        match &self.origin {
            Origin::MeshFile => tree::written(path),
            Origin::McpJson { at } => {
                let mut steps: Vec<Step<'_>> = at.iter().map(mcp_json::OwnedStep::step).collect();
                steps.extend(path.iter().skip(2));
                tree::written(&steps)
            }
        }
    }

    /// A path of the file system as the file means it: relative to the directory the file is in, or to the project that
    /// another program's file belongs to.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        let source = Path::new(&*self.source);
        match (&self.origin, source.parent()) {
            (Origin::McpJson { .. }, Some(_)) => project_of(source).join(path),
            (_, Some(directory)) => directory.join(path),
            (_, None) => path.to_path_buf(),
        }
    }
}

/// Reads a mesh file (YAML or JSON, any number of documents) or the servers another program is configured with (an
/// `mcp.json` and its cousins). `source_name` is the file's path; relative paths in it start at that path's directory.
///
/// # Errors
/// Everything that is wrong with its form, as findings of severity error (and warnings beside them).
pub fn parse(source_name: &str, text: &str) -> Result<Config, Vec<Finding>> {
    parse_in(source_name, text, &Surroundings::NONE)
}

/// As [`parse`], where variables in another program's file may be replaced.
///
/// # Errors
/// As [`parse`].
pub fn parse_in(source_name: &str, text: &str, around: &Surroundings<'_>) -> Result<Config, Vec<Finding>> {
    let source: Arc<str> = source_name.into();
    refuse_oversize(&source, text)?;
    if mcp_json::is_one(text) {
        mcp_json::read(&source, text, around)
    } else {
        mesh_file::read(&source, text)
    }
}

pub(crate) fn refuse_oversize(source: &Arc<str>, text: &str) -> Result<(), Vec<Finding>> {
    if text.len() <= limits::SOURCE_BYTES {
        return Ok(());
    }
    let message = format!(
        "the file has {} bytes, at most {} are read",
        text.len(),
        limits::SOURCE_BYTES
    );
    Err(vec![
        Finding::error(codes::TOO_LARGE, source, message).remedy("split it into several files"),
    ])
}

impl Config {
    /// Reads an `mcp.json`, whatever its first bytes look like.
    ///
    /// # Errors
    /// Everything that is wrong with its form.
    pub fn from_mcp_json(source_name: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let source: Arc<str> = source_name.into();
        refuse_oversize(&source, text)?;
        mcp_json::read(&source, text, &Surroundings::NONE)
    }

    /// Joins what another source says to this one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.documents.extend(other.documents);
        self.warnings.extend(other.warnings);
        self.sources.extend(other.sources);
        self.whole &= other.whole;
        self
    }

    /// Checks what the documents mean together and resolves them to a snapshot, beside warnings. Pure: the same
    /// documents give the same snapshot, whose `revision` is 0 until the assembly counts it.
    ///
    /// # Errors
    /// Everything that is wrong with it, and the warnings.
    pub fn compile(self) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
        self.compile_as(&Role::Alone)
    }

    /// The same for one part of a mesh.
    ///
    /// # Errors
    /// As [`Config::compile`].
    pub fn compile_as(self, role: &Role) -> Result<(Snapshot, Vec<Finding>), Vec<Finding>> {
        crate::compile::compile(self, role)
    }
}
