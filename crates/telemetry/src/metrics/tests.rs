#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, SystemTime};

use super::*;
use crate::limits::LABEL_BYTES_MAX;
use crate::record::Refused;
use crate::trace::TraceContext;

fn call(tool: &str) -> AccessRecord {
    AccessRecord {
        view: Some("all".into()),
        application: Some("local".into()),
        server: Some("ledger".into()),
        method: "tools/call".into(),
        target: Some(Target::Tool(tool.into())),
        era_client: Some(Era::Modern),
        era_server: Some(Era::Legacy),
        http_status: 200,
        outcome: Some(Outcome::Ok),
        bytes_in: 10,
        bytes_out: 20,
        duration: Duration::from_millis(3),
        duration_upstream: Some(Duration::from_millis(2)),
        ..AccessRecord::new(SystemTime::UNIX_EPOCH, TraceContext::root([1; 24]), 1)
    }
}

fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter(|l| l.starts_with(name)).collect()
}

#[test]
fn a_call_is_counted_with_who_what_and_how_it_ended() {
    let metrics = Metrics::new();
    metrics.observe(&call("append"));
    let text = metrics.encode();
    assert_eq!(
        series(&text, "meshgate_calls_total"),
        [concat!(
            r#"meshgate_calls_total{view="all",application="local",server="ledger",method="tools/call","#,
            r#"target="append",era_client="modern",era_server="legacy",outcome="ok"} 1"#
        )]
    );
    assert!(
        text.contains(r#"meshgate_message_bytes_total{view="all",direction="in"} 10"#),
        "{text}"
    );
    assert!(
        text.contains(r#"meshgate_message_bytes_total{view="all",direction="out"} 20"#),
        "{text}"
    );
    assert!(text.contains(r#"mcp_server_operation_duration_seconds_count{mcp_method_name="tools/call",gen_ai_tool_name="append",error_type="",server="ledger"} 1"#));
    assert_eq!(
        series(&text, "mcp_client_operation_duration_seconds_bucket").len(),
        DURATION_SECONDS.len() + 1
    );
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_refusal_is_counted_by_whom_and_why() {
    let metrics = Metrics::new();
    let refused = Refused {
        by: "gateway",
        reason: "forbidden",
        rule: Some("view/x".into()),
        executed: "no",
    };
    metrics.observe(&AccessRecord {
        refused: Some(refused),
        server: None,
        ..call("x")
    });
    metrics.wire_refusals("too_large", 3);
    metrics.wire_refusals("too_large", 3);
    metrics.wire_refusals("too_large", 5);
    let text = metrics.encode();
    assert!(
        text.contains(r#"meshgate_refusals_total{by="gateway",reason="forbidden",executed="no"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"meshgate_wire_refusals_total{reason="too_large"} 5"#),
        "{text}"
    );
}

#[test]
fn tools_beyond_the_thousandth_share_a_label() {
    let metrics = Metrics::new();
    (0..TARGET_LABELS_MAX + 500).for_each(|n| metrics.observe(&call(&format!("tool_{n}"))));
    let text = metrics.encode();
    let calls = series(&text, "meshgate_calls_total");
    assert_eq!(calls.len(), TARGET_LABELS_MAX + 1);
    assert!(
        calls
            .iter()
            .any(|l| l.contains(r#"target="other""#) && l.ends_with(" 500"))
    );
}

#[test]
fn d37_names_that_a_stranger_made_up_get_no_label() {
    let metrics = Metrics::new();
    for name in [
        "a\"} 1\nevil 2",
        "a b",
        "\x1b[2J",
        &"x".repeat(LABEL_BYTES_MAX + 1),
        "日本",
    ] {
        metrics.observe(&call(name));
    }
    for number in 0..5_000 {
        metrics.observe(&AccessRecord {
            server: None,
            ..call(&format!("guess_{number}"))
        });
        metrics.observe(&AccessRecord {
            method: format!("made/up{number}").into(),
            target: None,
            ..call("")
        });
    }
    let text = metrics.encode();
    assert!(!text.contains("guess_") && !text.contains("evil") && !text.contains('\x1b'));
    assert!(series(&text, "meshgate_calls_total").len() <= METHOD_LABELS_MAX + 3);
}

#[test]
fn a_servers_own_error_codes_share_a_label() {
    let metrics = Metrics::new();
    for code in [-32_602, 1, 2, 3, i64::MAX, i64::MIN, -32_768] {
        metrics.observe(&AccessRecord {
            rpc_code: Some(code),
            outcome: None,
            ..call("append")
        });
    }
    let text = metrics.encode();
    let counts = series(&text, "mcp_server_operation_duration_seconds_count");
    assert_eq!(counts.len(), 2, "{counts:?}");
}

#[test]
fn levels_move_both_ways() {
    let metrics = Metrics::new();
    metrics.server_up(&"ledger".into(), true);
    metrics.server_up(&"ledger".into(), false);
    metrics.server_tools(&"ledger".into(), 4);
    metrics.server_restarts(&"ledger".into(), 2);
    metrics.streams.inc();
    metrics.streams.inc();
    metrics.streams.dec();
    let text = metrics.encode();
    assert!(text.contains(r#"meshgate_server_up{server="ledger"} 0"#));
    assert!(text.contains(r#"meshgate_server_tools{server="ledger"} 4"#));
    assert!(text.contains(r#"meshgate_server_restarts{server="ledger"} 2"#));
    assert!(text.contains("meshgate_streams 1"));
}

#[test]
fn calls_of_one_kind_and_of_kinds_in_between_are_all_counted() {
    let metrics = Metrics::new();
    let (first, second) = (call("append"), call("read"));
    for _ in 0..3 {
        metrics.observe(&first);
        metrics.observe(&second);
        metrics.observe(&AccessRecord {
            cancelled: true,
            ..first.clone()
        });
        metrics.observe(&AccessRecord {
            outcome: Some(Outcome::Error),
            ..first.clone()
        });
        metrics.observe(&AccessRecord {
            duration_upstream: None,
            ..first.clone()
        });
    }
    // Equal names that stand elsewhere, as after a new configuration.
    metrics.observe(&call("append"));
    let text = metrics.encode();
    let counted = |tool: &str, outcome: &str| {
        let of = |line: &&str| line.contains(&format!(r#"target="{tool}""#)) && line.contains(outcome);
        let found: Vec<_> = series(&text, "meshgate_calls_total").into_iter().filter(of).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(counted("append", r#"outcome="ok""#), 7);
    assert_eq!(counted("read", r#"outcome="ok""#), 3);
    assert_eq!(counted("append", r#"outcome="cancelled""#), 3);
    assert_eq!(counted("append", r#"outcome="tool_error""#), 3);
    assert!(text.contains(r#"meshgate_message_bytes_total{view="all",direction="in"} 160"#));
    let client = series(&text, "mcp_client_operation_duration_seconds_count");
    let total: u64 = client
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 13, "{client:?}");
}
