//! The other way: documents as JSON, in the one form that is kept and handed on.
//!
//! A file is read where it lies, with paths relative to it and defaults left out; what a control plane keeps has no file
//! around it any more. So paths are written as they were meant, and a document says only what differs from its defaults:
//! two files that mean the same give the same bytes, and a reader of the version before understands what it can.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Config, Document, Spec};
use crate::API_VERSION;
use crate::kinds::{self, AccessLogSpec, Value};

#[cfg(test)]
mod tests;

/// One document in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// `Mesh`, `Gateway`, `Server`, `View` or `Application`.
    pub kind: &'static str,
    /// Its name.
    pub name: Arc<str>,
    /// The team that owns it.
    pub team: Option<Arc<str>>,
    /// The document as JSON: `apiVersion`, `kind`, `metadata`, `spec`, then each field in the order of its name, those left
    /// out that have their default. Paths are absolute where the file's own path was.
    pub json: String,
}

impl Config {
    /// Every document in its canonical form, in the order they were read. [`Config::of_objects`] and [`crate::parse`] read
    /// them back to documents that mean the same.
    pub fn objects(&self) -> Vec<Object> {
        self.documents.iter().map(object).collect()
    }

    /// The documents that `keep` says, by kind and name; their places in their sources stay.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(&str, &str) -> bool) -> Self {
        self.documents
            .retain(|document| keep(document.spec.kind(), &document.metadata.name));
        self
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Kinds and names of the documents, in the order they were read.
    pub fn titles(&self) -> Vec<(&'static str, &str)> {
        self.documents
            .iter()
            .map(|document| (document.spec.kind(), document.metadata.name.as_str()))
            .collect()
    }
}

fn object(document: &Document) -> Object {
    let spec = match &document.spec {
        Spec::Mesh(spec) => pruned(&mesh(document, spec.clone()), &kinds::MeshSpec::default()),
        Spec::Gateway(spec) => pruned(&gateway(document, spec.clone()), &kinds::GatewaySpec::default()),
        Spec::Server(spec) => pruned(&server(document, spec.clone()), &kinds::ServerSpec::default()),
        Spec::View(spec) => pruned(spec, &Json::Null),
        Spec::Application(spec) => pruned(&application(document, spec.clone()), &Json::Null),
    };
    let name = &document.metadata.name;
    let mut metadata = format!("{{\"name\":{}", Json::from(name.as_str()));
    if let Some(team) = &document.metadata.team {
        metadata.push_str(&format!(",\"team\":{}", Json::from(team.as_str())));
    }
    metadata.push('}');
    Object {
        kind: document.spec.kind(),
        name: name.as_str().into(),
        team: document.metadata.team.as_deref().map(Into::into),
        json: format!(
            "{{\"apiVersion\":\"{API_VERSION}\",\"kind\":\"{}\",\"metadata\":{metadata},\"spec\":{spec}}}",
            document.spec.kind()
        ),
    }
}

fn mesh(document: &Document, mut spec: kinds::MeshSpec) -> kinds::MeshSpec {
    if let AccessLogSpec::File(path) = &mut spec.access_log {
        *path = document.resolve(path);
    }
    spec
}

fn gateway(document: &Document, mut spec: kinds::GatewaySpec) -> kinds::GatewaySpec {
    for tls in spec
        .listeners
        .iter_mut()
        .flatten()
        .filter_map(|listener| listener.tls.as_mut())
    {
        tls.certificate = document.resolve(&tls.certificate);
        tls.key = document.resolve(&tls.key);
    }
    spec
}

fn server(document: &Document, mut spec: kinds::ServerSpec) -> kinds::ServerSpec {
    if let Some(stdio) = &mut spec.stdio {
        // As `compile` reads it: a command with a slash is a path, one without is looked up.
        if stdio.command.contains('/') && !stdio.command.starts_with('~') {
            let path = document.resolve(&PathBuf::from(&stdio.command));
            stdio.command = path.to_string_lossy().into_owned();
        }
        stdio.cwd = stdio.cwd.as_ref().map(|path| document.resolve(path));
        stdio.env.values_mut().for_each(|value| resolve(document, value));
    }
    if let Some(http) = &mut spec.http {
        http.headers.values_mut().for_each(|value| resolve(document, value));
    }
    spec
}

fn application(document: &Document, mut spec: kinds::ApplicationSpec) -> kinds::ApplicationSpec {
    for token in &mut spec.tokens {
        token.file = token.file.as_ref().map(|path| document.resolve(path));
    }
    spec
}

fn resolve(document: &Document, value: &mut Value) {
    if let Value::From(from) = value {
        from.from_file = from.from_file.as_ref().map(|path| document.resolve(path));
    }
}

/// The fields of a specification that have not their default, in the order of their names.
fn pruned(spec: &impl Serialize, default: &impl Serialize) -> Json {
    // Specifications are made of texts, numbers, lists and maps with text keys, all of which JSON has.
    let json = |value: Result<Json, serde_json::Error>| value.unwrap_or(Json::Null);
    let default = json(serde_json::to_value(default));
    let mut spec = json(serde_json::to_value(spec));
    if let (Json::Object(fields), Json::Object(default)) = (&mut spec, &default) {
        fields.retain(|name, value| default.get(name) != Some(value));
    }
    sorted(spec)
}

/// Members in the order of their names, whatever the map of the JSON library keeps.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(fields) => {
            let mut fields: Vec<(String, Json)> = fields.into_iter().collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(fields.into_iter().map(|(name, value)| (name, sorted(value))).collect())
        }
        Json::Array(items) => Json::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
