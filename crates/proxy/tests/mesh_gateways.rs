//! Replicas of a gateway, and sidecars behind them, over real mutual TLS: what each says, and who holds what.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::time::Duration;

use common::inside::{GATEWAY, SERVER, id, identity};
use common::meshed::{Meshed, behind_sidecars};
use common::parked::{ALL, DONE, FORM, Last, asking, asks, call, gone, question};
use common::{LegacyClient, Post, UNHURRIED, mesh};
use meshgate_identity::Expect;
use meshgate_identity::identity::server_name;
use meshgate_proxy::admin::Sight as _;
use meshgate_proxy::hop::{Forwarded, HopLimits, HopOptions, Peers};
use meshgate_testkit::{Answer, Script, ScriptedServer, Step, raw};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

const HI: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"hi"}]}"#;
const ECHO: &str = r#""name":"echo","arguments":{}"#;

fn echoing() -> Script {
    ScriptedServer::modern().tool("echo", HI)
}

fn slow(script: Script) -> Script {
    script.tool_as("slow", r#"{"name":"slow","inputSchema":{"type":"object"}}"#, |_| {
        let result = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{HI}}}"#);
        Answer::stream([Step::Until("release".to_owned()), Step::message(result)])
    })
}

/// A legacy server that asks in the middle of each call.
fn asking_each() -> Script {
    asking("2025-11-25", |call| {
        let mut steps = question(&format!("s{}", call.json()["id"]), "elicitation/create", FORM).to_vec();
        steps.push(Step::message(DONE));
        steps
    })
}

