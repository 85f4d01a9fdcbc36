//! What changes while a gateway runs: it is told to stop, a server forgets its session or asks back, a view is open to
//! everybody.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{LegacyClient, Post, RunningGateway, UNHURRIED, mesh, mesh_with};
use meshgate_testkit::{Answer, ScriptedServer, Step, raw};
use serde_json::{Value, json};

const OPEN: &str = r#"{"name":"t","inputSchema":{"type":"object"}}"#;
const OK: &str = r#"{"resultType":"complete","content":[]}"#;

fn call() -> Post {
    Post::modern("1", "tools/call", r#""name":"t""#)
}

#[tokio::test]
async fn calls_in_flight_end_in_peace_when_the_gateway_is_told_to_stop() {
    let held = |_: &meshgate_testkit::Recorded| {
        let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
        Answer::stream([Step::Until("now answer".to_owned()), Step::message(done)])
    };
    let server = ScriptedServer::modern().tool_as("t", OPEN, held).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let client = LegacyClient::open(&gateway, "2025-06-18", "{}").await;
    let mut attached = client.attach().stream(&gateway).await;
    let (mut modern, mut legacy) = (
        call().open(&gateway).await,
        client.request("2", "tools/call", r#""name":"t""#).open(&gateway).await,
    );
    assert_eq!(server.wait_for("tools/call", 2).await.len(), 2);

    let (address, listener) = (gateway.address, server.address());
    let (ended, ()) = tokio::join!(gateway.stop_in_peace(), async {
        // The stream that would never end is let go first, which shows that the gateway is about to stop.
        assert_eq!(attached.maybe_next().await, None);
        raw::post(listener, "/mcp", &[], b"now answer").await;
        for (id, connection) in [(1, &mut modern), (2, &mut legacy)] {
            let answer = connection.answer().await.unwrap();
            let json: Value = serde_json::from_str(answer.messages().last().unwrap()).unwrap();
            assert_eq!((&json["id"], json["result"].is_object()), (&json!(id), true), "{json}");
        }
    });
    assert!(ended, "the gateway ended by itself");
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_legacy_server_that_forgot_its_session_is_greeted_again_and_the_call_runs_once() {
    let server = ScriptedServer::legacy("2025-06-18")
        .tool("t", r#"{"content":[]}"#)
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    assert_eq!(call().to(&gateway).await.json()["result"]["resultType"], "complete");
    let greeted = server.received("initialize").len();
    server.lose_session();
    let answer = call().to(&gateway).await;
    assert_eq!(answer.json()["result"]["resultType"], "complete", "{}", answer.text());
    assert!(server.received("initialize").len() > greeted);
    // The attempt that met 404 did not run.
    let sessions: Vec<String> = server
        .received("tools/call")
        .iter()
        .map(|r| r.header("mcp-session-id").unwrap().to_owned())
        .collect();
    assert_eq!(sessions.last().map(String::as_str), Some("session-2"), "{sessions:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_legacy_server_that_asks_a_client_that_declared_nothing_is_told_no_and_may_go_on() {
    let asks = |request: &meshgate_testkit::Recorded| {
        let call = request.json()["id"].clone();
        let methods = ["elicitation/create", "sampling/createMessage", "roots/list", "ping"];
        let ids = methods.map(|method| format!("{method} {call}"));
        let ask = |(id, method): (&String, &str)| {
            Step::message(format!(
                r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{"message":"?"}}}}"#
            ))
        };
        let done = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"all the same"}]}}"#;
        let asked = ids.iter().zip(methods).map(ask);
        let answered = ids.iter().map(|id| Step::Until(format!(r#""id":"{id}""#)));
        Answer::stream(asked.chain(answered).chain([Step::message(done)]))
    };
    let server = ScriptedServer::legacy("2025-11-25")
        .tool_as("t", OPEN, asks)
        .start()
        .await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", "{}").await;
    for post in [call(), client.request("1", "tools/call", r#""name":"t""#)] {
        let answer = post.to(&gateway).await;
        let messages: Vec<String> = answer.messages().into_iter().filter(|m| !m.is_empty()).collect();
        assert_eq!(messages.len(), 1, "the question stays at its hop: {messages:?}");
        assert!(messages[0].contains("all the same"), "{messages:?}");
    }
    let answers: Vec<Value> = server
        .recorded()
        .iter()
        .filter(|r| r.is_response() && !r.json()["id"].is_null())
        .map(|r| r.json())
        .collect();
    assert_eq!(answers.len(), 8, "{answers:?}");
    for answer in answers {
        if answer["id"].as_str().unwrap().starts_with("ping") {
            assert_eq!(answer["result"], json!({}), "{answer}");
        } else {
            let declined = answer["error"]["code"] == -32601 || answer["result"]["action"] == "decline";
            assert!(declined, "{answer}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn an_anonymous_view_needs_no_token_and_takes_no_wrong_one() {
    let server = ScriptedServer::modern().tool("t", OK).start().await;
    let view = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}], anonymous: true}";
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], view)).await;
    assert_eq!(call().without("authorization").to(&gateway).await.status, 200);
    let line = gateway.lines(1).await.remove(0);
    assert_eq!(
        (line.get("application"), &line["summary"]),
        (None, &json!("ok")),
        "{line}"
    );
    assert_eq!(call().token("mg_wrong").to(&gateway).await.status, 401);
    assert_eq!(call().to(&gateway).await.status, 200);
    // Host and Origin are looked at all the same: a web page is not an anonymous caller.
    let page = call().without("authorization").and("origin", "https://evil.example");
    assert_eq!(page.to(&gateway).await.status, 403);
    assert_eq!(
        call()
            .without("authorization")
            .host("evil.example")
            .to(&gateway)
            .await
            .status,
        400
    );
    assert_eq!(server.received("tools/call").len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_server_says_of_caching_is_never_more_than_a_shared_cache_may_trust() {
    for (said, ttl) in [
        ("", 0),
        (r#","ttlMs":5000,"cacheScope":"public""#, 5000),
        (r#","ttlMs":-1,"cacheScope":"private""#, 0),
        (r#","ttlMs":"5","cacheScope":"PUBLIC""#, 0),
        (r#","ttlMs":1000000000000000000,"cacheScope":7"#, 3_600_000),
        (r#","ttlMs":1e18"#, 0),
        (r#","ttlMs":1.5,"cacheScope":null"#, 0),
    ] {
        let read = format!(r#"{{"resultType":"complete","contents":[]{said}}}"#);
        let server = ScriptedServer::modern()
            .capabilities(r#"{"resources":{}}"#)
            .on("resources/read", move |_| Answer::result(&read))
            .start()
            .await;
        let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
        let json = Post::modern("1", "resources/read", r#""uri":"file:///a""#)
            .to(&gateway)
            .await
            .json();
        assert_eq!(
            (&json["result"]["ttlMs"], &json["result"]["cacheScope"]),
            (&json!(ttl), &json!("private")),
            "{said}: {json}"
        );
        gateway.stop().await;
    }
}

#[tokio::test]
async fn d08_an_answer_is_passed_on_up_to_its_limit_and_refused_beyond() {
    const LIMIT: usize = 2048;
    for (more, passed) in [(0, true), (1, false), (4 * LIMIT, false)] {
        let answer = |request: &meshgate_testkit::Recorded, more: usize| {
            let id = request.json()["id"].to_string();
            let bare =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[],"pad":""}}}}"#);
            let pad = "x".repeat(LIMIT + more - bare.len());
            Answer::json(bare.replace(r#""pad":"""#, &format!(r#""pad":"{pad}""#)))
        };
        let server = ScriptedServer::modern()
            .tool_as("t", OPEN, move |request| answer(request, more))
            .start()
            .await;
        let limits = "kind: Mesh\nmetadata: {name: m}\nspec: {limits: {response: 2KiB}}";
        let gateway = RunningGateway::start(&mesh_with("", &[("only", &server.url(), "")], limits)).await;
        let json = call().to(&gateway).await.json();
        if passed {
            assert_eq!(json["result"]["resultType"], "complete", "{more}: {json}");
        } else {
            let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
            assert_eq!(
                (&refusal["by"], &refusal["executed"]),
                (&json!("server"), &json!("unknown")),
                "{more}: {json}"
            );
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_task_for_a_client_that_cannot_follow_one_is_no_result() {
    let task = r#"{"resultType":"task","taskId":"x","status":"working","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:00Z","ttlMs":null}"#;
    let server = ScriptedServer::modern().tool("t", task).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], "")).await;
    let json = call().to(&gateway).await.json();
    let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["by"], &refusal["executed"]),
        (&json!("server"), &json!("unknown")),
        "{json}"
    );
    let declared = common::META.replace("{}", r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#);
    let following = Post::modern("1", "tools/call", &format!(r#""name":"t",{declared}"#));
    assert_eq!(following.to(&gateway).await.json()["result"]["resultType"], "task");
    gateway.stop().await;
}
