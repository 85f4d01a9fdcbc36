//! What leaves the gateway sealed comes back only whole, only for its caller and only for what it was made for.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{RunningGateway, TOKEN, UNHURRIED, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::{Answer, ScriptedServer};

const ASK: &str = r#"{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"inner state"}"#;
const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}"#;
const APPS: &str = "kind: Application\nmetadata: {name: other}\nspec: {views: [default], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: Application
metadata: {name: local}
spec: {views: [default], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}";

async fn asking() -> (ScriptedServer, RunningGateway) {
    let schema = |name: &str| format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
    let answer = |request: &meshgate_testkit::Recorded| {
        if request.json()["params"].get("inputResponses").is_some() {
            Answer::result(r#"{"resultType":"complete","content":[]}"#)
        } else {
            Answer::result(ASK)
        }
    };
    let server = ScriptedServer::modern()
        .tool_as("ask", &schema("ask"), answer)
        .tool_as("twin", &schema("twin"), answer)
        .start()
        .await;
    let more = documents(&[UNHURRIED, APPS]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &more));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    (server, gateway)
}

async fn state(gateway: &RunningGateway) -> String {
    let first = gateway
        .modern(
            "/mcp",
            "1",
            "tools/call",
            &format!(r#""name":"ask","arguments":{{"a":1}},{META}"#),
        )
        .await;
    let json = first.json();
    assert_eq!(json["result"]["resultType"], "input_required", "{json}");
    json["result"]["requestState"].as_str().unwrap().to_owned()
}

fn retry(tool: &str, arguments: &str, state: &str) -> String {
    format!(
        r#""name":"{tool}","arguments":{arguments},"inputResponses":{{"who":{{"action":"accept","content":{{}}}}}},"requestState":"{state}",{META}"#
    )
}

#[tokio::test]
async fn a_question_comes_back_with_the_servers_own_state() {
    let (server, gateway) = asking().await;
    let state = state(&gateway).await;
    assert!(!state.contains("inner"), "the state is sealed");
    let done = gateway
        .modern("/mcp", "2", "tools/call", &retry("ask", r#"{"a":1}"#, &state))
        .await
        .json();
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    assert_eq!(
        server.received("tools/call")[1].json()["params"]["requestState"],
        "inner state"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn d17_a_state_that_was_tampered_with_or_is_not_the_callers_never_reaches_the_server() {
    let (server, gateway) = asking().await;
    let state = state(&gateway).await;
    let reached = server.received("tools/call").len();
    let mut wrong: Vec<(String, &str, String, String)> = Vec::new();
    for index in 0..state.len() {
        let mut bytes = state.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        wrong.push((
            format!("a070 character {index}"),
            TOKEN,
            "ask".to_owned(),
            retry("ask", r#"{"a":1}"#, std::str::from_utf8(&bytes).unwrap()),
        ));
    }
    let other =
        |case: &str, token: &'static str, tool: &str, params: String| (case.to_owned(), token, tool.to_owned(), params);
    wrong.push(other(
        "a070 truncated",
        TOKEN,
        "ask",
        retry("ask", r#"{"a":1}"#, &state[..state.len() - 1]),
    ));
    wrong.push(other("a070 empty", TOKEN, "ask", retry("ask", r#"{"a":1}"#, "")));
    wrong.push(other(
        "a070 other user",
        "mg_other",
        "ask",
        retry("ask", r#"{"a":1}"#, &state),
    ));
    wrong.push(other(
        "a070 other tool",
        TOKEN,
        "twin",
        retry("twin", r#"{"a":1}"#, &state),
    ));
    wrong.push(other(
        "a070 other arguments",
        TOKEN,
        "ask",
        retry("ask", r#"{"a":2}"#, &state),
    ));
    wrong.push(other(
        "a072 answers without a state",
        TOKEN,
        "ask",
        format!(r#""name":"ask","arguments":{{"a":1}},"inputResponses":{{}},{META}"#),
    ));
    for (case, token, _tool, params) in wrong {
        let answer = gateway
            .modern_as(Some(token), "/mcp", "3", "tools/call", &params, &[])
            .await;
        assert_eq!(answer.json()["error"]["code"], -32602, "{case}: {}", answer.text());
        assert_eq!(
            answer.json()["error"]["data"]["dev.meshgate/refusal"]["executed"],
            "no",
            "{case}"
        );
    }
    assert_eq!(
        server.received("tools/call").len(),
        reached,
        "nothing reached the server"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a072_a_question_that_the_client_cannot_answer_is_not_passed_on() {
    let (_server, gateway) = asking().await;
    let answer = gateway
        .modern("/mcp", "1", "tools/call", r#""name":"ask","arguments":{}"#)
        .await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["code"], -32021, "{}", answer.text());
    assert_eq!(
        answer.json()["error"]["data"]["requiredCapabilities"],
        serde_json::json!({"elicitation": {}})
    );
    gateway.stop().await;
}

#[tokio::test]
async fn d18_a_cursor_is_good_for_its_caller_its_list_and_nothing_else() {
    let mut script = ScriptedServer::modern();
    for n in 0..1001 {
        script = script.tool(&format!("t{n:04}"), r#"{"resultType":"complete","content":[]}"#);
    }
    let server = script.start().await;
    let more = documents(&[UNHURRIED, APPS]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &more));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let first = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    assert_eq!(first["result"]["tools"].as_array().unwrap().len(), 1000);
    let cursor = first["result"]["nextCursor"].as_str().unwrap().to_owned();
    let second = gateway
        .modern("/mcp", "2", "tools/list", &format!(r#""cursor":"{cursor}""#))
        .await
        .json();
    assert_eq!(second["result"]["tools"][0]["name"], "t1000");
    assert!(second["result"].get("nextCursor").is_none());

    let mut wrong = vec![
        (TOKEN, "tools/list", String::new()),
        (TOKEN, "tools/list", "x".repeat(1 << 20)),
        ("mg_other", "tools/list", cursor.clone()),
    ];
    for index in 0..cursor.len() {
        let mut bytes = cursor.clone().into_bytes();
        bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
        wrong.push((TOKEN, "tools/list", String::from_utf8(bytes).unwrap()));
    }
    for (token, method, cursor) in wrong {
        let answer = gateway
            .modern_as(
                Some(token),
                "/mcp",
                "3",
                method,
                &format!(r#""cursor":"{cursor}""#),
                &[],
            )
            .await;
        assert_eq!(answer.json()["error"]["code"], -32602, "{}", answer.text());
    }
    gateway.stop().await;
}