fn calls(server: &ScriptedServer) -> usize {
    server.received("tools/call").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_passes_gateway_and_sidecar_and_each_says_so_in_one_trace() {
    let (mesh, server) = (Meshed::new(), echoing().start().await);
    let sidecar = mesh.sidecar(&server).await;
    mesh.sidecars(&[(11, &sidecar)]);
    let gateway = mesh.gateway(1, &behind_sidecars()).await;
    let list = gateway.modern("/mcp", "1", "tools/list", "").await.json();
    assert_eq!(list["result"]["tools"][0]["name"], "echo");
    let before = sidecar.lines(1).await.len();
    gateway.lines(1).await;
    let answer = gateway.modern("/mcp", "\"a\"", "tools/call", ECHO).await.json();
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!("a"), &json!("hi"))
    );
    assert_eq!(calls(&server), 1);
    let outer = gateway.lines(1).await.pop().unwrap();
    let inner = sidecar.lines(1).await;
    assert!(before > 0);
    let inner = inner.iter().find(|line| line["method"] == "tools/call").unwrap();
    let ids = ["spiffe://test.mesh/gateway/main", "spiffe://test.mesh/server/only/v1"];
    assert_eq!((&outer["hop"], &inner["hop"]), (&json!("gateway"), &json!("sidecar")));
    assert_eq!([&outer["identity"], &outer["peerIdentity"]], [ids[0], ids[1]]);
    assert_eq!([&inner["identity"], &inner["peerIdentity"]], [ids[1], ids[0]]);
    assert!(outer["traceId"].is_string(), "{outer}");
    assert_eq!(outer["traceId"], inner["traceId"]);
    assert_eq!(
        (&inner["application"], &inner["view"]),
        (&json!("local"), &json!("default"))
    );
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a102_what_the_sidecar_refuses_is_refused_in_its_name_and_reaches_no_server() {
    let (mesh, server) = (Meshed::new(), echoing().start().await);
    // Its view of the application is another one than the gateway's.
    let strict = common::mesh(
        &[("only", &server.url())],
        "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only, tools: {hide: [echo]}}]}",
    );
    let sidecar = mesh.sidecar_of(&strict).await;
    mesh.sidecars(&[(11, &sidecar)]);
    let gateway = mesh.gateway(1, &behind_sidecars()).await;
    let answer = gateway.modern("/mcp", "1", "tools/call", ECHO).await;
    let refusal = &answer.json()["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["by"], &refusal["executed"]),
        (&json!("sidecar"), &json!("no")),
        "{}",
        answer.text()
    );
    assert_eq!(gateway.lines(1).await[0]["refusedBy"], "sidecar");
    assert_eq!(calls(&server), 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_ends_at_the_server_and_progress_comes_as_it_is_made() {
    let mesh = Meshed::new();
    let script = slow(ScriptedServer::legacy("2025-06-18")).tool_as("steps", r#"{"name":"steps","inputSchema":{"type":"object"}}"#, |_| {
        let step = |n| {
            Step::message(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":{n}}}}}"#
            ))
        };
        let result = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{HI}}}"#);
        Answer::stream([step(1), step(2), Step::message(result)])
    });
    let server = script.start().await;
    let sidecar = mesh.sidecar(&server).await;
    mesh.sidecars(&[(11, &sidecar)]);
    let gateway = mesh.gateway(1, &behind_sidecars()).await;
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"progressToken":"p"}"#;
    let steps = format!(r#""name":"steps","arguments":{{}},{meta}"#);
    let answer = gateway.modern("/mcp", "1", "tools/call", &steps).await;
    let messages: Vec<Value> = answer
        .messages()
        .iter()
        .map(|m| serde_json::from_str(m).unwrap())
        .collect();
    let progress: Vec<_> = messages.iter().map(|m| m["params"]["progress"].clone()).collect();
    assert_eq!(progress, [json!(1), json!(2), Value::Null]);
    assert_eq!(messages[0]["params"]["progressToken"], "p");
    let waits = common::Post::modern("2", "tools/call", r#""name":"slow","arguments":{}"#)
        .open(&gateway)
        .await;
    until("the server has it", || calls(&server) == 2).await;
    drop(waits);
    until("it is cancelled there", || {
        server.received("notifications/cancelled").len() == 1
    })
    .await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sidecars_one_is_stopped_under_load_and_no_call_fails() {
    let (mesh, server) = (Meshed::new(), echoing().start().await);
    let (one, two) = (mesh.sidecar(&server).await, mesh.sidecar(&server).await);
    mesh.sidecars(&[(11, &one), (12, &two)]);
    let gateway = mesh.gateway(1, &behind_sidecars()).await;
    let mut made = 0;
    let mut one = Some(one);
    for round in 0..60 {
        let calls = (0..8).map(|n| gateway.modern("/mcp", "1", "tools/call", if n < 8 { ECHO } else { "" }));
        for answer in futures_util::future::join_all(calls).await {
            assert_eq!(answer.json()["result"]["content"][0]["text"], "hi", "{}", answer.text());
            made += 1;
        }
        if round == 20 {
            let one = one.take().unwrap();
            tokio::spawn(async move { one.stop(Duration::from_secs(5)).await });
        }
    }
    assert_eq!(calls(&server), made);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_is_lost_under_load_loses_what_it_was_doing_and_nothing_runs_twice() {
    let (mesh, server) = (Meshed::new(), slow(echoing()).start().await);
    let (one, two) = (mesh.sidecar(&server).await, mesh.sidecar(&server).await);
    mesh.sidecars(&[(11, &one), (12, &two)]);
    let gateway = mesh.gateway(1, &behind_sidecars()).await;
    let waits = (0..12).map(|_| gateway.modern("/mcp", "1", "tools/call", r#""name":"slow","arguments":{}"#));
    let waits = futures_util::future::join_all(waits);
    let load = async {
        until("all are at the server", || calls(&server) == 12).await;
        one.stop(Duration::ZERO).await;
        for _ in 0..100 {
            let answer = gateway.modern("/mcp", "1", "tools/call", ECHO).await;
            assert_eq!(answer.json()["result"]["content"][0]["text"], "hi", "{}", answer.text());
        }
        until("an operator sees who is out and who has calls", || {
            let endpoints = gateway.sight.status().servers.remove(0).endpoints;
            let seen: Vec<_> = endpoints.iter().map(|one| (&*one.instance, &*one.state)).collect();
            seen == [("000000000000000b", "out"), ("000000000000000c", "up")]
                && endpoints[0].connections == 0
                && endpoints[1].in_flight > 0
        })
        .await;
        raw::post(server.address(), "/mcp", &[], b"release").await;
    };
    let (waited, ()) = tokio::join!(waits, load);
    let mut lost = 0;
    for answer in waited {
        let json = answer.last();
        if json["result"]["content"][0]["text"] != "hi" {
            let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
            assert_eq!(refusal["executed"], "unknown", "{json}");
            lost += 1;
        }
    }
    assert!((1..12).contains(&lost), "{lost} were on the one that was lost");
    assert_eq!(calls(&server), 112);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_a_sidecar_is_answered_through_another_gateway_and_finds_its_owner() {
    let (mesh, server) = (Meshed::new(), asking_each().start().await);
    let (one, two) = (mesh.sidecar(&server).await, mesh.sidecar(&server).await);
    mesh.sidecars(&[(11, &one), (12, &two)]);
    let here = mesh.gateway(1, &behind_sidecars()).await;
    let there = mesh.gateway(2, &behind_sidecars()).await;
    for made in 1..=6 {
        let asked = asks(&here.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
        let retry = asked.retry(&json!({ asked.key(): {"action": "accept", "content": {}} }));
        let done = there.modern("/mcp", "2", "tools/call", &retry).await.last();
        assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
        assert_eq!(calls(&server), made);
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_sidecar_is_gone_is_gone_and_its_call_ran_once() {
    let (mesh, server) = (Meshed::new(), asking_each().start().await);
    let (one, two) = (mesh.sidecar(&server).await, mesh.sidecar(&server).await);
    mesh.sidecars(&[(11, &one)]);
    let gateway = mesh.gateway(1, &behind_sidecars()).await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    mesh.sidecars(&[(12, &two)]);
    one.stop(Duration::ZERO).await;
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept", "content": {}} }));
    gone(&gateway.modern("/mcp", "2", "tools/call", &retry).await);
    assert_eq!(calls(&server), 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_a_gateways_own_server_is_answered_through_its_replica_until_that_gateway_is_gone() {
    let (meshed, server) = (Meshed::new(), asking_each().start().await);
    let yaml = mesh(&[("only", &server.url())], UNHURRIED);
    let (here, there) = (meshed.gateway(1, &yaml).await, meshed.gateway(2, &yaml).await);
    meshed.gateways(&[(1, &here), (2, &there)]);
    let ask = async || asks(&here.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    let asked = ask().await;
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept", "content": {}} }));
    let done = there.modern("/mcp", "\"b\"", "tools/call", &retry).await.last();
    assert_eq!(
        (&done["id"], &done["result"]["content"][0]["text"]),
        (&json!("b"), &json!("done")),
        "{done}"
    );
    assert_eq!(calls(&server), 1);
    let asked = ask().await;
    here.kill().await;
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept", "content": {}} }));
    gone(&there.modern("/mcp", "2", "tools/call", &retry).await);
    meshed.gateways(&[(2, &there)]);
    gone(&there.modern("/mcp", "3", "tools/call", &retry).await);
    assert_eq!(calls(&server), 2);
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_session_is_served_by_both_replicas_and_ends_with_its_home() {
    let (meshed, server) = (Meshed::new(), echoing().start().await);
    let sidecar = meshed.sidecar(&server).await;
    meshed.sidecars(&[(11, &sidecar)]);
    let yaml = behind_sidecars();
    let (here, there) = (meshed.gateway(1, &yaml).await, meshed.gateway(2, &yaml).await);
    meshed.gateways(&[(1, &here), (2, &there)]);
    let client = LegacyClient::open(&here, "2025-11-25", "{}").await;
    for gateway in [&here, &there, &here, &there] {
        let answer = client.request("5", "tools/call", ECHO).to(gateway).await;
        assert_eq!(answer.last()["result"]["content"][0]["text"], "hi", "{}", answer.text());
        let pong = client.request("6", "ping", "").to(gateway).await;
        assert_eq!(pong.json()["id"], 6);
    }
    let mut stream = client.attach().open(&there).await;
    assert_eq!(stream.head().await.unwrap().status, 200);
    let second = client.attach().to(&here).await;
    assert_eq!(second.status, 409, "its home knows of the stream: {}", second.text());
    let ended = client.post("").verb("DELETE").to(&there).await;
    assert_eq!(ended.status, 204);
    assert_eq!(client.request("7", "ping", "").to(&here).await.status, 404);
    let again = LegacyClient::open(&here, "2025-06-18", "{}").await;
    here.kill().await;
    assert_eq!(again.request("8", "ping", "").to(&there).await.status, 404);
    meshed.gateways(&[(2, &there)]);
    assert_eq!(again.request("9", "ping", "").to(&there).await.status, 404);
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_is_asked_and_answers_through_another_replica_than_its_own() {
    let meshed = Meshed::new();
    let asks = r#"{"resultType":"input_required","inputRequests":{"who":{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}},"requestState":"inner"}"#;
    let schema = r#"{"name":"ask","inputSchema":{"type":"object"}}"#;
    let script = ScriptedServer::modern().tool_as("ask", schema, move |request| {
        let answered = request.json()["params"].get("inputResponses").is_some();
        Answer::result(if answered { HI } else { asks })
    });
    let server = script.start().await;
    let (one, two) = (meshed.sidecar(&server).await, meshed.sidecar(&server).await);
    meshed.sidecars(&[(11, &one), (12, &two)]);
    let yaml = behind_sidecars();
    let (here, there) = (meshed.gateway(1, &yaml).await, meshed.gateway(2, &yaml).await);
    meshed.gateways(&[(1, &here), (2, &there)]);
    let client = LegacyClient::open(&here, "2025-06-18", r#"{"elicitation":{}}"#).await;
    for gateway in [&there, &here] {
        let call = client.request("5", "tools/call", r#""name":"ask","arguments":{}"#);
        let mut stream = call.stream(gateway).await;
        let question = stream.next().await;
        assert_eq!(question["method"], "elicitation/create");
        client
            .answer(&there, &question, r#"{"action":"accept","content":{}}"#)
            .await;
        let done = stream.next().await;
        assert_eq!(done["result"]["content"][0]["text"], "hi", "{done}");
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_is_told_comes_on_its_stream_through_the_other_replica() {
    let meshed = Meshed::new();
    let script = ScriptedServer::legacy("2025-06-18")
        .capabilities(r#"{"resources":{"subscribe":true}}"#)
        .on("resources/list", |_| Answer::result(r#"{"resources":[]}"#));
    let server = script.start().await;
    let yaml = mesh(&[("only", &server.url())], UNHURRIED);
    let (here, there) = (meshed.gateway(1, &yaml).await, meshed.gateway(2, &yaml).await);
    meshed.gateways(&[(1, &here), (2, &there)]);
    let client = LegacyClient::open(&here, "2025-06-18", "{}").await;
    let mut events = client.attach().stream(&there).await;
    let watch = client.request("1", "resources/subscribe", r#""uri":"file:///a""#);
    let watched = watch.to(&there).await;
    assert_eq!(watched.json()["result"], json!({}), "{}", watched.text());
    assert_eq!(server.wait_for("resources/subscribe", 1).await.len(), 1);
    server.push(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///a"}}"#);
    assert_eq!(events.next().await["params"]["uri"], "file:///a");
    here.kill().await;
    assert!(events.maybe_next().await.is_none(), "the stream ends with its home");
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_passes_on_is_never_passed_on_again_and_the_mesh_port_takes_nobody_else() {
    let (meshed, server) = (Meshed::new(), echoing().start().await);
    let yaml = mesh(&[("only", &server.url())], UNHURRIED);
    let (here, there) = (meshed.gateway(1, &yaml).await, meshed.gateway(2, &yaml).await);
    meshed.gateways(&[(1, &here), (2, &there)]);
    let client = LegacyClient::open(&here, "2025-11-25", "{}").await;
    // A third replica, which sends a request of that session to the wrong one.
    let third = |path| {
        let hop = HopOptions {
            identity: identity(&meshed.ca, path),
            endpoints: meshed.endpoints.clone(),
            instance: 3,
            limits: HopLimits::default(),
        };
        Peers::start(hop, "main")
    };
    let ping = client.request("6", "ping", "");
    let pass = async |peers: &Peers, to| {
        let names = ping
            .headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let forwarded = Forwarded {
            method: http::Method::POST,
            uri: &"https://gateway/mcp".parse().unwrap(),
            headers: names.collect::<http::HeaderMap>(),
            body: &ping.body.clone().into(),
            lasts: false,
            until: tokio::time::Instant::now() + Duration::from_secs(10),
        };
        peers
            .forward(to, forwarded)
            .await
            .map(|(parts, _)| parts.status.as_u16())
    };
    let peers = third(GATEWAY);
    assert_eq!(pass(&peers, 1).await.unwrap(), 200, "its home has it");
    assert_eq!(pass(&peers, 2).await.unwrap(), 404, "and nobody else asks for it");
    for (path, expected) in [(GATEWAY, true), ("/gateway/other", false), (SERVER, false)] {
        let (config, _) = identity(&meshed.ca, path).client_config(&Expect::Exactly(id(GATEWAY)));
        let tcp = tokio::net::TcpStream::connect(there.mesh_address.unwrap())
            .await
            .unwrap();
        let mut tls = TlsConnector::from(config).connect(server_name(), tcp).await.unwrap();
        let _ = tls
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await;
        let mut room = [0; 9];
        assert_eq!(tls.read_exact(&mut room).await.is_ok(), expected, "{path}");
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_reaches_through_sidecar_and_gateway_and_outlives_the_sidecar() {
    let meshed = Meshed::new();
    let tag = r#""_meta":{"io.modelcontextprotocol/subscriptionId":$ID}"#;
    let script = ScriptedServer::modern()
        .capabilities(r#"{"resources":{"subscribe":true}}"#)
        .on("resources/list", |_| {
            Answer::result(r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"public"}"#)
        })
        .when(move |request| {
            let wanted = &request.json()["params"]["notifications"]["resourceSubscriptions"];
            let listens = request.method() == "subscriptions/listen" && wanted.is_array();
            let ack = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{{tag},"notifications":{{"resourceSubscriptions":{wanted}}}}}}}"#
            );
            let update = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{{tag},"uri":"file:///a"}}}}"#
            );
            let steps = [Step::message(ack), Step::Until("go".to_owned()), Step::message(update), Step::Hold];
            listens.then(|| Answer::stream(steps))
        });
    let server = script.start().await;
    let (one, two) = (meshed.sidecar(&server).await, meshed.sidecar(&server).await);
    meshed.sidecars(&[(11, &one)]);
    let gateway = meshed.gateway(1, &behind_sidecars()).await;
    let wanted = r#""notifications":{"resourceSubscriptions":["file:///a"]}"#;
    let mut events = Post::modern("1", "subscriptions/listen", wanted).stream(&gateway).await;
    let granted = events.next().await;
    assert_eq!(
        granted["params"]["notifications"]["resourceSubscriptions"],
        json!(["file:///a"]),
        "{granted}"
    );
    raw::post(server.address(), "/mcp", &[], b"go").await;
    assert_eq!(events.next().await["params"]["uri"], "file:///a");
    meshed.sidecars(&[(11, &one), (12, &two)]);
    one.stop(Duration::ZERO).await;
    // Nobody knows what was missed, so it counts as updated once it is watched again.
    assert_eq!(events.next().await["params"]["uri"], "file:///a");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_sidecar_joins_late_is_there_from_then_on() {
    let (meshed, server) = (Meshed::new(), echoing().start().await);
    let gateway = meshed.gateway(1, &behind_sidecars()).await;
    let away = gateway.modern("/mcp", "1", "tools/call", ECHO).await;
    assert!(
        away.text().contains("unknown tool"),
        "nothing is known of it: {}",
        away.text()
    );
    let sidecar = meshed.sidecar(&server).await;
    meshed.sidecars(&[(11, &sidecar)]);
    let mut last = String::new();
    for _ in 0..1_000 {
        last = gateway.modern("/mcp", "1", "tools/call", ECHO).await.text().to_owned();
        if last.contains("hi") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(last.contains("hi"), "{last}");
    gateway.stop().await;
}

/// Waits until something is so that nobody tells.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
