//! `meshgate get [KIND [NAME]]`: what the objects of a running mesh are.

use std::path::Path;
use std::process::ExitCode;

use meshgate_control::shapes::{DocumentShape, Documents};
use serde_json::Value;

use crate::api::Api;
use crate::cli::{GetArgs, Output};
use crate::client::block_on;
use crate::exit::{FAILED, Failure};
use crate::out;
use crate::status::{json, table};

/// Asks and prints.
pub(crate) fn run(args: &GetArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let kind = args.kind.as_deref().map(kind).transpose()?;
    let api = Api::find(&args.ask.control, state)?;
    let objects = block_on(of(&api, kind, args.name.as_deref()))?;
    match args.ask.output {
        Output::Json => out::print(&json(&objects)?),
        Output::Text => out::print(&shown(&objects)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Objects of a kind, or of all; one that was named must be there.
pub(crate) async fn of(api: &Api, kind: Option<&str>, name: Option<&str>) -> Result<Vec<DocumentShape>, Failure> {
    match (kind, name) {
        (Some(kind), Some(name)) => Ok(vec![api.get(&path(kind, name)?).await?]),
        (kind, _) => {
            let path = kind.map_or_else(
                || "/v1/documents".to_owned(),
                |kind| format!("/v1/documents?kind={kind}"),
            );
            let documents: Documents = api.get(&path).await?;
            Ok(documents.items)
        }
    }
}

/// A text of a document: `kind`, or `metadata/name`.
pub(crate) fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The kind that was meant, in whatever letters and in one or several.
pub(crate) fn kind(typed: &str) -> Result<&'static str, Failure> {
    let is = |kind: &&&str| {
        let plural = format!("{kind}s");
        kind.eq_ignore_ascii_case(typed) || plural.eq_ignore_ascii_case(typed)
    };
    meshgate_model::kinds::KINDS.iter().find(is).copied().ok_or_else(|| {
        Failure::new(FAILED, format!("there is no kind `{}`", out::one_line(typed, 64)))
            .remedy(format!("the kinds are {}", meshgate_model::kinds::KINDS.join(", ")))
    })
}

/// The path of one object. A name follows the grammar of names, so that it stays one segment of the path.
pub(crate) fn path(kind: &str, name: &str) -> Result<String, Failure> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(
            Failure::new(FAILED, format!("`{}` is no name of an object", out::one_line(name, 64)))
                .remedy("a name is 1 to 63 of `a-z`, `0-9` and `-`"),
        );
    }
    Ok(format!("/v1/documents/{kind}/{name}"))
}

fn shown(objects: &[DocumentShape]) -> String {
    if objects.is_empty() {
        return "there are none".to_owned();
    }
    let mut rows = table(&["KIND", "NAME", "TEAM", "REVISION"]);
    for DocumentShape { revision, document } in objects {
        let cell = |pointer: &str| text(document, pointer).to_owned();
        rows.add_row([
            cell("/kind"),
            cell("/metadata/name"),
            cell("/metadata/team"),
            revision.to_string(),
        ]);
    }
    rows.trim_fmt()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_kind_may_be_typed_as_people_do() {
        for typed in ["Server", "server", "servers", "SERVERS"] {
            assert_eq!(kind(typed).unwrap(), "Server");
        }
        assert!(kind("Pod").unwrap_err().to_string().contains("Mesh, Gateway"));
    }

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        assert_eq!(path("Server", "a-1").unwrap(), "/v1/documents/Server/a-1");
        for name in ["", "a/b", "..", "a?b", "a%2f", "A"] {
            assert!(path("Server", name).is_err(), "{name}");
        }
    }
}
