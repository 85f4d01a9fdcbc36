//! Sight: the one record that each call leaves, and the trace that leads from the caller through to the server.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, documents, mesh, mesh_with};
use meshgate_testkit::{Answer, Recorded, ScriptedServer, Step};
use serde_json::{Value, json};

const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn meta(more: &str) -> String {
    format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}{more}}}"#
    )
}

fn call(name: &str, more: &str) -> Post {
    Post::modern("1", "tools/call", &format!(r#""name":"{name}",{}"#, meta(more)))
}

fn theirs() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// What the server was told: trace id and span id, the same in its header and in its `_meta`.
fn told(request: &Recorded) -> (String, String) {
    let header = request.header("traceparent").unwrap_or_default().to_owned();
    let in_meta = request.json()["params"]["_meta"]["traceparent"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(header.is_empty() || header == in_meta, "{header} {in_meta}");
    let parts: Vec<&str> = in_meta.split('-').collect();
    assert_eq!(
        (parts.len(), parts[0], parts[1].len(), parts[2].len()),
        (4, "00", 32, 16),
        "{in_meta}"
    );
    (parts[1].to_owned(), parts[2].to_owned())
}

#[tokio::test]
async fn a_trace_goes_on_from_the_caller_through_the_gateway_to_the_server() {
    for legacy in [false, true] {
        let script = if legacy {
            ScriptedServer::legacy("2025-06-18")
        } else {
            ScriptedServer::modern()
        };
        let server = script.tool("echo", OK).start().await;
        let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
        let in_meta = format!(r#","traceparent":"{}""#, theirs());
        let other = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00";
        let cases = [
            ("in _meta", call("echo", &in_meta)),
            ("in the header", call("echo", "").and("traceparent", &theirs())),
            // The header speaks of one hop; what the message says of itself wins.
            ("in both", call("echo", &in_meta).and("traceparent", other)),
        ];
        for (index, (case, post)) in cases.into_iter().enumerate() {
            assert_eq!(post.to(&gateway).await.status, 200, "{case}");
            let (trace, span) = told(&server.received("tools/call")[index]);
            let line = gateway.lines(1).await.remove(0);
            assert_eq!((trace.as_str(), &line["traceId"]), (TRACE, &json!(TRACE)), "{case}");
            assert_eq!(line["parentId"], SPAN, "{case}: {line}");
            // Three spans: the caller's, ours, and that of the hop to the server.
            let ours = line["spanId"].as_str().unwrap();
            assert!(ours != SPAN && span != SPAN && span != ours, "{case}: {line} {span}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn d37_a_malformed_trace_is_dropped_for_one_of_our_own_and_baggage_for_nothing() {
    let server = ScriptedServer::modern().tool("echo", OK).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let wrong = [
        "made up".to_owned(),
        String::new(),
        format!("00-{TRACE}-{SPAN}"),
        format!("00-{TRACE}-{SPAN}-01-more"),
        format!("ff-{TRACE}-{SPAN}-01"),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{}-{SPAN}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{TRACE}-{SPAN}-zz"),
        format!("00-{TRACE}-{SPAN}-01{}", "x".repeat(5000)),
    ];
    for (index, value) in wrong.iter().enumerate() {
        let in_meta = format!(r#","traceparent":"{value}","baggage":"secret=1""#);
        let post = call("echo", &in_meta)
            .and("traceparent", &value[..value.len().min(1000)])
            .and("baggage", "secret=2");
        let answer = post.to(&gateway).await;
        assert_eq!(answer.status, 200, "{value:.80}: {}", answer.text());
        let upstream = &server.received("tools/call")[index];
        let (trace, _) = told(upstream);
        assert_ne!(trace, TRACE, "{value:.80}");
        assert!(
            !upstream.text().contains("baggage") && upstream.header("baggage").is_none(),
            "{}",
            upstream.text()
        );
        let line = gateway.lines(1).await.remove(0);
        assert_eq!(line["traceId"], trace.as_str(), "{value:.80}");
        assert!(line.get("parentId").is_none(), "{line}");
    }
    // A trace that is no text is no trace either.
    let answer = call("echo", r#","traceparent":7"#).to(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    told(server.received("tools/call").last().unwrap());
    gateway.stop().await;
}

/// A gateway before two servers, whose tool `NAME` ends as its name says.
async fn scene() -> (ScriptedServer, ScriptedServer, RunningGateway) {
    let ask = r#"{"resultType":"input_required","inputRequests":{"who":{"method":"roots/list"}}}"#;
    let docs = ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"resources":{},"prompts":{}}"#)
        .tool("works", OK)
        .tool("fails", r#"{"resultType":"complete","content":[],"isError":true}"#)
        .tool("asks", ask)
        .tool_as(
            "refuses",
            r#"{"name":"refuses","inputSchema":{"type":"object"}}"#,
            |_| Answer::error(-32050, "no"),
        )
        .tool_as("hangs", r#"{"name":"hangs","inputSchema":{"type":"object"}}"#, |_| {
            let progress =
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1}}"#;
            Answer::stream([Step::message(progress), Step::Hold])
        })
        .tool_as("breaks", r#"{"name":"breaks","inputSchema":{"type":"object"}}"#, |_| {
            Answer::status(500)
        })
        .on("prompts/list", |_| {
            Answer::result(r#"{"resultType":"complete","prompts":[{"name":"p"}],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .on("prompts/get", |_| {
            Answer::result(r#"{"resultType":"complete","messages":[]}"#)
        })
        .on("resources/read", |_| {
            Answer::result(r#"{"resultType":"complete","contents":[],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .start()
        .await;
    let work = ScriptedServer::legacy("2025-06-18")
        .tool("works", r#"{"content":[]}"#)
        .start()
        .await;
    let yaml = mesh_with(
        "",
        &[("work", &work.url(), "")],
        &documents(&[
            &format!(
                "kind: Server\nmetadata: {{name: documents, team: library}}\nspec: {{alias: docs, http: {{url: '{}'}}, questions: {{roots: allow}}}}",
                docs.url()
            ),
            "kind: View\nmetadata: {name: all}\nspec: {path: /mcp, servers: [{name: documents}, {name: work}], liftLimits: true}",
        ]),
    );
    (docs, work, RunningGateway::start(&yaml).await)
}

#[tokio::test]
async fn one_call_leaves_one_record_that_says_everything_about_it() {
    let (docs, _work, gateway) = scene().await;
    let post = call("docs__works", "");
    let answer = post.to(&gateway).await;
    let line = gateway.lines(1).await.remove(0);
    let mut expected = json!({
        "kind": "call", "summary": "ok", "hop": "gateway",
        "view": "all", "application": "local", "server": "documents", "team": "library",
        "method": "tools/call", "tool": "works",
        "eraClient": "modern", "eraServer": "modern",
        "httpStatus": 200, "outcome": "ok",
        "bytesIn": post.body.len(), "bytesOut": answer.body.len(),
        "peer": "127.0.0.1",
    });
    // What no test can foresee is there, and is of the right form.
    for member in [
        "time",
        "traceId",
        "spanId",
        "durationMicros",
        "upstreamMicros",
        "firstByteMicros",
        "snapshot",
    ] {
        assert!(line[member].is_string() || line[member].is_u64(), "{member}: {line}");
        expected[member] = line[member].clone();
    }
    assert_eq!(line, expected);
    let micros = |member: &str| line[member].as_u64().unwrap();
    assert!(micros("upstreamMicros") <= micros("durationMicros"), "{line}");
    assert!(micros("firstByteMicros") <= micros("durationMicros"), "{line}");
    assert_eq!(docs.received("tools/call").len(), 1);
    gateway.stop().await;
}

async fn recorded(gateway: &RunningGateway, post: Post) -> Value {
    let _ = post.to(gateway).await;
    let mut lines = gateway.lines(1).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// The members of a record that say how a call ended.
fn ending(line: &Value) -> Value {
    let of = |members: &[&str]| {
        members
            .iter()
            .map(|m| line.get(*m).cloned().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    json!(of(&[
        "summary",
        "httpStatus",
        "rpcCode",
        "outcome",
        "refusedBy",
        "reason",
        "executed"
    ]))
}

#[tokio::test]
async fn a_record_keeps_transport_protocol_and_tool_apart() {
    let (_docs, _work, gateway) = scene().await;
    let none = Value::Null;
    let cases = [
        (
            "a result",
            call("docs__works", ""),
            json!(["ok", 200, none, "ok", none, none, none]),
        ),
        (
            "a failure of the tool",
            call("docs__fails", ""),
            json!(["tool_error", 200, none, "error", none, none, none]),
        ),
        (
            "an error of the server",
            call("docs__refuses", ""),
            json!(["rpc_error", 200, -32050, none, none, none, none]),
        ),
        (
            "a question",
            {
                let roots = meta("").replace(r#"clientCapabilities":{}"#, r#"clientCapabilities":{"roots":{}}"#);
                Post::modern("1", "tools/call", &format!(r#""name":"docs__asks",{roots}"#))
            },
            json!(["input_required", 200, none, "input_required", none, none, none]),
        ),
        (
            "a question nobody can answer",
            call("docs__asks", ""),
            json!(["refused", 400, -32021, none, "server", "missing_capability", "unknown"]),
        ),
        (
            "a server that broke",
            call("docs__breaks", ""),
            json!(["refused", 200, -32603, none, "server", "server_broken", "unknown"]),
        ),
        (
            "an unknown tool",
            call("docs__nobody", ""),
            json!(["refused", 200, -32602, none, "gateway", "invalid_params", "no"]),
        ),
        (
            "no token",
            call("docs__works", "").without("authorization"),
            json!(["refused", 401, -33001, none, "gateway", "unauthenticated", "no"]),
        ),
        (
            "another path",
            call("docs__works", "").at("/nowhere"),
            json!(["refused", 404, -33005, none, "gateway", "not_found", "no"]),
        ),
        (
            "another host",
            call("docs__works", "").host("evil.example"),
            json!(["refused", 400, -33004, none, "gateway", "host", "no"]),
        ),
        (
            "not JSON",
            call("docs__works", "").body("{"),
            json!(["refused", 400, -32700, none, "gateway", "parse", "no"]),
        ),
        (
            "a contradiction",
            call("docs__works", "").with("mcp-name", "x"),
            json!(["refused", 400, -32020, none, "gateway", "header_mismatch", "no"]),
        ),
        (
            "a notification",
            call("docs__works", "").body(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#),
            json!(["ok", 202, none, none, none, none, none]),
        ),
    ];
    for (case, post, expected) in cases {
        let line = recorded(&gateway, post).await;
        assert_eq!(ending(&line), expected, "{case}: {line}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_record_names_what_was_asked_for_in_the_servers_own_words() {
    let (_docs, _work, gateway) = scene().await;
    let line = recorded(&gateway, call("work__works", "")).await;
    assert_eq!(
        (&line["server"], &line["tool"], &line["eraServer"]),
        (&json!("work"), &json!("works"), &json!("legacy")),
        "{line}"
    );
    assert!(line.get("team").is_none(), "{line}");
    let line = recorded(&gateway, Post::modern("1", "prompts/get", r#""name":"docs__p""#)).await;
    assert_eq!(
        (&line["server"], &line["prompt"]),
        (&json!("documents"), &json!("p")),
        "{line}"
    );
    let uri = meshgate_model::naming::wrap_uri("docs", "file:///a?token=x#y");
    let line = recorded(
        &gateway,
        Post::modern("1", "resources/read", &format!(r#""uri":"{uri}""#)),
    )
    .await;
    assert_eq!(
        (&line["server"], &line["resource"]),
        (&json!("documents"), &json!("file:///a?…")),
        "{line}"
    );
    let line = recorded(&gateway, Post::modern("1", "tools/list", "")).await;
    assert_eq!(
        (&line["method"], line.get("server")),
        (&json!("tools/list"), None),
        "{line}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_of_a_legacy_client_is_recorded_like_any_other() {
    let (_docs, _work, gateway) = scene().await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let lines = gateway.lines(2).await;
    assert_eq!(
        (&lines[0]["method"], &lines[0]["eraClient"]),
        (&json!("initialize"), &json!("legacy"))
    );
    let line = recorded(&gateway, client.request("1", "tools/call", r#""name":"docs__works""#)).await;
    assert_eq!(
        (&line["eraClient"], &line["eraServer"], &line["tool"], &line["outcome"]),
        (&json!("legacy"), &json!("modern"), &json!("works"), &json!("ok")),
        "{line}"
    );
    let line = recorded(&gateway, client.request("1", "tools/call", r#""name":"docs__nobody""#)).await;
    assert_eq!(
        (&line["rpcCode"], &line["reason"], &line["refusedBy"]),
        (&json!(-32602), &json!("invalid_params"), &json!("gateway")),
        "{line}"
    );
    let line = recorded(&gateway, client.request("1", "tools/call", r#""name":"docs__refuses""#)).await;
    assert_eq!(
        (&line["summary"], &line["rpcCode"]),
        (&json!("rpc_error"), &json!(-32050)),
        "{line}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_call_that_its_client_gives_up_is_recorded_as_such() {
    let (docs, _work, gateway) = scene().await;
    let mut events = call("docs__hangs", r#","progressToken":1"#).stream(&gateway).await;
    events.next().await;
    drop(events);
    let line = gateway.lines(1).await.remove(0);
    assert_eq!(
        (&line["summary"], &line["cancelled"], &line["tool"]),
        (&json!("cancelled"), &json!(true), &json!("hangs")),
        "{line}"
    );
    assert!(docs.holds(0).await);
    gateway.stop().await;
}

#[tokio::test]
async fn figures_count_what_records_say() {
    let (_docs, _work, gateway) = scene().await;
    for name in ["docs__works", "docs__works", "docs__fails", "docs__nobody"] {
        recorded(&gateway, call(name, "")).await;
    }
    let figures = gateway.metrics.encode();
    let counted = |words: &[&str]| {
        let lines = figures
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    };
    let calls = "mcp_server_operation_duration_seconds_count";
    for (count, words) in [
        (2.0, [calls, r#"server="documents""#, r#"gen_ai_tool_name="works""#]),
        (
            1.0,
            [calls, r#"gen_ai_tool_name="fails""#, r#"error_type="tool_error""#],
        ),
        (1.0, [calls, r#"gen_ai_tool_name="""#, r#"error_type="invalid_params""#]),
    ] {
        assert!((counted(&words) - count).abs() < 0.5, "{words:?}: {figures}");
    }
    assert!(
        !figures.contains("nobody"),
        "what a stranger makes up gets no label: {figures}"
    );
    gateway.stop().await;
}
