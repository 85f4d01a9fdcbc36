//! Lists of a caller's own: a legacy server that shows more to a client which can be asked, before clients of both kinds.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{LegacyClient, RunningGateway, UNHURRIED, mesh_with};
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer};
use serde_json::{Value, json};

const CAN: &str = r#"{"elicitation":{"form":{}},"sampling":{}}"#;
const CANNOT: &str = "{}";
const PER_CALLER: &str = ", catalogue: perCaller";

/// A server that lists and knows `ask` only in sessions whose client declared elicitation. It names such a session.
fn shows_more() -> Script {
    let capabilities = r#"{"tools":{"listChanged":true}}"#;
    let can = |request: &Recorded| request.header("mcp-session-id") == Some("can");
    ScriptedServer::legacy("2025-11-25")
        .without_sessions()
        .capabilities(capabilities)
        .on("initialize", move |request| {
            let declared = &request.json()["params"]["capabilities"]["elicitation"];
            let session = if declared.is_null() { "cannot" } else { "can" };
            Answer::result(&format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"serverInfo":{{"name":"s","version":"1"}}}}"#
            ))
            .header("mcp-session-id", session)
        })
        .on("tools/list", move |request| {
            let plain = r#"{"name":"plain","inputSchema":{"type":"object"}}"#;
            let ask = r#",{"name":"ask","inputSchema":{"type":"object"}}"#;
            Answer::result(&format!(r#"{{"tools":[{plain}{}]}}"#, if can(request) { ask } else { "" }))
        })
        .on("tools/call", |request| {
            let session = request.header("mcp-session-id").unwrap_or_default();
            Answer::result(&format!(r#"{{"content":[{{"type":"text","text":"in {session}"}}]}}"#))
        })
}

async fn before(script: Script, spec: &str) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let yaml = mesh_with("", &[("only", &server.url(), spec)], UNHURRIED);
    let gateway = RunningGateway::start(&yaml).await;
    (server, gateway)
}

fn params(capabilities: &str, more: &str) -> String {
    format!(
        r#"{more}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#
    )
}

async fn listed(gateway: &RunningGateway, capabilities: &str) -> Vec<String> {
    let answer = gateway
        .modern("/mcp", "1", "tools/list", &params(capabilities, ""))
        .await;
    let tools = answer.json()["result"]["tools"].as_array().cloned().unwrap_or_default();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn called(gateway: &RunningGateway, capabilities: &str, tool: &str) -> Value {
    let named = format!(r#""name":"{tool}","arguments":{{}},"#);
    let answer = gateway
        .modern("/mcp", "2", "tools/call", &params(capabilities, &named))
        .await;
    serde_json::from_str(answer.messages().last().unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_that_can_be_asked_is_shown_and_may_call_what_its_own_session_has() {
    let (server, gateway) = before(shows_more(), PER_CALLER).await;
    assert_eq!(listed(&gateway, CAN).await, ["plain", "ask"]);
    assert_eq!(listed(&gateway, CANNOT).await, ["plain"]);
    let answer = called(&gateway, CAN, "ask").await;
    assert_eq!(answer["result"]["content"][0]["text"], "in can", "{answer}");

    let before = server.received("tools/call").len();
    let refused = called(&gateway, CANNOT, "ask").await;
    assert_eq!(refused["error"]["code"], json!(-32602), "{refused}");
    assert_eq!(server.received("tools/call").len(), before);
}

#[tokio::test]
async fn a_call_finds_what_was_never_listed() {
    let (_server, gateway) = before(shows_more(), PER_CALLER).await;
    let answer = called(&gateway, CAN, "ask").await;
    assert_eq!(answer["result"]["content"][0]["text"], "in can", "{answer}");
}

#[tokio::test]
async fn a_legacy_client_that_can_be_asked_is_shown_it_too() {
    let (_server, gateway) = before(shows_more(), PER_CALLER).await;
    for (capabilities, tools) in [(CAN, 2), (CANNOT, 1)] {
        let client = LegacyClient::open(&gateway, "2025-11-25", capabilities).await;
        let answer = client.request("1", "tools/list", "").to(&gateway).await.json();
        assert_eq!(
            answer["result"]["tools"].as_array().map(Vec::len),
            Some(tools),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_caller_with_a_session_of_its_own_is_shown_the_lists_of_that_session() {
    let (server, gateway) = before(shows_more(), ", catalogue: perCaller, sharing: perCaller").await;
    assert_eq!(listed(&gateway, CANNOT).await, ["plain"]);
    assert_eq!(
        (server.received("initialize").len(), server.received("tools/list").len()),
        (2, 2)
    );
}

#[tokio::test]
async fn shared_lists_are_the_same_for_everybody() {
    let (server, gateway) = before(shows_more(), "").await;
    assert_eq!(listed(&gateway, CAN).await, ["plain"]);
    assert_eq!(server.received("initialize").len(), 1);
}

#[tokio::test]
async fn lists_of_a_callers_own_are_read_once_until_the_server_announces_a_change() {
    let (server, gateway) = before(shows_more(), PER_CALLER).await;
    let own = || {
        let all = server.received("tools/list").into_iter();
        all.filter(|request| request.header("mcp-session-id") == Some("can"))
            .count()
    };
    let (one, other) = tokio::join!(listed(&gateway, CAN), listed(&gateway, CAN));
    assert_eq!((one.len(), other.len(), own()), (2, 2, 1));
    called(&gateway, CAN, "plain").await;
    assert_eq!(own(), 1);

    server.wait_for_streams(1).await;
    let read = server.received("tools/list").len();
    server.push(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    server.wait_for("tools/list", read + 1).await;
    let again = async {
        while own() == 1 {
            listed(&gateway, CAN).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again)
        .await
        .expect("it is read again");
}

#[tokio::test]
async fn what_the_server_may_not_ask_shows_nothing_more() {
    let denied = ", catalogue: perCaller, questions: {elicitation: deny}";
    let (server, gateway) = before(shows_more(), denied).await;
    assert_eq!(listed(&gateway, CAN).await, ["plain"]);
    assert_eq!(server.received("initialize").len(), 1);
}

#[tokio::test]
async fn the_shared_lists_stand_in_for_own_ones_that_cannot_be_read_and_they_are_tried_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let script = shows_more().when(move |request| {
        let own = request.header("mcp-session-id") == Some("can") && request.method() == "tools/list";
        (own && is_broken.load(Ordering::SeqCst)).then(|| Answer::error(-32603, "not now"))
    });
    let (_server, gateway) = before(script, PER_CALLER).await;
    assert_eq!(listed(&gateway, CAN).await, ["plain"]);
    broken.store(false, Ordering::SeqCst);
    assert_eq!(listed(&gateway, CAN).await, ["plain", "ask"]);
}
