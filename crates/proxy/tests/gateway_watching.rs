//! Resources are watched through servers and clients of every era alike: over pipes, in sessions, and when they end.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Events, LegacyClient, Post, RunningGateway, UNHURRIED, compiled, mesh};
use meshgate_identity::KeyRing;
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_testkit::{Answer, ScriptedServer, StdioScript, StdioServer, Step};
use serde_json::{Value, json};

const UPDATED: &str = "notifications/resources/updated";
const TAG: &str = "io.modelcontextprotocol/subscriptionId";
const CAPABILITIES: &str = r#"{"tools":{},"resources":{"subscribe":true}}"#;

async fn listen(gateway: &RunningGateway, id: &str) -> (Events, Value) {
    let wanted = r#""notifications":{"resourceSubscriptions":["file:///a"]}"#;
    let mut events = Post::modern(id, "subscriptions/listen", wanted).stream(gateway).await;
    let ack = events.next().await;
    (events, ack["params"]["notifications"]["resourceSubscriptions"].clone())
}

async fn told(events: &mut Events) {
    let update = events.next().await;
    assert_eq!(update["method"], UPDATED, "{update}");
    assert_eq!(update["params"]["uri"], "file:///a", "{update}");
}

/// A gateway before a child that its script describes.
async fn before_child(script: StdioScript) -> (StdioServer, RunningGateway) {
    let empty = |member: &str| format!(r#"{{"resultType":"complete","{member}":[],"ttlMs":0,"cacheScope":"private"}}"#);
    let tools = r#"{"resultType":"complete","tools":[{"name":"poke","inputSchema":{"type":"object"}},{"name":"die","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"private"}"#;
    let server = script
        .result("tools/list", tools)
        .result("resources/list", &empty("resources"))
        .result("resources/templates/list", &empty("resourceTemplates"))
        .result("tools/call poke", r#"{"resultType":"complete","content":[]}"#)
        .steps("tools/call die", vec![StdioScript::exit(1)])
        .write();
    let args = serde_json::to_string(&server.args).unwrap();
    let spec = format!("stdio: {{command: {}, args: {args}}}", server.command);
    let yaml = mesh(&[("only", "http://unused")], UNHURRIED).replace("http: {url: 'http://unused'}", &spec);
    let bare = SupervisorProgram {
        path: "/usr/bin/env".into(),
        args: Vec::new(),
    };
    let keys = Arc::new(KeyRing::from_entropy().unwrap());
    let gateway = RunningGateway::start_supervised(compiled(&yaml), keys, bare).await;
    (server, gateway)
}

async fn call(gateway: &RunningGateway, tool: &str) -> Value {
    let params = format!(r#""name":"{tool}","arguments":{{}}"#);
    gateway.modern("/mcp", "1", "tools/call", &params).await.json()
}

fn tagged(method: &str, members: &str) -> Value {
    json!(format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"_meta":{{"{TAG}":$ID}},{members}}}}}"#
    ))
}

#[tokio::test]
async fn a_modern_child_is_watched_once_for_all_and_again_when_it_was_started_anew() {
    let ack = tagged(
        "notifications/subscriptions/acknowledged",
        r#""notifications":{"resourceSubscriptions":["file:///a"]}"#,
    );
    let steps = vec![
        ack,
        StdioScript::until("\"poke\""),
        tagged(UPDATED, r#""uri":"file:///a""#),
    ];
    let script = StdioScript::modern(CAPABILITIES).steps("subscriptions/listen", steps);
    let (server, gateway) = before_child(script).await;
    let (mut first, granted) = listen(&gateway, "1").await;
    assert_eq!(granted, json!(["file:///a"]));
    let (mut second, _) = listen(&gateway, "2").await;
    assert_eq!(server.received("subscriptions/listen").len(), 1);
    assert_eq!(call(&gateway, "poke").await["result"]["resultType"], "complete");
    told(&mut first).await;
    told(&mut second).await;
    // The child ends. Nobody knows what it would have said, so everybody is told.
    assert_eq!(call(&gateway, "die").await["error"]["code"], -32603);
    told(&mut first).await;
    told(&mut second).await;
    assert_eq!(server.received("subscriptions/listen").len(), 2);
    drop((first, second));
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_legacy_child_is_subscribed_once_and_unsubscribed_after_the_last() {
    let updated = format!(r#"{{"jsonrpc":"2.0","method":"{UPDATED}","params":{{"uri":"file:///a"}}}}"#);
    let granted = json!(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#);
    let steps = vec![granted, StdioScript::until("\"poke\""), json!(updated)];
    let script = StdioScript::legacy("2025-06-18", CAPABILITIES).steps("resources/subscribe", steps);
    let (server, gateway) = before_child(script).await;
    let (mut first, granted) = listen(&gateway, "1").await;
    assert_eq!(granted, json!(["file:///a"]));
    let (mut second, _) = listen(&gateway, "2").await;
    call(&gateway, "poke").await;
    told(&mut first).await;
    told(&mut second).await;
    assert_eq!(server.received("resources/subscribe").len(), 1);
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(server.received("resources/unsubscribe").is_empty());
    drop(second);
    assert_eq!(server.wait_for("resources/unsubscribe", 1).await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn clients_of_both_eras_share_what_they_watch_at_a_legacy_server() {
    let server = ScriptedServer::legacy("2025-06-18")
        .capabilities(CAPABILITIES)
        .on("resources/list", |_| Answer::result(r#"{"resources":[]}"#))
        .on("resources/templates/list", |_| {
            Answer::result(r#"{"resourceTemplates":[]}"#)
        })
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    server.wait_for_streams(1).await;
    let (mut modern, granted) = listen(&gateway, "1").await;
    assert_eq!(granted, json!(["file:///a"]));
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let mut legacy = client.attach().stream(&gateway).await;
    let subscribe = client.request("1", "resources/subscribe", r#""uri":"file:///a""#);
    assert_eq!(subscribe.to(&gateway).await.json()["result"], json!({}));
    assert_eq!(server.received("resources/subscribe").len(), 1);
    server.push(&format!(
        r#"{{"jsonrpc":"2.0","method":"{UPDATED}","params":{{"uri":"file:///a"}}}}"#
    ));
    told(&mut modern).await;
    told(&mut legacy).await;
    let unsubscribe = client.request("2", "resources/unsubscribe", r#""uri":"file:///a""#);
    assert_eq!(unsubscribe.to(&gateway).await.json()["result"], json!({}));
    drop(modern);
    assert_eq!(server.wait_for("resources/unsubscribe", 1).await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_ends_in_order_when_the_way_to_its_server_is_closed_for_good() {
    let server = ScriptedServer::modern()
        .capabilities(r#"{"resources":{"subscribe":true}}"#)
        .on("resources/list", |_| {
            Answer::result(r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .on("subscriptions/listen", |_| {
            let ack = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":$ID},"notifications":{"resourceSubscriptions":["file:///a"]}}}"#;
            Answer::stream([Step::message(ack), Step::Until("gone".to_owned()), Step::Break])
        })
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let (mut events, _) = listen(&gateway, "1").await;
    let upstream = gateway.catalogues.upstreams().remove(0).1;
    upstream.close().await;
    meshgate_testkit::raw::post(server.address(), "/mcp", &[], b"gone").await;
    assert_eq!(events.next().await["result"]["resultType"], "complete");
    assert_eq!(events.maybe_next().await, None);
    gateway.stop().await;
}
