//! Documents as the control plane hands them on: one JSON document each, with nothing left to a default that opens.
//!
//! They were read and checked there with their sources at hand; a proxy reads them again because it trusts the signature
//! for who said it and nobody for what it says. So an unknown field is an error here too, and there are no positions, only
//! names: `Server/documents`.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::tree::Node;
use super::{Config, Document, Origin, Spec};
use crate::API_VERSION;
use crate::finding::{Finding, codes};
use crate::kinds::{ApplicationSpec, GatewaySpec, MeshSpec, Metadata, Token, ToolsSpec, ViewServerSpec, ViewSpec};
use crate::limits;
use crate::snapshot::LOCAL_APPLICATION;

/// Where the objects come from, as findings name it.
const SOURCE: &str = "control plane";
/// The name of what nobody has named.
const DEFAULT: &str = "default";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written<'a> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    #[serde(borrow)]
    spec: &'a RawValue,
}

impl Config {
    /// Reads documents that a control plane hands on, each one JSON document. Nothing is added to them: without a `View`
    /// there is no view, without an `Application` nobody is known, and an application may name views that are not
    /// among them, because a part of a mesh is told of its own only.
    ///
    /// # Errors
    /// What is wrong with the form of each.
    pub fn of_objects<'a>(objects: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, Vec<Finding>> {
        Self::of_objects_from(SOURCE, objects)
    }

    /// The same for documents from elsewhere, as findings name it: what is typed on a command line is made into one. A part
    /// of a mesh that is started with a line reads no mesh file, and what it would read one with stays out of its memory.
    ///
    /// # Errors
    /// As [`of_objects`](Self::of_objects).
    pub fn of_objects_from<'a>(
        source: &str,
        objects: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, Vec<Finding>> {
        let source: Arc<str> = source.into();
        let mut findings = Vec::new();
        let mut config = Self {
            sources: vec![source.clone()],
            whole: true,
            ..Self::default()
        };
        for object in objects {
            match document(&source, object) {
                Ok(document) => config.documents.push(document),
                Err(finding) => findings.push(*finding),
            }
        }
        if findings.is_empty() { Ok(config) } else { Err(findings) }
    }

    /// The same with the token sources of an application, as a JSON list. One that is not among the documents has none.
    ///
    /// # Errors
    /// When it is no such list.
    pub fn with_tokens(mut self, application: &str, json: &[u8]) -> Result<Self, Vec<Finding>> {
        let tokens: Vec<Token> = serde_json::from_slice(json).map_err(|error| {
            let mut finding = Finding::error(codes::FORM, &SOURCE.into(), error.to_string());
            finding.document = Some(format!("Application/{application}"));
            finding.path = "spec.tokens".to_owned();
            vec![finding]
        })?;
        let named = self
            .documents
            .iter_mut()
            .filter(|document| document.metadata.name == application);
        for document in named {
            if let Spec::Application(spec) = &mut document.spec {
                spec.tokens.clone_from(&tokens);
            }
        }
        Ok(self)
    }

    /// The same with every default written out that a file may leave to its reader: the mesh, the gateway, the view of all
    /// servers and the application of the local token. What a control plane hands on is chosen from these.
    #[must_use]
    pub fn in_full(mut self) -> Self {
        let source: Arc<str> = self.sources.first().cloned().unwrap_or_else(|| SOURCE.into());
        let has = |kind: &str| self.documents.iter().any(|document| document.spec.kind() == kind);
        let mut added = Vec::new();
        if !has("Mesh") {
            added.push((DEFAULT, Spec::Mesh(MeshSpec::default())));
        }
        if !has("Gateway") {
            added.push((DEFAULT, Spec::Gateway(GatewaySpec::default())));
        }
        if !has("View") {
            added.push((DEFAULT, Spec::View(self.view_of_all())));
        }
        if !has("Application") {
            let views = vec!["*".to_owned()];
            let local = ApplicationSpec {
                tokens: Vec::new(),
                views,
            };
            added.push((LOCAL_APPLICATION, Spec::Application(local)));
        }
        self.documents.extend(added.into_iter().map(|(name, spec)| Document {
            source: source.clone(),
            metadata: Metadata {
                name: name.to_owned(),
                team: None,
            },
            spec,
            tree: Node::default(),
            origin: Origin::MeshFile,
        }));
        self
    }

    /// The names of the gateways, in the order they are written; `default` where no document is.
    pub fn gateways(&self) -> Vec<Arc<str>> {
        let named = self
            .documents
            .iter()
            .filter(|document| matches!(document.spec, Spec::Gateway(_)));
        let mut names: Vec<Arc<str>> = named.map(|document| document.metadata.name.as_str().into()).collect();
        if names.is_empty() {
            names.push(DEFAULT.into());
        }
        names
    }

    fn view_of_all(&self) -> ViewSpec {
        let servers = self
            .documents
            .iter()
            .filter(|document| matches!(document.spec, Spec::Server(_)));
        let named = servers.map(|document| ViewServerSpec {
            name: document.metadata.name.clone(),
            tools: ToolsSpec::default(),
        });
        ViewSpec {
            path: None,
            servers: named.collect(),
            naming: None,
            anonymous: false,
            lift_limits: false,
            instructions: None,
            list_ttl: None,
        }
    }
}

