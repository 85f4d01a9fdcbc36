//! What a client holds for the gateway (states, cursors, task ids) over several gateways, keys and servers.
//!
//! The gateway keeps nothing between two requests of a modern client; what it must remember travels sealed. So any
//! gateway with the keys can go on, and nothing that was changed, borrowed or moved opens anywhere.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{Post, RunningGateway, TOKEN, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer};
use serde_json::{Value, json};

const APPLICATIONS: [&str; 2] = [
    "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
    "kind: Application\nmetadata: {name: other}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
];
const VIEWS: [&str; 2] = [
    "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: alpha}, {name: beta}], liftLimits: true}",
    "kind: View\nmetadata: {name: twin}\nspec: {servers: [{name: alpha}, {name: beta}], liftLimits: true}",
];

fn meta(capabilities: &str) -> String {
    format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities}}}"#
    )
}

/// A server whose tool asks once, whose tool `work` becomes a task, and that has one resource.
async fn server(name: &'static str) -> ScriptedServer {
    let ask =
        r#"{"resultType":"input_required","inputRequests":{"who":{"method":"roots/list"}},"requestState":"NAME"}"#
            .replace("NAME", name);
    let done = format!(r#"{{"resultType":"complete","content":[{{"type":"text","text":"{name}"}}]}}"#);
    let task = format!(
        r#"{{"resultType":"task","taskId":"task of {name}","status":"working","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttlMs":null}}"#
    );
    // Some servers say `task` here as well; the id must come back whole all the same.
    let got = task.clone();
    ScriptedServer::modern()
        .capabilities(r#"{"tools":{},"resources":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#)
        .tool_as(
            "ask",
            r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
            move |request| {
                let retried = !request.json()["params"]["requestState"].is_null();
                Answer::result(if retried { &done } else { &ask })
            },
        )
        .tool_as(
            "work",
            r#"{"name":"work","inputSchema":{"type":"object"}}"#,
            move |_| Answer::result(&task),
        )
        .on("tasks/get", move |_| Answer::result(&got))
        .on("resources/list", |_| {
            let resources: Vec<Value> = (0..1500)
                .map(|n| json!({"uri": format!("file:///{n}"), "name": "r"}))
                .collect();
            let resources = serde_json::to_string(&resources).unwrap();
            Answer::result(&format!(
                r#"{{"resultType":"complete","resources":{resources},"ttlMs":0,"cacheScope":"public"}}"#
            ))
        })
        .start()
        .await
}

async fn gateway(alpha: &ScriptedServer, beta: &ScriptedServer, keys: KeyRing) -> RunningGateway {
    let more = documents(&[VIEWS[0], VIEWS[1], APPLICATIONS[0], APPLICATIONS[1]]);
    let mut snapshot = compiled(&mesh(&[("alpha", &alpha.url()), ("beta", &beta.url())], &more));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    RunningGateway::start_snapshot(snapshot, Arc::new(keys)).await
}

fn ring() -> KeyRing {
    KeyRing::generate(&mut |bytes| bytes.fill(7))
}

fn rotated(ring: KeyRing, with: u8) -> KeyRing {
    ring.rotate(&mut |bytes| bytes.fill(with))
}

fn refused(case: &str, answer: &RawAnswer) {
    assert_eq!(answer.json()["error"]["code"], -32602, "{case}: {}", answer.text());
    assert_eq!(
        answer.json()["error"]["data"]["dev.meshgate/refusal"]["executed"],
        "no",
        "{case}"
    );
}

fn ask(tool: &str, more: &str) -> Post {
    let meta = meta(r#"{"roots":{}}"#);
    Post::modern(
        "1",
        "tools/call",
        &format!(r#""name":"{tool}","arguments":{{}},{more}{meta}"#),
    )
}

fn retry(tool: &str, state: &str) -> Post {
    ask(
        tool,
        &format!(r#""inputResponses":{{"who":{{"roots":[]}}}},"requestState":"{state}","#),
    )
}

async fn state(gateway: &RunningGateway, tool: &str) -> String {
    let answer = ask(tool, "").to(gateway).await.json();
    answer["result"]["requestState"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

#[tokio::test]
async fn d17_a070_a_state_opens_at_any_gateway_with_the_keys_until_they_have_been_changed_twice() {
    let (alpha, beta) = (server("alpha").await, server("beta").await);
    let first = gateway(&alpha, &beta, ring()).await;
    let state = state(&first, "alpha__ask").await;
    first.stop().await;
    let reached = alpha.received("tools/call").len();
    let cases = [
        ("the same keys", ring(), true),
        ("changed once", rotated(ring(), 8), true),
        ("changed twice", rotated(rotated(ring(), 8), 9), false),
        ("other keys", KeyRing::from_entropy().unwrap(), false),
    ];
    for (case, keys, opens) in cases {
        let gateway = gateway(&alpha, &beta, keys).await;
        let answer = retry("alpha__ask", &state).to(&gateway).await;
        if opens {
            assert_eq!(
                answer.json()["result"]["content"][0]["text"],
                "alpha",
                "{case}: {}",
                answer.text()
            );
        } else {
            refused(case, &answer);
        }
        gateway.stop().await;
    }
    assert_eq!(alpha.received("tools/call").len(), reached + 2);
    assert!(beta.received("tools/call").is_empty());
}

#[tokio::test]
async fn d17_a070_a_state_opens_for_no_other_server_view_or_place() {
    let (alpha, beta) = (server("alpha").await, server("beta").await);
    let gateway = gateway(&alpha, &beta, ring()).await;
    let ours = state(&gateway, "alpha__ask").await;
    let reached = alpha.received("tools/call").len();
    refused("another server", &retry("beta__ask", &ours).to(&gateway).await);
    refused("another tool", &retry("alpha__work", &ours).to(&gateway).await);
    refused(
        "another view",
        &retry("alpha__ask", &ours).at("/views/twin/mcp").to(&gateway).await,
    );
    refused(
        "another caller",
        &retry("alpha__ask", &ours).token("mg_other").to(&gateway).await,
    );
    refused(
        "as a cursor",
        &Post::modern("1", "tools/list", &format!(r#""cursor":"{ours}""#))
            .to(&gateway)
            .await,
    );
    refused(
        "as a task",
        &Post::modern("1", "tasks/get", &format!(r#""taskId":"{ours}""#))
            .to(&gateway)
            .await,
    );
    for state in ["7", "null", "{}", "[\"x\"]", "true"] {
        let odd = ask("alpha__ask", &format!(r#""requestState":{state},"#))
            .to(&gateway)
            .await;
        refused(state, &odd);
    }
    let endless = "x".repeat(100_000);
    refused("endless", &retry("alpha__ask", &endless).to(&gateway).await);
    assert_eq!(
        (alpha.received("tools/call").len(), beta.received("tools/call").len()),
        (reached, 0)
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a072_answers_to_questions_that_were_never_asked_are_the_servers_to_ignore() {
    let (alpha, beta) = (server("alpha").await, server("beta").await);
    let gateway = gateway(&alpha, &beta, ring()).await;
    let state = state(&gateway, "alpha__ask").await;
    let answers = format!(r#""inputResponses":{{"never asked":{{"roots":[]}}}},"requestState":"{state}","#);
    let answer = ask("alpha__ask", &answers).to(&gateway).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let params = alpha.received("tools/call")[1].json()["params"].clone();
    assert_eq!(
        (&params["requestState"], &params["inputResponses"]),
        (&json!("alpha"), &json!({"never asked": {"roots": []}}))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn d18_a071_a_cursor_opens_for_its_own_list_view_and_caller_alone() {
    let (alpha, beta) = (server("alpha").await, server("beta").await);
    let gateway = gateway(&alpha, &beta, ring()).await;
    let list = |method: &str, cursor: &str| Post::modern("1", method, &format!(r#""cursor":{cursor}"#));
    let first = Post::modern("1", "resources/list", "").to(&gateway).await.json();
    let cursor = first["result"]["nextCursor"].to_string();
    let mut seen = first["result"]["resources"].as_array().unwrap().len();
    let mut next = cursor.clone();
    while next != "null" {
        let page = list("resources/list", &next).to(&gateway).await.json();
        seen += page["result"]["resources"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .len();
        next = page["result"]["nextCursor"].to_string();
    }
    assert_eq!(seen, 3000, "every resource of both servers, once");
    for method in ["tools/list", "resources/templates/list"] {
        refused(method, &list(method, &cursor).to(&gateway).await);
    }
    refused(
        "another view",
        &list("resources/list", &cursor).at("/views/twin/mcp").to(&gateway).await,
    );
    refused(
        "another caller",
        &list("resources/list", &cursor).token("mg_other").to(&gateway).await,
    );
    for odd in ["7", "null", "{}", "\"\"", "\"x\""] {
        refused(odd, &list("resources/list", odd).to(&gateway).await);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_task_id_leads_to_its_server_for_its_caller_alone() {
    let (alpha, beta) = (server("alpha").await, server("beta").await);
    let gateway = gateway(&alpha, &beta, ring()).await;
    let capable = meta(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let begin = Post::modern(
        "1",
        "tools/call",
        &format!(r#""name":"beta__work","arguments":{{}},{capable}"#),
    );
    let begun = begin.to(&gateway).await.json();
    assert_eq!(begun["result"]["resultType"], "task", "{begun}");
    let id = begun["result"]["taskId"].as_str().unwrap().to_owned();
    assert!(!id.contains("beta"), "{id}");
    let get = |id: &str| Post::modern("1", "tasks/get", &format!(r#""taskId":"{id}",{capable}"#));
    let got = get(&id).to(&gateway).await.json();
    assert_eq!(
        (&got["result"]["status"], &got["result"]["taskId"]),
        (&json!("working"), &json!(id)),
        "{got}"
    );
    let upstream = &beta.received("tasks/get")[0];
    assert_eq!(upstream.json()["params"]["taskId"], "task of beta");
    assert_eq!(upstream.header("mcp-name"), Some("task of beta"));

    refused("another caller", &get(&id).token("mg_other").to(&gateway).await);
    refused("another view", &get(&id).at("/views/twin/mcp").to(&gateway).await);
    refused("the server's own", &get("task of beta").to(&gateway).await);
    for index in 0..id.len() {
        let mut changed = id.clone().into_bytes();
        changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
        refused(
            "changed",
            &get(std::str::from_utf8(&changed).unwrap()).to(&gateway).await,
        );
    }
    let contradicted = get(&id).with("mcp-name", "x").token(TOKEN).to(&gateway).await;
    assert_eq!(contradicted.json()["error"]["code"], -32020);
    assert_eq!(
        (alpha.received("tasks/get").len(), beta.received("tasks/get").len()),
        (0, 1)
    );
    gateway.stop().await;
}
