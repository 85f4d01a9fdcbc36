//! Spans say what the conventions ask for, nothing that a record would not say, and cost nobody anything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::UNIX_EPOCH;

use super::*;
use crate::record::{Hop, Refused};

fn spans() -> Spans {
    Spans::new("http://127.0.0.1:9".into(), "0000000000000001")
}

fn record() -> AccessRecord {
    let theirs = TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
    let trace = theirs.child([1; 8]);
    AccessRecord {
        method: "tools/call".into(),
        target: Some(Target::Tool("search".into())),
        hop: Hop::Sidecar,
        identity: Some("spiffe://m.mesh/server/documents/v1".into()),
        peer_identity: Some("spiffe://m.mesh/gateway/main".into()),
        view: Some("default".into()),
        application: Some("corpassist".into()),
        server: Some("documents".into()),
        era_client: Some(Era::Modern),
        era_server: Some(Era::Modern),
        http_status: 200,
        outcome: Some(Outcome::Ok),
        request_id: Some("7".into()),
        upstream: Some(trace.child([2; 8])),
        duration_before: Some(Duration::from_millis(1)),
        duration_upstream: Some(Duration::from_millis(5)),
        duration: Duration::from_millis(8),
        peer: Some([127, 0, 0, 1].into()),
        ..AccessRecord::new(UNIX_EPOCH + Duration::from_secs(1), trace, 4)
    }
}

fn told(record: &AccessRecord) -> Vec<SpanData> {
    let spans = spans();
    spans.take(record);
    spans.batch().unwrap_or_default()
}

