//! What the gateway wrote down about the demo's calls: the same requests that the assistant shows, from the other side.

use std::path::Path;

use serde_json::Value;

use crate::out;

/// Characters of a line's part, whatever a server calls itself.
const PART_CHARS_MAX: usize = 40;

/// The records of calls to servers, as lines for a person; nothing where there are none.
pub(super) fn shown(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let rows: Vec<[String; 5]> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|record: Value| row(&record))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let mut lines = vec!["\nthe gateway's own records of these calls".to_owned()];
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (way, tool, eras, outcome) = (width(0), width(1), width(2), width(3));
    lines.extend(
        rows.iter()
            .map(|[a, b, c, d, took]| format!("  {a:way$}  {b:tool$}  {c:eras$}  {d:outcome$}  {took:>8}")),
    );
    Some(lines.join("\n"))
}

/// Who called whom, what, in which eras, with which outcome, in which time. Lists are answered without a server.
fn row(record: &Value) -> Option<[String; 5]> {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let part = |key: &str| out::one_line(text(key).unwrap_or("unknown"), PART_CHARS_MAX);
    text("server")?;
    text("tool")?;
    let micros = record.get("durationMicros").and_then(Value::as_u64)?;
    Some([
        format!("{} → {}", part("application"), part("server")),
        part("tool"),
        format!("{} → {}", part("eraClient"), part("eraServer")),
        part("summary"),
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
    ])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn calls_to_servers_are_shown_and_lists_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("records.jsonl");
        let lines = concat!(
            r#"{"summary":"ok","application":"local","method":"tools/list","eraClient":"modern","durationMicros":9}"#,
            "\n",
            r#"{"summary":"ok","application":"local","server":"projects","method":"tools/call","tool":"find","#,
            r#""eraClient":"modern","eraServer":"legacy","durationMicros":1512}"#,
            "\n",
        );
        std::fs::write(&file, lines).unwrap();
        assert_eq!(
            shown(&file).unwrap(),
            "\nthe gateway's own records of these calls\n  local → projects  find  modern → legacy  ok    1.5 ms"
        );
        assert_eq!(shown(&directory.path().join("missing")), None);
    }
}
