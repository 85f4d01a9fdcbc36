//! How the gateway follows what its servers offer: no change is missed, and no server makes it work without end.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::Duration;

use common::{RunningGateway, mesh};
use meshgate_testkit::{Answer, ScriptedServer, Step};

const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const ACK: &str = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":$ID},"notifications":{"toolsListChanged":true}}}"#;
const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":$ID}}}"#;

/// A server that answers a subscription with these steps.
async fn listening(steps: Vec<Step>) -> ScriptedServer {
    ScriptedServer::modern()
        .tool("now", OK)
        .on("subscriptions/listen", move |_| Answer::stream(steps.clone()))
        .start()
        .await
}

#[tokio::test]
async fn a_server_is_listened_to_before_its_lists_are_read() {
    let server = listening(vec![Step::message(ACK), Step::Hold]).await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let asked: Vec<String> = server.recorded().iter().map(|request| request.method()).collect();
    let position = |method: &str| asked.iter().position(|asked| asked == method).unwrap();
    assert!(position("subscriptions/listen") < position("tools/list"), "{asked:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_never_acknowledges_a_subscription_is_read_all_the_same() {
    let server = listening(vec![Step::Hold]).await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let list = gateway.modern("/mcp", "1", "tools/list", "").await;
    assert_eq!(list.json()["result"]["tools"][0]["name"], "now", "{}", list.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_ends_every_subscription_at_once_is_not_read_without_pauses() {
    let server = listening(vec![
        Step::message(ACK),
        Step::Wait(Duration::from_millis(5)),
        Step::Break,
    ])
    .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let read = server.received("tools/list").len();
    assert!((2..=8).contains(&read), "read {read} times in a second");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_announces_changes_without_end_is_read_from_time_to_time() {
    let mut steps = vec![Step::message(ACK)];
    for _ in 0..1000 {
        steps.push(Step::message(CHANGED));
        steps.push(Step::Wait(Duration::from_millis(2)));
    }
    let server = listening(steps).await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let read = server.received("tools/list").len();
    assert!((2..=8).contains(&read), "read {read} times in a second");
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_that_calls_its_catalogue_outdated_is_read_again_and_the_call_is_not_repeated() {
    let mismatch = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32020,"message":"Mcp-Param-Region is missing"}}"#;
    let open = r#"{"name":"t","inputSchema":{"type":"object"}}"#;
    let server = ScriptedServer::modern()
        .tool_as("t", open, move |_| Answer::whole(400, mismatch))
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let before = server.received("tools/list").len();
    for asked in 1..=3 {
        let answer = gateway.modern("/mcp", "1", "tools/call", r#""name":"t""#).await;
        // The gateway's own headers were wrong, not the client's.
        assert_eq!(answer.json()["error"]["code"], -32603, "{}", answer.text());
        assert_eq!(server.received("tools/call").len(), asked);
    }
    assert_eq!(server.wait_for("tools/list", before + 1).await.len(), before + 1);
    // Whoever can bring such an answer about makes the gateway read once in a pause, and no more.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.received("tools/list").len(), before + 1);
    gateway.stop().await;
}
