//! From what was typed to a tool's arguments.
//!
//! A value is what the tool's schema says it is: `--arg id=007` stays text where text is wanted. Without a word from the
//! schema it is JSON if it reads as JSON, and text if not. JSON that was typed goes on byte for byte.

use std::collections::BTreeMap;

use meshgate_mcp::{Rules, Span, json, lookup, scan};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::exit::{FAILED, Failure};

/// What is read of a tool's `inputSchema`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Schema {
    #[serde(default)]
    properties: BTreeMap<String, Property>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Property {
    Typed {
        #[serde(rename = "type")]
        kind: Kind,
    },
    Other(#[allow(dead_code, reason = "read to accept any form")] serde::de::IgnoredAny),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Kind {
    One(String),
    Many(Vec<String>),
}

impl Schema {
    /// Whether the property is text and nothing else.
    fn is_text(&self, name: &str) -> bool {
        match self.properties.get(name) {
            Some(Property::Typed { kind: Kind::One(kind) }) => kind == "string",
            Some(Property::Typed {
                kind: Kind::Many(kinds),
            }) => kinds.iter().all(|k| k == "string" || k == "null"),
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct Definition {
    #[serde(rename = "inputSchema")]
    input_schema: Option<Box<RawValue>>,
}

/// The bytes of the `inputSchema` of a definition.
pub(super) fn schema_text(definition: &str) -> Option<String> {
    let definition: Definition = serde_json::from_str(definition).ok()?;
    definition.input_schema.map(|schema| schema.get().to_owned())
}

/// The `inputSchema` of a definition, where it can be read.
pub(super) fn schema(definition: &str) -> Option<Schema> {
    serde_json::from_str(&schema_text(definition)?).ok()
}

/// The arguments as a JSON object.
pub(super) fn object(whole: Option<&str>, single: &[String], schema: Option<&Schema>) -> Result<String, Failure> {
    let mut members: BTreeMap<String, Box<RawValue>> = match whole {
        None => BTreeMap::new(),
        Some(text) if single.is_empty() => return checked(text).map(str::to_owned),
        Some(text) => serde_json::from_str(checked(text)?).map_err(|cause| refused(&cause.to_string()))?,
    };
    for pair in single {
        let (name, value) = pair
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| {
                Failure::new(FAILED, format!("`--arg {pair}` has no name and value"))
                    .remedy("write `--arg name=value`, or all arguments at once with `--args-json '{…}'`")
            })?;
        if members.insert(name.to_owned(), raw(name, value, schema)?).is_some() {
            return Err(Failure::new(FAILED, format!("argument `{name}` is given twice")).remedy("give it once"));
        }
    }
    serde_json::to_string(&members).map_err(|cause| refused(&cause.to_string()))
}

fn raw(name: &str, value: &str, schema: Option<&Schema>) -> Result<Box<RawValue>, Failure> {
    let is_text = schema.is_some_and(|schema| schema.is_text(name));
    if !is_text && let Ok(raw) = serde_json::from_str::<Box<RawValue>>(value) {
        return Ok(raw);
    }
    let quoted = String::from_utf8(json::quote(value)).map_err(|cause| refused(&cause.to_string()))?;
    RawValue::from_string(quoted).map_err(|cause| refused(&cause.to_string()))
}

fn checked(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    match serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text) {
        Ok(_) => Ok(text),
        Err(cause) => Err(refused(&cause.to_string())),
    }
}

fn refused(why: &str) -> Failure {
    Failure::new(FAILED, format!("`--args-json` is not a JSON object: {why}"))
        .remedy(r#"write for instance --args-json '{"query": "titan"}'"#)
}

/// Where the arguments stand in a request.
pub(super) fn span_in(body: &[u8]) -> Option<Span> {
    let message = scan(body, &Rules::CLIENT).ok()?;
    Some(lookup(body, message.root.span, &["params", "arguments"])?.span)
}
