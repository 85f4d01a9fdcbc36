//! What one caller may cost: each limit of calls and streams one below, at and one above, and lifted.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{LegacyClient, Post, RunningGateway, documents, mesh};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, ScriptedServer, Step};

const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const LIFTED: &str = "kind: View\nmetadata: {name: lifted}\nspec: {servers: [{name: only}], liftLimits: true}";
const DEFAULT: &str = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}]}";

/// A server whose tool `hold` never answers and whose tool `now` does.
async fn server() -> ScriptedServer {
    ScriptedServer::modern()
        .tool("now", OK)
        .tool_as("hold", r#"{"name":"hold","inputSchema":{"type":"object"}}"#, |_| {
            Answer::stream([Step::Hold])
        })
        .start()
        .await
}

async fn limited(server: &ScriptedServer, limits: &str) -> RunningGateway {
    let limits = format!("kind: Mesh\nmetadata: {{name: small}}\nspec: {{limits: {{{limits}}}}}");
    RunningGateway::start(&mesh(
        &[("only", &server.url())],
        &documents(&[&limits, DEFAULT, LIFTED]),
    ))
    .await
}

fn call(tool: &str) -> Post {
    Post::modern("1", "tools/call", &format!(r#""name":"{tool}","arguments":{{}}"#))
}

fn listen() -> Post {
    Post::modern(
        "1",
        "subscriptions/listen",
        r#""notifications":{"toolsListChanged":true}"#,
    )
}

fn rule(answer: &RawAnswer) -> (u16, String, bool) {
    let rule = answer.json()["error"]["data"]["dev.meshgate/refusal"]["rule"].clone();
    let text = rule.as_str().unwrap_or_default().to_owned();
    (answer.status, text, answer.header("retry-after").is_some())
}

/// Asks again until it is let in: a place is given back when the gateway has seen the client leave.
async fn soon(gateway: &RunningGateway, post: Post) -> RawAnswer {
    for _ in 0..100 {
        let answer = post.to(gateway).await;
        if answer.status == 200 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no place was given back");
}

#[tokio::test]
async fn calls_over_the_limit_of_all_calls_in_flight_are_refused_until_one_ends() {
    let server = server().await;
    let gateway = limited(&server, "callsInFlight: 2").await;
    let first = call("hold").open(&gateway).await;
    server.wait_for("tools/call", 1).await;
    assert_eq!(call("now").to(&gateway).await.status, 200, "one below the limit");
    let second = call("hold").open(&gateway).await;
    server.wait_for("tools/call", 3).await;
    let refused = call("now").to(&gateway).await;
    assert_eq!(rule(&refused), (503, "limit/calls-in-flight".to_owned(), true));
    assert_eq!(
        server.received("tools/call").len(),
        3,
        "nothing of it reached the server"
    );
    let lifted = call("now").at("/views/lifted/mcp").to(&gateway).await;
    assert_eq!(lifted.status, 200, "{}", lifted.text());
    drop(first);
    soon(&gateway, call("now")).await;
    drop(second);
    gateway.stop().await;
}

#[tokio::test]
async fn calls_of_a_session_count_among_all_calls_in_flight() {
    let server = server().await;
    let gateway = limited(&server, "callsInFlight: 1").await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let held = client
        .request("7", "tools/call", r#""name":"hold""#)
        .open(&gateway)
        .await;
    server.wait_for("tools/call", 1).await;
    let refused = client.request("8", "tools/call", r#""name":"now""#).to(&gateway).await;
    assert_eq!(rule(&refused), (503, "limit/calls-in-flight".to_owned(), true));
    drop(held);
    gateway.stop().await;
}

#[tokio::test]
async fn a081_streams_over_the_limit_of_their_caller_are_refused_until_one_ends() {
    let server = server().await;
    let gateway = limited(&server, "streamsPerCaller: 2, callsInFlight: 1").await;
    let first = listen().stream(&gateway).await;
    let second = listen().stream(&gateway).await;
    let refused = listen().to(&gateway).await;
    assert_eq!(rule(&refused), (429, "limit/streams".to_owned(), true));
    assert_eq!(
        call("now").to(&gateway).await.status,
        200,
        "an open stream is no call in flight"
    );
    let lifted = listen().at("/views/lifted/mcp").stream(&gateway).await;
    drop((first, lifted));
    for attempt in 0.. {
        let mut again = listen().open(&gateway).await;
        if again.head().await.unwrap().status == 200 {
            break;
        }
        assert!(attempt < 100, "no seat was given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(second);
    gateway.stop().await;
}

#[tokio::test]
async fn every_message_of_a_batch_counts_as_a_call() {
    let server = server().await;
    let gateway = limited(&server, "callBurst: 6, callsPerSecond: 1").await;
    let client = LegacyClient::open(&gateway, "2025-03-26", "{}").await;
    let ping = |id: usize| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
    let batch = |count: usize| format!(" [{}]", (0..count).map(ping).collect::<Vec<_>>().join(","));
    let refused = client.post(&batch(7)).to(&gateway).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    let small = client.post(&batch(2)).to(&gateway).await;
    assert_eq!(small.status, 200, "{}", small.text());
    assert_eq!(small.json().as_array().map(Vec::len), Some(2));
    gateway.stop().await;
}

#[tokio::test]
async fn the_configured_depth_and_number_of_values_hold_for_clients() {
    let server = server().await;
    let gateway = limited(&server, "jsonDepth: 8, jsonNodes: 100").await;
    let nested = |levels: usize| {
        let arguments = format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels));
        Post::modern("1", "tools/call", &format!(r#""name":"now","arguments":{arguments}"#))
    };
    assert_eq!(nested(6).to(&gateway).await.status, 200, "at the limit");
    assert_eq!(nested(7).to(&gateway).await.status, 400, "one above");
    let wide = |values: usize| {
        let arguments = format!(r#"{{"a":[{}]}}"#, vec!["0"; values].join(","));
        Post::modern("1", "tools/call", &format!(r#""name":"now","arguments":{arguments}"#))
    };
    assert_eq!(wide(80).to(&gateway).await.status, 200);
    assert_eq!(wide(101).to(&gateway).await.status, 400);
    gateway.stop().await;
}

#[tokio::test]
async fn a026_a_hidden_path_and_a_missing_path_answer_alike_however_often_they_are_asked() {
    let server = server().await;
    let open = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}], anonymous: true}";
    let other = "kind: Application\nmetadata: {name: other}\nspec: {tokens: [], views: [secret]}";
    let local = "kind: Application\nmetadata: {name: local}\nspec: {tokens: [], views: [default]}";
    let secret = "kind: View\nmetadata: {name: secret}\nspec: {servers: [{name: only}], liftLimits: true}";
    let limits = "kind: Mesh\nmetadata: {name: small}\nspec: {limits: {unauthenticatedPerSecond: 5, callBurst: 20, callsPerSecond: 1}}";
    let more = documents(&[limits, open, secret, other, local]);
    let hears = async |post: Post, path: &str| {
        // A gateway of its own, so that each path is asked by somebody who has not asked yet.
        let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], &more)).await;
        let mut heard = BTreeSet::new();
        for _ in 0..25 {
            let answer = post.clone().at(path).to(&gateway).await;
            let mut error = answer.json()["error"].clone();
            error["data"]["dev.meshgate/refusal"]["retryAfterMs"].take();
            heard.insert((answer.status, error.to_string()));
        }
        gateway.stop().await;
        heard
    };
    for (who, post) in [
        ("known", call("now")),
        ("nobody", call("now").without("authorization")),
        ("wrong", call("now").token("mg_wrong-wrong-wrong-wrong")),
    ] {
        let hidden = hears(post.clone(), "/views/secret/mcp").await;
        let missing = hears(post, "/views/nothing/mcp").await;
        assert_eq!(hidden, missing, "{who}");
        assert!(hidden.iter().all(|(status, _)| *status >= 400), "{who}: {hidden:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_form_is_said_before_proof_is_asked_for() {
    let server = server().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let nobody = call("now").without("authorization");
    let rows = [
        (nobody.clone().verb("GET"), 405),
        (nobody.clone().verb("PUT"), 405),
        (nobody.clone().with("content-type", "text/plain"), 415),
        (nobody.clone().with("accept", "application/json"), 406),
        (nobody.clone().verb("GET").and("mcp-session-id", "x"), 401),
        (nobody, 401),
    ];
    for (post, status) in rows {
        let answer = post.to(&gateway).await;
        assert_eq!(
            answer.status,
            status,
            "{} {:?}: {}",
            post.verb,
            post.headers,
            answer.text()
        );
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_tool_that_may_change_something_has_a_rate_of_its_own_for_each_caller() {
    let reads = r#"{"name":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}"#;
    let strict = r#"{"name":"strict","inputSchema":{"type":"object","required":["a"]}}"#;
    let server = ScriptedServer::modern()
        .tool("writes", OK)
        .tool("also-writes", OK)
        .tool_as("reads", reads, |_| Answer::result(OK))
        .tool_as("strict", strict, |_| Answer::result(OK))
        .start()
        .await;
    let limits = "callsPerSecond: 1000, callBurst: 1000, writesPerSecond: 1, writeBurst: 5";
    let gateway = limited(&server, limits).await;
    for n in 0..5 {
        assert_eq!(call("writes").to(&gateway).await.status, 200, "call {n}");
    }
    let over = call("writes").to(&gateway).await;
    assert_eq!(rule(&over), (429, "limit/writes".to_owned(), true), "{}", over.text());
    assert_eq!(server.received("tools/call").len(), 5, "what is refused has not run");
    // Another tool has its own rate, one that only reads has none, and neither has a view without rates.
    assert_eq!(call("also-writes").to(&gateway).await.status, 200);
    for _ in 0..20 {
        assert_eq!(call("reads").to(&gateway).await.status, 200);
        assert_eq!(call("writes").at("/views/lifted/mcp").to(&gateway).await.status, 200);
    }
    // A call that would not run is not counted.
    for _ in 0..10 {
        assert!(call("strict").to(&gateway).await.text().contains("isError"));
    }
    let good = Post::modern("1", "tools/call", r#""name":"strict","arguments":{"a":1}"#);
    assert_eq!(good.to(&gateway).await.status, 200);
    gateway.stop().await;
}
