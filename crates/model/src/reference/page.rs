//! The reference page, as Markdown: one section for each kind, one table for each shape in it.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::json_schema;
use crate::kinds::KINDS;

const INTRODUCTION: &str = "# Kinds

<!-- Generated from the types that read mesh files. Regenerate: `cargo xtask codegen`. -->

A mesh file holds YAML documents, separated by `---`. Each has `apiVersion: meshgate.dev/v1alpha1`, a `kind`, `metadata` and a
`spec`. An unknown field is an error. An empty list means nobody or nothing; a list that is left out has the default that
its field names. Relative paths start at the directory the file is in. A length of time carries its unit (`250ms`, `60s`,
`10m`, `1h`); a size may (`65536`, `64KiB`, `4MiB`).

Editors that know the YAML language server complete and check a file that begins with
`# yaml-language-server: $schema=` and the path of [`meshgate.schema.json`](meshgate.schema.json).
";

/// The reference page of the kinds, as the text of its file.
pub fn kinds_markdown() -> String {
    let schema = json_schema();
    let mut page = String::from(INTRODUCTION);
    section(&mut page, &schema, "## `metadata`", "Metadata");
    for kind in KINDS {
        section(&mut page, &schema, &format!("## {kind}"), &format!("{kind}Spec"));
    }
    page.push_str("\n## Findings\n\nWhat `meshgate check` may find is in [errors](errors.md#findings).\n");
    page
}

/// A heading, the shape it is about, and the shapes that one uses, in the order in which they are met.
fn section(page: &mut String, schema: &Value, heading: &str, name: &str) {
    let _ = write!(page, "\n{heading}\n");
    let mut seen = BTreeSet::from([name.to_owned()]);
    let mut waiting = vec![name.to_owned()];
    let mut first = true;
    while !waiting.is_empty() {
        let name = waiting.remove(0);
        let Some(shape) = schema.get("$defs").and_then(|defs| defs.get(&name)) else {
            continue;
        };
        if shape.get("properties").is_none() && shape.get("oneOf").is_none() && shape.get("anyOf").is_none() {
            continue;
        }
        if !first {
            let _ = write!(page, "\n### {}\n", name.trim_end_matches("Spec"));
        }
        first = false;
        shape_of(page, shape);
        references(shape, &mut |found| {
            if !matches!(found, "Period" | "Size") && seen.insert(found.to_owned()) {
                waiting.push(found.to_owned());
            }
        });
    }
}

fn shape_of(page: &mut String, shape: &Value) {
    let _ = write!(page, "\n{}\n", text(shape, "description"));
    if let Some(Value::Object(fields)) = shape.get("properties") {
        let required: BTreeSet<&str> = list(shape, "required").filter_map(Value::as_str).collect();
        page.push_str("\n| field | type | |\n|---|---|---|\n");
        for (name, field) in fields {
            let mark = if required.contains(name.as_str()) {
                "**Required.** "
            } else {
                ""
            };
            let _ = writeln!(
                page,
                "| `{name}` | {} | {mark}{} |",
                cell(&kind_of(field)),
                cell(text(field, "description"))
            );
        }
    }
    let choices: Vec<&Value> = list(shape, "oneOf").chain(list(shape, "anyOf")).collect();
    if !choices.is_empty() {
        page.push_str("\n| value | |\n|---|---|\n");
        for choice in choices {
            let _ = writeln!(
                page,
                "| {} | {} |",
                cell(&kind_of(choice)),
                cell(text(choice, "description"))
            );
        }
    }
}

/// A field's type in a few words.
fn kind_of(field: &Value) -> String {
    if let Some(constant) = field.get("const").and_then(Value::as_str) {
        return format!("`{constant}`");
    }
    if let Some(name) = reference(field) {
        return match name {
            "Period" => "time".to_owned(),
            "Size" => "size".to_owned(),
            other => format!(
                "[{0}](#{1})",
                other.trim_end_matches("Spec"),
                other.trim_end_matches("Spec").to_ascii_lowercase()
            ),
        };
    }
    let options: Vec<&Value> = list(field, "anyOf")
        .chain(list(field, "oneOf"))
        .filter(|option| !is_null(option))
        .collect();
    if let Some(only) = options.first() {
        return kind_of(only);
    }
    let names: Vec<&str> = match field.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|name| *name != "null")
            .collect(),
        _ => Vec::new(),
    };
    match names.first().copied() {
        Some("array") => format!("list of {}", field.get("items").map(kind_of).unwrap_or_default()),
        Some("object") => match (field.get("additionalProperties"), field.get("properties")) {
            (Some(values @ Value::Object(_)), _) => format!("map of {}", kind_of(values)),
            (_, Some(Value::Object(fields))) => fields
                .iter()
                .map(|(name, field)| format!("`{name}:` {}", kind_of(field)))
                .collect(),
            _ => "map".to_owned(),
        },
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("integer") => "number".to_owned(),
        Some("string") => match field.get("enum") {
            Some(Value::Array(values)) => values
                .iter()
                .filter_map(Value::as_str)
                .map(|v| format!("`{v}`"))
                .collect::<Vec<_>>()
                .join(", "),
            _ => "text".to_owned(),
        },
        Some(other) => other.to_owned(),
        None => String::new(),
    }
}

fn is_null(value: &Value) -> bool {
    value.get("type").and_then(Value::as_str) == Some("null")
}

fn reference(value: &Value) -> Option<&str> {
    value
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|path| path.rsplit('/').next())
}

fn references(value: &Value, found: &mut dyn FnMut(&str)) {
    if let Some(name) = reference(value) {
        found(name);
    }
    match value {
        Value::Object(members) => members.values().for_each(|member| references(member, found)),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
