//! What tools answer, read without knowing the tools: a text for people, and records for programs.

use serde_json::{Map, Value};

use super::catalogue::SERVER;
use super::words::stems;

/// A text this short is a title or a name and not an excerpt.
const TITLE_CHARS_MAX: usize = 120;
/// What tells a person where a text is from, in the order in which people say it.
const SOURCE: &[&str] = &["title", "author", "date", "uri"];

/// The text of a result.
pub(super) fn text(result: &Map<String, Value>) -> String {
    let blocks = result.get("content").and_then(Value::as_array).into_iter().flatten();
    let texts = blocks.filter_map(|block| block.get("text").and_then(Value::as_str));
    texts.collect::<Vec<_>>().join("\n")
}

/// The records of a result, where its answer is a list of them.
pub(super) fn list(result: &Map<String, Value>) -> Option<Vec<&Map<String, Value>>> {
    let structured = result.get("structuredContent")?.as_object()?;
    let lists = structured.values().filter_map(Value::as_array);
    let mut records = lists.filter(|list| list.iter().all(Value::is_object));
    Some(records.next()?.iter().filter_map(Value::as_object).collect())
}

/// The record that fits best: it is about the subject, and its title has most of the words. Of two that fit equally well
/// the server's order decides. A record about something else is none.
pub(super) fn best<'a>(
    records: Vec<&'a Map<String, Value>>,
    subject: Option<&str>,
    wanted: &[String],
) -> Option<&'a Map<String, Value>> {
    let about = records.into_iter().filter(|record| match subject {
        Some(subject) => record.values().any(|value| mentions(value, subject)),
        None => 2 * shared(record, wanted, usize::MAX) >= wanted.len(),
    });
    let scored = about.map(|record| (shared(record, wanted, TITLE_CHARS_MAX), record));
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, record)| record)
}

/// How many of the words stand in the record's texts up to a length.
fn shared(record: &Map<String, Value>, wanted: &[String], chars_max: usize) -> usize {
    let texts = record.values().filter_map(Value::as_str);
    let words: Vec<String> = texts
        .filter(|text| text.chars().count() <= chars_max)
        .flat_map(stems)
        .collect();
    wanted.iter().filter(|word| words.contains(word)).count()
}

/// Whether a result is about something: its data names it, or its text where it has no data.
pub(super) fn is_about(result: &Map<String, Value>, subject: &str) -> bool {
    let says = result.get("structuredContent").or_else(|| result.get("content"));
    says.is_some_and(|says| mentions(says, subject))
}

/// Whether a name stands anywhere in a value, as words of their own.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => {
            let (text, name) = (text.to_lowercase(), name.to_lowercase());
            text.match_indices(&name).any(|(at, _)| {
                let before = text.get(..at).and_then(|before| before.chars().next_back());
                let after = text.get(at + name.len()..).and_then(|after| after.chars().next());
                !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
            })
        }
        Value::Array(values) => values.iter().any(|value| mentions(value, name)),
        Value::Object(members) => members.values().any(|value| mentions(value, name)),
        _ => false,
    }
}

/// Where a text about this record is from.
pub(super) fn source(record: &Map<String, Value>) -> Option<String> {
    let said: Vec<&str> = SOURCE
        .iter()
        .filter_map(|key| record.get(*key).and_then(Value::as_str))
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// The program that answered, with its version. Behind Meshgate it stands beside the gateway's own name.
pub(super) fn program(result: &Map<String, Value>) -> Option<String> {
    let meta = result.get("_meta")?;
    let program = meta
        .get(SERVER)
        .or_else(|| meta.get("io.modelcontextprotocol/serverInfo"))?;
    let name = program.get("name")?.as_str()?;
    Some(match program.get("version").and_then(Value::as_str) {
        Some(version) => format!("{name} {version}"),
        None => name.to_owned(),
    })
}