/// What a document that cannot be read seems to be called, so that whoever refuses it can say which it was.
fn seen(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Seen {
        kind: String,
        metadata: SeenMetadata,
    }
    #[derive(Deserialize)]
    struct SeenMetadata {
        name: String,
    }
    let seen: Seen = serde_json::from_slice(json).ok()?;
    Some(format!("{}/{}", seen.kind, seen.metadata.name))
}

fn document(source: &Arc<str>, json: &[u8]) -> Result<Document, Box<Finding>> {
    let refused = |title: Option<String>, code, message: String| {
        let mut finding = Finding::error(code, source, message);
        finding.document = title;
        Box::new(finding)
    };
    if json.len() > limits::SOURCE_BYTES {
        let message = format!(
            "the document has {} bytes, at most {} are read",
            json.len(),
            limits::SOURCE_BYTES
        );
        return Err(refused(None, codes::TOO_LARGE, message));
    }
    let written: Written<'_> =
        serde_json::from_slice(json).map_err(|error| refused(seen(json), codes::FORM, error.to_string()))?;
    let title = format!("{}/{}", written.kind, written.metadata.name);
    if written.api_version != API_VERSION {
        let message = format!(
            "`apiVersion` is `{}`, this program reads `{API_VERSION}`",
            written.api_version
        );
        return Err(refused(Some(title), codes::API_VERSION, message));
    }
    let wrong = |error: serde_json::Error| {
        let message = error.to_string();
        let unknown = message.starts_with("unknown field");
        let code = if unknown { codes::UNKNOWN_FIELD } else { codes::FORM };
        refused(Some(title.clone()), code, message)
    };
    let spec = match written.kind.as_str() {
        "Mesh" => read(written.spec).map(Spec::Mesh),
        "Gateway" => read(written.spec).map(Spec::Gateway),
        "Server" => read(written.spec).map(Spec::Server),
        "View" => read(written.spec).map(Spec::View),
        "Application" => read(written.spec).map(Spec::Application),
        other => {
            return Err(refused(
                Some(title.clone()),
                codes::KIND,
                format!("there is no kind `{other}`"),
            ));
        }
    };
    Ok(Document {
        source: source.clone(),
        spec: spec.map_err(wrong)?,
        metadata: written.metadata,
        tree: Node::default(),
        origin: Origin::MeshFile,
    })
}

fn read<S: DeserializeOwned>(json: &RawValue) -> Result<S, serde_json::Error> {
    serde_json::from_str(json.get())
}

#[cfg(test)]
mod tests;
