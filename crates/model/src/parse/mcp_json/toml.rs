//! TOML, as the same tree of spans that YAML and JSON become, so that one reader reads all three.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::finding::{Finding, codes};
use crate::parse::tree::{Key, Node, Shape};
use std::sync::Arc;

/// Whether a text is TOML with a table of servers: no YAML file has a line that begins so.
pub(super) fn is_one(text: &str) -> bool {
    text.lines()
        .any(|line| line.trim_start().starts_with("[mcp_servers") || line.trim_start().starts_with("mcp_servers."))
}

/// Reads the whole text.
pub(super) fn read(source: &Arc<str>, text: &str) -> Result<Node, Finding> {
    let table = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        let span = span.start.min(text.len())..span.end.min(text.len());
        Finding::error(codes::SYNTAX, source, format!("this is not TOML: {}", error.message())).at(span)
    })?;
    let span = 0..text.len();
    Ok(Node {
        span,
        shape: of_table(table.get_ref(), 0),
    })
}

fn of_table(table: &DeTable<'_>, depth: usize) -> Shape {
    let mut members: Vec<(Key, Node)> = table
        .iter()
        .map(|(key, value)| {
            let key = Key {
                text: key.get_ref().to_string(),
                span: key.span(),
            };
            (key, of_value(value, depth + 1))
        })
        .collect();
    // In the order of the file, so that what is written from it is too.
    members.sort_by_key(|(key, _)| key.span.start);
    Shape::Map(members)
}

fn of_value(value: &Spanned<DeValue<'_>>, depth: usize) -> Node {
    let shape = match value.get_ref() {
        _ if depth > crate::limits::SOURCE_DEPTH => Shape::Other,
        DeValue::String(text) => Shape::Scalar(text.to_string()),
        DeValue::Integer(number) => Shape::Scalar(number.to_string()),
        DeValue::Float(number) => Shape::Scalar(number.to_string()),
        DeValue::Boolean(truth) => Shape::Scalar(truth.to_string()),
        DeValue::Datetime(time) => Shape::Scalar(time.to_string()),
        DeValue::Array(items) => Shape::List(items.iter().map(|item| of_value(item, depth + 1)).collect()),
        DeValue::Table(table) => of_table(table, depth),
    };
    Node {
        span: value.span(),
        shape,
    }
}
