//! Streams of legacy clients that break off and are taken up again, and what a legacy client gets of another era's ways.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{LegacyClient, RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::{Answer, Script, ScriptedServer, Step};
use serde_json::{Value, json};

const TOOL: &str = r#"{"name":"TOOL","inputSchema":{"type":"object"}}"#;

async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

fn progress(n: u32) -> Step {
    Step::message(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":{n}}}}}"#
    ))
}

/// A modern server whose tool reports progress before it answers.
fn reporting() -> Script {
    ScriptedServer::modern().tool_as("slow", &TOOL.replace("TOOL", "slow"), |_| {
        let last = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
        Answer::stream([progress(1), progress(2), Step::message(last)])
    })
}

const CALL: &str = r#""name":"slow","_meta":{"progressToken":"TOKEN"}"#;

#[tokio::test]
async fn a086_event_ids_of_another_session_bring_nothing_of_it() {
    let (_server, gateway) = before(reporting()).await;
    let owner = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    let other = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    let call = |client: &LegacyClient, token: &str| client.request("1", "tools/call", &CALL.replace("TOKEN", token));
    let whole = call(&owner, "owner").to(&gateway).await;
    assert_eq!(
        whole.messages().iter().filter(|m| m.contains("owner")).count(),
        2,
        "{}",
        whole.text()
    );
    for id in ["1-0", "1-1", "1-2", "2-0"] {
        let answer = other.attach().and("last-event-id", id).to(&gateway).await;
        assert_eq!(answer.status, 400, "{id}: {}", answer.text());
    }
    // Once it has a stream of that number itself, it gets its own.
    call(&other, "other").to(&gateway).await;
    let mut events = other.attach().and("last-event-id", "1-1").stream(&gateway).await;
    assert_eq!(
        events.next().await["params"],
        json!({"progressToken": "other", "progress": 2})
    );
    assert_eq!(events.next().await["id"], 1);
    assert_eq!(events.maybe_next().await, None);
    for id in ["", "1", "x-1", "1-x", "1-1-1", "99-1", "-1-1"] {
        let answer = owner.attach().and("last-event-id", id).to(&gateway).await;
        assert_eq!(answer.status, 400, "{id}: {}", answer.text());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn events_have_ids_and_streams_of_2025_11_25_begin_with_one_and_a_delay() {
    let (_server, gateway) = before(reporting()).await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let client = LegacyClient::open(&gateway, revision, "{}").await;
        let text = client
            .request("1", "tools/call", CALL)
            .to(&gateway)
            .await
            .text()
            .to_owned();
        let is_primed = revision == "2025-11-25";
        assert_eq!(text.contains("retry: 1000"), is_primed, "{revision}: {text}");
        assert_eq!(text.contains("id: 1-0"), is_primed, "{revision}: {text}");
        for id in ["id: 1-1", "id: 1-2", "id: 1-3"] {
            assert!(text.contains(id), "{revision}: {text}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn the_get_stream_is_taken_up_again_behind_the_last_event() {
    let script = ScriptedServer::legacy("2025-06-18").capabilities(r#"{"resources":{"subscribe":true}}"#);
    let (server, gateway) = before(script).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    for uri in ["file:///a", "file:///b"] {
        let params = format!(r#""uri":"{uri}""#);
        let answer = client.request("1", "resources/subscribe", &params).to(&gateway).await;
        assert_eq!(answer.json()["result"], json!({}), "{}", answer.text());
    }
    let updated = |uri: &str| {
        server.push(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#
        ));
    };
    let mut events = client.attach().stream(&gateway).await;
    updated("file:///a");
    assert_eq!(events.next().await["params"]["uri"], "file:///a");
    drop(events);
    updated("file:///b");
    // The first event is read a second time by whoever says that it has seen none.
    let mut events = client.attach().and("last-event-id", "0-0").stream(&gateway).await;
    for uri in ["file:///a", "file:///b"] {
        assert_eq!(events.next().await["params"]["uri"], uri);
    }
    drop(events);
    let mut events = client.attach().and("last-event-id", "0-1").stream(&gateway).await;
    assert_eq!(events.next().await["params"]["uri"], "file:///b");
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_that_a_legacy_server_demands_is_opened_by_a_legacy_client_and_the_call_runs_then() {
    let demanded = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32042,"message":"log in","data":{"elicitations":[{"mode":"url","elicitationId":"theirs","url":"https://example.com/login","message":"log in"}]}}}"#;
    let asked = AtomicUsize::new(0);
    let script = ScriptedServer::legacy("2025-11-25").tool_as("paged", &TOOL.replace("TOOL", "paged"), move |_| {
        match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::json(demanded),
            _ => Answer::result(r#"{"content":[{"type":"text","text":"in"}]}"#),
        }
    });
    let (server, gateway) = before(script).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", r#"{"elicitation":{"form":{},"url":{}}}"#).await;
    let mut events = client
        .request("1", "tools/call", r#""name":"paged""#)
        .stream(&gateway)
        .await;
    let question = events.next().await;
    assert_eq!(
        (
            &question["method"],
            &question["params"]["mode"],
            &question["params"]["url"]
        ),
        (
            &json!("elicitation/create"),
            &json!("url"),
            &json!("https://example.com/login")
        ),
        "{question}"
    );
    let id = question["params"]["elicitationId"].as_str().unwrap().to_owned();
    client.answer(&gateway, &question, r#"{"action":"accept"}"#).await;
    let told = events.next().await;
    assert_eq!(told["method"], "notifications/elicitation/complete", "{told}");
    assert_eq!(told["params"]["elicitationId"], Value::String(id));
    assert_eq!(events.next().await["result"]["content"][0]["text"], "in");
    assert_eq!(events.maybe_next().await, None);
    assert_eq!(
        server.received("tools/call").len(),
        2,
        "the first did not run, as the server said"
    );
    gateway.stop().await;
}
