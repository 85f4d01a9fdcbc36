//! What the parts of the mesh wrote down about the demo's calls: the same requests that the assistant shows, from the other
//! side. Gateway and sidecar each write their own record, and what ties them together is in them: the trace, and what was
//! called.

use std::path::Path;

use serde_json::Value;

use crate::out;

/// Characters of a line's part, whatever a server calls itself.
const PART_CHARS_MAX: usize = 64;

/// One record of a call to a server.
#[derive(Debug)]
struct Row {
    trace: String,
    call: String,
    hop: String,
    identity: String,
    /// The identity that this hop saw at the other end.
    peer: Option<String>,
    eras: String,
    outcome: String,
    took: String,
    revision: u64,
}

/// The records of calls to servers, as lines for a person; nothing where there are none.
pub(super) fn shown(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let rows: Vec<Row> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|record: Value| row(&record))
        .collect();
    let calls = calls(&rows);
    if calls.is_empty() {
        return None;
    }
    let width = |cell: fn(&Row) -> &str| rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
    let hop = width(|row| &row.hop);
    let identity = width(|row| &row.identity);
    let eras = width(|row| &row.eras);
    let outcome = width(|row| &row.outcome);
    let mut lines = vec!["\nthe parts' own records of these calls, hop by hop".to_owned()];
    for call in calls {
        let Some(first) = call.first() else { continue };
        lines.push(format!("  {}, trace {}", first.call, first.trace));
        for (at, row) in call.iter().enumerate() {
            let mut line = format!(
                "    {:hop$}  {:identity$}  {:eras$}  {:outcome$}  {:>8}  revision {}",
                row.hop, row.identity, row.eras, row.outcome, row.took, row.revision
            );
            // The hop before says who it is, and this one whom it saw: two proofs of one thing.
            let before = at.checked_sub(1).and_then(|at| call.get(at));
            if let (Some(before), Some(peer)) = (before, &row.peer)
                && before.identity != *peer
            {
                line.push_str(&format!("  from {peer}"));
            }
            lines.push(line);
        }
    }
    Some(lines.join("\n"))
}

/// The records of each call together, the gateway's first. Of several calls of one trace to one tool, the first of one hop
/// belongs to the first of the other.
fn calls(rows: &[Row]) -> Vec<Vec<&Row>> {
    let (gateways, mut others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.hop == "gateway");
    gateways
        .into_iter()
        .map(|first| {
            let next = others
                .iter()
                .position(|row| row.trace == first.trace && row.call == first.call);
            std::iter::once(first).chain(next.map(|at| others.remove(at))).collect()
        })
        .collect()
}

/// Who did what, in which eras, with which outcome, in which time. Lists are answered without a server.
fn row(record: &Value) -> Option<Row> {
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    let part = |key: &str| out::one_line(text(key).unwrap_or("unknown"), PART_CHARS_MAX);
    text("server")?;
    text("tool")?;
    let micros = record.get("durationMicros").and_then(Value::as_u64)?;
    Some(Row {
        trace: part("traceId"),
        call: format!("{} → {} {}", part("application"), part("server"), part("tool")),
        hop: part("hop"),
        identity: part("identity"),
        peer: text("peerIdentity").map(|peer| out::one_line(peer, PART_CHARS_MAX)),
        eras: format!("{} → {}", part("eraClient"), part("eraServer")),
        outcome: part("summary"),
        took: format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        revision: record.get("revision").and_then(Value::as_u64).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LIST: &str = r#"{"summary":"ok","application":"local","method":"tools/list","traceId":"aa","spanId":"01","eraClient":"modern","durationMicros":9}"#;
    const SIDECAR: &str = r#"{"summary":"ok","traceId":"aa","spanId":"03","parentId":"02","hop":"sidecar","identity":"spiffe://m/server/projects/v1","peerIdentity":"spiffe://m/gateway/demo","application":"local","server":"projects","tool":"find","eraClient":"modern","eraServer":"legacy","durationMicros":812,"snapshot":9,"revision":4}"#;
    const GATEWAY: &str = r#"{"summary":"ok","traceId":"aa","spanId":"02","parentId":"00","hop":"gateway","identity":"spiffe://m/gateway/demo","application":"local","server":"projects","tool":"find","eraClient":"modern","eraServer":"modern","durationMicros":1512,"snapshot":9,"revision":4}"#;

    fn of(lines: &[&str]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("records.jsonl");
        std::fs::write(&file, lines.join("\n")).unwrap();
        shown(&file)
    }

    #[test]
    fn each_call_is_shown_hop_by_hop_and_lists_are_not() {
        assert_eq!(
            of(&[LIST, SIDECAR, GATEWAY]).unwrap(),
            "\nthe parts' own records of these calls, hop by hop\n  local → projects find, trace aa\n    \
             gateway  spiffe://m/gateway/demo        modern → modern  ok    1.5 ms  revision 4\n    \
             sidecar  spiffe://m/server/projects/v1  modern → legacy  ok    0.8 ms  revision 4"
        );
        assert_eq!(of(&[LIST]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn a_hop_that_saw_somebody_else_says_so() {
        let other = SIDECAR.replace(
            "\"peerIdentity\":\"spiffe://m/gateway/demo\"",
            "\"peerIdentity\":\"spiffe://m/x\"",
        );
        assert!(of(&[&other, GATEWAY]).unwrap().ends_with("from spiffe://m/x"));
    }

    #[test]
    fn a_record_without_its_other_hop_stands_alone_and_another_trace_is_another_call() {
        assert_eq!(of(&[SIDECAR]), None);
        let alone = of(&[&SIDECAR.replace("\"aa\"", "\"bb\""), GATEWAY]).unwrap();
        assert!(!alone.contains("sidecar"), "{alone}");
    }
}
