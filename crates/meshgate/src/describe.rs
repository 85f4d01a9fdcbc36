//! `meshgate describe KIND NAME`: an object of a running mesh, and what has become of it.

use std::path::Path;
use std::process::ExitCode;

use meshgate_control::shapes::{DocumentShape, MeshStatus};
use meshgate_model::Part;
use serde_json::{Value, json as object};

use crate::api::Api;
use crate::cli::{DescribeArgs, Output};
use crate::client::block_on;
use crate::exit::Failure;
use crate::get::{self, kind, text};
use crate::out;
use crate::status::json;
use crate::status::mesh::{self, part};

/// Asks and prints.
pub(crate) fn run(args: &DescribeArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let kind = kind(&args.title.kind)?;
    let api = Api::find(&args.ask.control, state)?;
    let (found, all, status) = block_on(async {
        let found = get::of(&api, Some(kind), Some(&args.title.name)).await?;
        let all = get::of(&api, None, None).await?;
        let status: MeshStatus = api.get("/v1/status").await?;
        Ok((found, all, status))
    })?;
    for object in &found {
        let users = users(object, &all);
        let status = concerned(object, status.clone());
        match args.ask.output {
            Output::Json => {
                out::print(&json(
                    &object!({"object": object, "usedBy": users, "parts": status.proxies}),
                )?);
            }
            Output::Text => out::print(&shown(object, &users, &status)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(object: &DocumentShape, users: &[String], status: &MeshStatus) -> String {
    let mut text = String::new();
    lines(&object.document, 0, &mut text);
    text.push_str(&format!("\nchanged in revision {}", object.revision));
    if !users.is_empty() {
        text.push_str(&format!("\nused by {}", users.join(", ")));
    }
    if !status.proxies.is_empty() {
        text.push_str("\n\n");
        text.push_str(&mesh::parts(status));
    }
    out::harmless(&text)
}

/// A document as its author would write it.
fn lines(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                entry(&format!("{pad}{name}:"), member, indent + 2, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                entry(&format!("{pad}-"), item, indent + 2, out);
            }
        }
        other => out.push_str(&format!("{pad}{other}\n")),
    }
}

/// One line where the value is simple or empty, and more below it where it is not.
fn entry(head: &str, value: &Value, indent: usize, out: &mut String) {
    let is_plain = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        !text.is_empty() && text.chars().all(plain) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
    };
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push_str(&format!("{head}\n"));
            lines(value, indent, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push_str(&format!("{head}\n"));
            lines(value, indent, out);
        }
        Value::String(text) if is_plain(text) => out.push_str(&format!("{head} {text}\n")),
        other => out.push_str(&format!("{head} {other}\n")),
    }
}

/// The objects that name this one, as `Kind/name`.
fn users(object: &DocumentShape, all: &[DocumentShape]) -> Vec<String> {
    let mut users = Vec::new();
    for other in all {
        let spec = other.document.get("spec").unwrap_or(&Value::Null);
        let names = |list: &str| -> Vec<&str> {
            let items = spec.get(list).and_then(Value::as_array).into_iter().flatten();
            items
                .filter_map(|item| item.as_str().or_else(|| item.get("name").and_then(Value::as_str)))
                .collect()
        };
        let (kind, name) = (text(&other.document, "/kind"), text(&other.document, "/metadata/name"));
        let named = match (text(&object.document, "/kind"), kind) {
            ("Server", "View") => names("servers"),
            ("View", "Application" | "Gateway") => names("views"),
            _ => continue,
        };
        let own = text(&object.document, "/metadata/name");
        if named.iter().any(|name| *name == own || *name == "*") {
            users.push(format!("{kind}/{name}"));
        }
    }
    users
}

/// The parts that an object is about.
fn concerned(object: &DocumentShape, mut status: MeshStatus) -> MeshStatus {
    let name = text(&object.document, "/metadata/name");
    let about = |part: &Part| match (text(&object.document, "/kind"), part) {
        ("Server", Part::Server { server, .. }) => **server == *name,
        ("Gateway", Part::Gateway(gateway)) => **gateway == *name,
        _ => false,
    };
    status
        .proxies
        .retain(|proxy| part(proxy).is_some_and(|part| about(&part)));
    status
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn object(kind: &str, name: &str, spec: &str) -> DocumentShape {
        let document = format!(r#"{{"kind":"{kind}","metadata":{{"name":"{name}"}},"spec":{spec}}}"#);
        DocumentShape {
            revision: 3,
            document: serde_json::from_str(&document).unwrap(),
        }
    }

    fn status() -> MeshStatus {
        mesh::tests::status(Vec::new())
    }

    #[test]
    fn a_document_reads_as_its_author_wrote_it() {
        let server = object(
            "Server",
            "documents",
            r#"{"sidecar":{"version":"v1"},"deadline":"30s","tags":["a","1"],"no":{}}"#,
        );
        let text = shown(&server, &["View/all".into()], &status());
        assert_eq!(
            text,
            "kind: Server\nmetadata:\n  name: documents\nspec:\n  deadline: \"30s\"\n  no: {}\n  sidecar:\n    version: v1\n  \
             tags:\n    - a\n    - \"1\"\n\nchanged in revision 3\nused by View/all"
        );
    }

    #[test]
    fn who_uses_an_object_is_who_names_it() {
        let server = object("Server", "documents", "{}");
        let view = object("View", "research", r#"{"servers":[{"name":"documents"}]}"#);
        let other = object("View", "other", r#"{"servers":[{"name":"projects"}]}"#);
        let app = object("Application", "bot", r#"{"views":["*"]}"#);
        let all = [server.clone(), view.clone(), other, app];
        assert_eq!(users(&server, &all), ["View/research"]);
        assert_eq!(users(&view, &all), ["Application/bot"]);
    }
}
