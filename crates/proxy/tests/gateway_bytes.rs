//! The bytes are sacred: what a client sends reaches the server as it was, and the other way round, but for the spans
//! that must change.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{RunningGateway, mesh};
use meshgate_testkit::ScriptedServer;

/// Everything a decoder would lose or rewrite.
const ODD: &str = r#"{"z":123456789012345678901234567890,"a":-0,"f":1.0,"e":1e2,"big":0.10000000000000000555,"Ünï":"\u00e9\/","future":{"__proto__":{"x":null}},"s":"\ud83d\ude00"}"#;

#[tokio::test]
async fn arguments_and_unknown_fields_reach_a_modern_server_byte_for_byte() {
    let result = format!(
        r#"{{"resultType":"complete","content":[{{"type":"hologram","beam":{ODD}}}],"structuredContent":{ODD},"later":{ODD},"_meta":{{"com.example/k":{ODD}}}}}"#
    );
    let server = ScriptedServer::modern().tool("odd", &result).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let params = format!(
        r#""name":"odd","arguments":{ODD},"futureField":{ODD},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"com.example/k":{ODD}}}"#
    );
    let answer = gateway.modern("/mcp", "\"client-id\"", "tools/call", &params).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let upstream = &server.received("tools/call")[0];
    assert!(
        upstream
            .text()
            .contains(&format!(r#""arguments":{ODD},"futureField":{ODD}"#)),
        "{}",
        upstream.text()
    );
    assert!(
        upstream.text().contains(&format!(r#""com.example/k":{ODD}"#)),
        "{}",
        upstream.text()
    );
    assert!(
        !upstream.text().contains("client-id"),
        "the client's id stays at its hop"
    );
    assert_eq!(
        upstream.header("authorization"),
        None,
        "the client's token stays at its hop"
    );
    assert_eq!(upstream.header("mcp-name"), Some("odd"));

    let text = answer.text();
    assert!(
        text.contains(&format!(
            r#""content":[{{"type":"hologram","beam":{ODD}}}],"structuredContent":{ODD},"later":{ODD}"#
        )),
        "{text}"
    );
    assert!(text.contains(&format!(r#""com.example/k":{ODD}"#)), "{text}");
    assert!(text.contains(r#""id":"client-id""#), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn arguments_and_results_of_a_legacy_server_arrive_byte_for_byte() {
    let result =
        format!(r#"{{"content":[{{"type":"text","text":"x","beam":{ODD}}}],"structuredContent":{ODD},"later":{ODD}}}"#);
    let server = ScriptedServer::legacy("2025-06-18").tool("odd", &result).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let answer = gateway
        .modern("/mcp", "7", "tools/call", &format!(r#""name":"odd","arguments":{ODD}"#))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let upstream = &server.received("tools/call")[0];
    assert!(
        upstream.text().contains(&format!(r#""arguments":{ODD}"#)),
        "{}",
        upstream.text()
    );
    assert!(
        !upstream.text().contains("clientCapabilities"),
        "modern keys stay out of a legacy call: {}",
        upstream.text()
    );
    let text = answer.text();
    assert!(
        text.contains(&format!(r#""beam":{ODD}}}],"structuredContent":{ODD},"later":{ODD}"#)),
        "{text}"
    );
    assert!(text.contains(r#""resultType":"complete""#), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_long_result_arrives_byte_for_byte_with_its_length_and_its_record() {
    for length in [7_000, 8_100, 8_192, 20_000, 1 << 20] {
        let text = "a line of text with ünï. ".repeat(length / 26);
        let content = format!(r#""content":[{{"type":"text","text":"{text}"}}],"later":{ODD}"#);
        let result = format!(r#"{{"resultType":"complete",{content}}}"#);
        let server = ScriptedServer::modern().tool("long", &result).start().await;
        let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
        let answer = gateway
            .modern("/mcp", "\"x\"", "tools/call", r#""name":"long","arguments":{}"#)
            .await;
        assert_eq!(answer.status, 200);
        let whole = answer.text();
        assert!(whole.contains(&content), "{length}");
        assert_eq!(answer.header("content-length"), Some(whole.len().to_string().as_str()));
        assert_eq!(answer.json()["id"], "x");
        let line = gateway.lines(1).await.remove(0);
        assert_eq!(line["bytesOut"], whole.len());
        assert_eq!(line["summary"], "ok", "{line}");
        assert!(line.get("cancelled").is_none());
        gateway.stop().await;
    }
}
