//! A mesh file: YAML (or JSON) documents of the five kinds.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_saphyr::Options;

use super::failure;
use super::tree::{self, Node, Piece, Shape, steps};
use super::{Config, Document, Origin, Spec};
use crate::API_VERSION;
use crate::finding::{Finding, Severity, codes};
use crate::kinds::{Document as Written, KINDS};

/// Reads every document, so that one mistake hides no other.
pub(super) fn read(source: &Arc<str>, text: &str) -> Result<Config, Vec<Finding>> {
    let pieces = tree::read(text).map_err(|error| vec![failure::of_tree(source, text, error)])?;
    let mut config = Config {
        sources: vec![source.clone()],
        ..Config::default()
    };
    let mut findings = Vec::new();
    for piece in pieces {
        if is_empty(&piece.root) {
            continue;
        }
        match document(source, text, piece) {
            Ok(document) => config.documents.push(document),
            Err(finding) => findings.push(*finding),
        }
    }
    if findings.is_empty() {
        return Ok(config);
    }
    findings.extend(wrong_by_itself(config));
    findings.sort_by_key(|finding| finding.span.as_ref().map(|span| span.start));
    Err(findings)
}

/// What is wrong with the documents that could be read, as far as it does not depend on those that could not.
fn wrong_by_itself(config: Config) -> Vec<Finding> {
    const OF_OTHERS: [&str; 5] = [
        codes::UNKNOWN_VIEW,
        codes::UNKNOWN_SERVER,
        codes::NO_SERVER,
        codes::LISTENER_OPEN,
        codes::ANONYMOUS,
    ];
    let found = config.compile().err().unwrap_or_default();
    let alone = |finding: &Finding| finding.severity == Severity::Error && !OF_OTHERS.contains(&finding.code);
    found.into_iter().filter(alone).collect()
}

/// Whether a document holds nothing, as between two separators that follow each other, with or without comments.
fn is_empty(root: &Node) -> bool {
    matches!(&root.shape, Shape::Scalar(text) if text.is_empty() || (root.span.is_empty() && text == "~"))
}

fn document(source: &Arc<str>, text: &str, piece: Piece) -> Result<Document, Box<Finding>> {
    let kind = kind_of(source, &piece.root)?;
    let (metadata, spec) = match kind {
        "Mesh" => values(source, text, &piece, kind).map(|(m, spec)| (m, Spec::Mesh(spec))),
        "Gateway" => values(source, text, &piece, kind).map(|(m, spec)| (m, Spec::Gateway(spec))),
        "Server" => values(source, text, &piece, kind).map(|(m, spec)| (m, Spec::Server(spec))),
        "View" => values(source, text, &piece, kind).map(|(m, spec)| (m, Spec::View(spec))),
        _ => values(source, text, &piece, kind).map(|(m, spec)| (m, Spec::Application(spec))),
    }?;
    Ok(Document {
        source: source.clone(),
        metadata,
        spec,
        tree: piece.root,
        origin: Origin::MeshFile,
    })
}

/// The document's kind, once it is one of ours in our version.
fn kind_of(source: &Arc<str>, root: &Node) -> Result<&'static str, Box<Finding>> {
    let broken = |code, message: String, remedy: String, span| {
        Err(Box::new(Finding::error(code, source, message).remedy(remedy).at(span)))
    };
    if !matches!(root.shape, Shape::Map(_)) {
        let remedy = format!("begin it with `apiVersion: {API_VERSION}` and `kind:`");
        return broken(
            codes::NOT_A_DOCUMENT,
            "a document is a mapping with `apiVersion`, `kind`, `metadata` and `spec`".to_owned(),
            remedy,
            root.span_of(&[]),
        );
    }
    let version = root.get("apiVersion").and_then(Node::scalar);
    if version != Some(API_VERSION) {
        let message = match version {
            Some(other) => format!("`apiVersion` is `{other}`, this program reads `{API_VERSION}`"),
            None => "the document lacks `apiVersion`".to_owned(),
        };
        return broken(
            codes::API_VERSION,
            message,
            format!("write `apiVersion: {API_VERSION}`"),
            root.span_of(steps!["apiVersion"]),
        );
    }
    match root.get("kind").and_then(Node::scalar) {
        Some(kind) => match KINDS.iter().find(|known| **known == kind) {
            Some(known) => Ok(known),
            None => {
                let remedy = failure::expectation("the kinds are", kind, &KINDS);
                broken(
                    codes::KIND,
                    format!("there is no kind `{kind}`"),
                    remedy,
                    root.span_of(steps!["kind"]),
                )
            }
        },
        None => {
            let remedy = failure::expectation("the kinds are", "", &KINDS);
            broken(
                codes::KIND,
                "the document lacks `kind`".to_owned(),
                remedy,
                root.span_of(steps!["kind"]),
            )
        }
    }
}

fn values<S: DeserializeOwned>(
    source: &Arc<str>,
    text: &str,
    piece: &Piece,
    kind: &str,
) -> Result<(crate::kinds::Metadata, S), Box<Finding>> {
    let slice = text.get(piece.text.clone()).unwrap_or_default();
    serde_saphyr::from_str_with_options::<Written<S>>(slice, options())
        .map(|written| (written.metadata, written.spec))
        .map_err(|error| {
            let name = piece
                .root
                .get("metadata")
                .and_then(|metadata| metadata.get("name"))
                .and_then(Node::scalar);
            let title = name.map_or_else(|| kind.to_owned(), |name| format!("{kind}/{name}"));
            Box::new(failure::of_values(source, Some(title), piece, &error))
        })
}

/// `yes` and `on` stay texts, and the reader draws nothing: findings do.
pub(super) fn options() -> Options {
    serde_saphyr::options! { strict_booleans: true, with_snippet: false }
}
