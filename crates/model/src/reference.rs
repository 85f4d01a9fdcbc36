//! (types first; the rest follows)

/// One JSON Schema for all kinds.
pub fn json_schema() -> serde_json::Value {
    serde_json::Value::Null
}
/// The schema as the text of its file.
pub fn json_schema_text() -> String {
    String::new()
}
/// The reference page of the kinds, as Markdown.
pub fn kinds_markdown() -> String {
    String::new()
}
