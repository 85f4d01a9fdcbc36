//! The schema and the reference page of the kinds, both made from the kinds themselves.
//!
//! Editors complete and check mesh files by the schema; people read the page. Because both come from the types that read
//! the file, neither can promise a field that does not exist.

mod page;

#[cfg(test)]
mod tests;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::API_VERSION;
use crate::kinds::{ApplicationSpec, GatewaySpec, KINDS, MeshSpec, Metadata, ServerSpec, ViewSpec};

pub use page::kinds_markdown;

/// One JSON Schema (2020-12) for documents of every kind.
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let metadata = generator.subschema_for::<Metadata>();
    let specs: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            json!({
                "if": { "properties": { "kind": { "const": kind } }, "required": ["kind"] },
                "then": { "properties": { "spec": spec_of(kind, &mut generator) } },
            })
        })
        .collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Meshgate mesh file",
        "description": "One document of a mesh file.",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": false,
        "properties": {
            "apiVersion": { "const": API_VERSION, "description": "The version of this format." },
            "kind": { "enum": KINDS, "description": "What the document is about." },
            "metadata": metadata,
            "spec": { "type": "object", "description": "What it says." },
        },
        "allOf": specs,
        "$defs": generator.take_definitions(true),
    });
    sorted(schema)
}

fn spec_of(kind: &str, generator: &mut SchemaGenerator) -> schemars::Schema {
    match kind {
        "Mesh" => generator.subschema_for::<MeshSpec>(),
        "Gateway" => generator.subschema_for::<GatewaySpec>(),
        "Server" => generator.subschema_for::<ServerSpec>(),
        "View" => generator.subschema_for::<ViewSpec>(),
        _ => generator.subschema_for::<ApplicationSpec>(),
    }
}

/// The schema as the text of its file.
pub fn json_schema_text() -> String {
    let mut text = serde_json::to_string_pretty(&json_schema()).unwrap_or_default();
    text.push('\n');
    text
}

/// Members in the order of their names, whatever map serde_json was built with; line ends inside descriptions, which only
/// follow the source's margins, as blanks.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(String, Value)> = members.into_iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(
                members
                    .into_iter()
                    .map(|(key, value)| described(key, value))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn described(key: String, value: Value) -> (String, Value) {
    match value {
        Value::String(text) if key == "description" => (key, Value::String(text.replace('\n', " "))),
        value => (key, sorted(value)),
    }
}