fn value(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

#[test]
fn a_call_is_a_span_under_its_callers_and_the_servers_is_under_it() {
    let told = told(&record());
    let [server, client] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (&server.span_kind, &client.span_kind),
        (&SpanKind::Server, &SpanKind::Client)
    );
    assert_eq!(
        server.span_context.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(client.span_context.trace_id(), server.span_context.trace_id());
    assert_eq!(server.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(client.parent_span_id, server.span_context.span_id());
    assert!(server.parent_span_is_remote && !client.parent_span_is_remote);
    assert_eq!(server.name, "tools/call search");
    let at = |millis| UNIX_EPOCH + Duration::from_secs(1) + Duration::from_millis(millis);
    assert_eq!((server.start_time, server.end_time), (at(0), at(8)));
    assert_eq!((client.start_time, client.end_time), (at(1), at(6)));
    for (name, expected) in [
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2026-07-28"),
        ("gen_ai.tool.name", "search"),
        ("gen_ai.operation.name", "execute_tool"),
        ("jsonrpc.request.id", "7"),
        ("client.address", "127.0.0.1"),
        ("meshgate.hop", "sidecar"),
        ("meshgate.identity", "spiffe://m.mesh/server/documents/v1"),
        ("meshgate.peer.identity", "spiffe://m.mesh/gateway/main"),
        ("meshgate.application", "corpassist"),
        ("meshgate.snapshot", "4"),
    ] {
        assert_eq!(value(server, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(server.status, Status::Unset);
}

#[test]
fn whose_fault_an_error_is_decides_which_span_has_failed() {
    let with = |code| AccessRecord {
        rpc_code: Some(code),
        outcome: None,
        ..record()
    };
    for code in CALLERS_FAULTS {
        let told = told(&with(code));
        assert_eq!(told[0].status, Status::Unset, "{code}");
        assert_eq!(told[1].status, Status::error(""), "{code}");
        assert_eq!(value(&told[1], "error.type"), Some(code.to_string()));
    }
    assert_eq!(told(&with(-32603))[0].status, Status::error(""));
    let failed = AccessRecord {
        outcome: Some(Outcome::Error),
        ..record()
    };
    assert_eq!(value(&told(&failed)[0], "error.type").as_deref(), Some("tool_error"));
}

#[test]
fn a_refused_call_that_went_nowhere_has_one_span_that_says_why() {
    let refused = AccessRecord {
        upstream: None,
        duration_upstream: None,
        rpc_code: Some(-33004),
        refused: Some(Refused {
            by: "gateway",
            reason: "rate_limited",
            rule: Some("limit/calls".into()),
            executed: "no",
        }),
        ..record()
    };
    let told = told(&refused);
    assert_eq!(told.len(), 1);
    assert_eq!(value(&told[0], "meshgate.refused.rule").as_deref(), Some("limit/calls"));
    assert_eq!(value(&told[0], "meshgate.executed").as_deref(), Some("no"));
}

#[test]
fn a_legacy_session_names_no_revision_that_it_does_not_speak() {
    let legacy = AccessRecord {
        era_client: Some(Era::Legacy),
        era_server: Some(Era::Legacy),
        ..record()
    };
    let told = told(&legacy);
    assert!(told.iter().all(|span| value(span, "mcp.protocol.version").is_none()));
}

#[test]
fn a_trace_that_its_caller_does_not_keep_has_no_spans() {
    let theirs = TraceContext::from_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00").unwrap();
    let unkept = AccessRecord {
        trace: theirs.child([1; 8]),
        ..record()
    };
    assert_eq!(told(&unkept), Vec::new());
}

#[test]
fn d36_a_span_tells_no_more_than_a_record_does() {
    let token = format!("mg_{}", "a".repeat(43));
    let hostile = AccessRecord {
        target: Some(Target::Tool(format!("x\u{202e}\n{token}").into())),
        request_id: Some(format!("\"{token}\"").into()),
        ..record()
    };
    let resource = AccessRecord {
        target: Some(Target::Resource("https://ann:secret@host/a?key=secret#secret".into())),
        ..record()
    };
    let shown = format!("{:?} {:?}", told(&hostile), told(&resource));
    assert!(!shown.contains(&token) && !shown.contains("secret"), "{shown}");
    assert!(!shown.contains('\u{202e}'));
    let name = &told(&resource)[0].name;
    assert_eq!(name, "tools/call");
}

#[test]
fn an_id_is_told_up_to_its_limit() {
    for (length, is_told) in [
        (SPAN_REQUEST_ID_BYTES_MAX - 1, true),
        (SPAN_REQUEST_ID_BYTES_MAX, true),
        (SPAN_REQUEST_ID_BYTES_MAX + 1, false),
    ] {
        let long = AccessRecord {
            request_id: Some("7".repeat(length).into()),
            ..record()
        };
        assert_eq!(
            value(&told(&long)[0], "jsonrpc.request.id").is_some(),
            is_told,
            "{length}"
        );
    }
}

#[test]
fn what_has_no_room_is_counted() {
    let one = AccessRecord {
        upstream: None,
        ..record()
    };
    for (count, lost) in [
        (SPANS_WAITING_MAX - 1, 0),
        (SPANS_WAITING_MAX, 0),
        (SPANS_WAITING_MAX + 1, 1),
    ] {
        let spans = spans();
        (0..count).for_each(|_| spans.take(&one));
        assert_eq!(spans.dropped(), lost, "{count}");
    }
}

#[test]
fn a_message_has_at_most_so_many_spans() {
    let spans = spans();
    let one = AccessRecord {
        upstream: None,
        ..record()
    };
    (0..=SPANS_SENT_MAX).for_each(|_| spans.take(&one));
    assert_eq!(spans.batch().map(|batch| batch.len()), Some(SPANS_SENT_MAX));
    assert_eq!(spans.batch().map(|batch| batch.len()), Some(1));
    assert_eq!(spans.batch().map(|batch| batch.len()), None);
}

#[tokio::test]
async fn a_receiver_that_is_away_costs_spans_and_nothing_else() {
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let spans = Arc::new(Spans::new(format!("http://127.0.0.1:{port}").into(), "1"));
    spans.take(&record());
    let metrics = Arc::new(Metrics::new());
    spans.clone().run(metrics.clone(), std::future::ready(())).await;
    assert_eq!((spans.sent(), spans.dropped()), (0, 2));
    assert!(metrics.encode().contains("meshgate_spans_dropped 2"));
}
