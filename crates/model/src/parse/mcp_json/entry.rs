//! What one entry of an `mcp.json` says, and what becomes of its texts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::kinds::{Value, ValueFrom};
use crate::naming::ALIAS_CHARS_MAX;
use crate::parse::tree::{Key, Node, Shape};

/// What an entry says, as far as it means something here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Entry {
    pub(super) r#type: Option<String>,
    pub(super) transport: Option<String>,
    pub(super) command: Option<String>,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, Lenient>,
    pub(super) cwd: Option<PathBuf>,
    pub(super) url: Option<String>,
    pub(super) server_url: Option<String>,
    pub(super) headers: BTreeMap<String, Lenient>,
    pub(super) disabled: bool,
}

/// A text, also where somebody wrote a number or a truth value.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Lenient {
    Text(String),
    Truth(bool),
    Whole(i64),
    Number(f64),
}

impl Lenient {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Truth(truth) => truth.to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// The name and alias an entry's name gives: lower case, everything but letters and digits a `-`. Empty for none.
pub(super) fn alias_of(entry: &str) -> String {
    let mut name = String::new();
    for c in entry.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name.trim_matches('-').chars().take(ALIAS_CHARS_MAX).collect();
    name.trim_end_matches('-').to_owned()
}

/// A value with at most one variable, at its end. `Err` where one stands elsewhere or has a default.
pub(super) fn variable(text: &str) -> Result<Value, ()> {
    let Some((prefix, rest)) = text.split_once("${") else {
        return Ok(Value::Literal(text.to_owned()));
    };
    let name = rest.strip_suffix('}').ok_or(())?;
    let name = name.strip_prefix("env:").unwrap_or(name);
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        return Err(());
    }
    Ok(Value::From(ValueFrom {
        from_environment: Some(name.to_owned()),
        from_file: None,
        prefix: prefix.to_owned(),
    }))
}

/// The entry's spans, arranged as those of the document it becomes.
pub(super) fn as_document(key: &Key, node: &Node, part: &str) -> Node {
    let named = |text: &str| Key {
        text: text.to_owned(),
        span: key.span.clone(),
    };
    let text = Node {
        span: key.span.clone(),
        shape: Shape::Scalar(key.text.clone()),
    };
    let map = |members| Node {
        span: node.span.clone(),
        shape: Shape::Map(members),
    };
    let metadata = map(vec![(named("name"), text.clone())]);
    let spec = map(vec![(named("alias"), text), (named(part), node.clone())]);
    map(vec![(named("metadata"), metadata), (named("spec"), spec)])
}
