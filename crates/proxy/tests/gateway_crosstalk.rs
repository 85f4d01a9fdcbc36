//! Callers that share a gateway, and servers that misbehave: nobody gets what is another's, and no call ends as what it
//! was not.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{Post, RunningGateway, UNHURRIED, compiled, documents, mesh, mesh_with};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::{Answer, Recorded, ScriptedServer, Step};
use serde_json::{Value, json};

const META: &str =
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
const OK: &str = r#"{"resultType":"complete","content":[]}"#;
const OPEN: &str = r#"{"name":"t","inputSchema":{"type":"object"}}"#;

fn call(id: &str, token: &str, more: &str) -> Post {
    Post::modern(
        id,
        "tools/call",
        &format!(r#""name":"t","arguments":{{"who":"{more}"}},"_meta":{{{META},"progressToken":{token}}}"#),
    )
}

fn response(members: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete",{members}}}}}"#)
}

async fn answering(steps: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> (ScriptedServer, RunningGateway) {
    let server = ScriptedServer::modern().tool_as("t", OPEN, steps).start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

#[tokio::test]
async fn d21_a078_equal_ids_and_tokens_of_two_callers_meet_nowhere() {
    for legacy in [false, true] {
        // Each call's answer waits for the other call, so that both are under way at once.
        let script = if legacy {
            ScriptedServer::legacy("2025-06-18")
        } else {
            ScriptedServer::modern()
        };
        let server = script
            .tool_as("t", OPEN, |request| {
                let who = request.json()["params"]["arguments"]["who"].as_str().unwrap().to_owned();
                let other = if who == "ada" { "eve" } else { "ada" };
                let progress = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":1,"message":"{who}"}}}}"#
                );
                let done = response(&format!(r#""content":[{{"type":"text","text":"{who}"}}]"#));
                Answer::stream([Step::Until(format!(r#""who":"{other}""#)), Step::message(progress), Step::message(done)])
            })
            .start()
            .await;
        let more = documents(&[
            UNHURRIED,
            "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
            "kind: Application\nmetadata: {name: other}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
        ]);
        let mut snapshot = compiled(&mesh(&[("only", &server.url())], &more));
        assert!(snapshot.add_token("other", token_digest("mg_other")));
        let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
        // The same number; then a number and the text of it.
        for (ada, eve) in [("1", "1"), ("1", "\"1\"")] {
            let (first, second) = (call(ada, ada, "ada"), call(eve, eve, "eve").token("mg_other"));
            let (first, second) = tokio::join!(first.to(&gateway), second.to(&gateway));
            for (who, id, answer) in [("ada", ada, first), ("eve", eve, second)] {
                let messages: Vec<Value> = answer
                    .messages()
                    .iter()
                    .map(|m| serde_json::from_str(m).unwrap())
                    .collect();
                let id: Value = serde_json::from_str(id).unwrap();
                assert_eq!(messages.len(), 2, "{messages:?}");
                assert_eq!(
                    (
                        &messages[0]["params"]["progressToken"],
                        &messages[0]["params"]["message"]
                    ),
                    (&id, &json!(who))
                );
                assert_eq!(
                    (&messages[1]["id"], &messages[1]["result"]["content"][0]["text"]),
                    (&id, &json!(who))
                );
            }
        }
        let ids: Vec<String> = server
            .received("tools/call")
            .iter()
            .map(|r| r.json()["id"].to_string())
            .collect();
        let mut once = ids.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), 4, "every call has an id of its own at the server: {ids:?}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a019_one_caller_may_use_an_id_twice_at_once() {
    let (server, gateway) = answering(|request| {
        let who = request.json()["params"]["arguments"]["who"]
            .as_str()
            .unwrap()
            .to_owned();
        let other = if who == "one" { "two" } else { "one" };
        let done = response(&format!(r#""content":[{{"type":"text","text":"{who}"}}]"#));
        Answer::stream([Step::Until(format!(r#""who":"{other}""#)), Step::message(done)])
    })
    .await;
    let (one, two) = (call("1", "1", "one"), call("1", "1", "two"));
    let (one, two) = tokio::join!(one.to(&gateway), two.to(&gateway));
    assert!(
        one.text().contains(r#""text":"one""#) && two.text().contains(r#""text":"two""#),
        "{} {}",
        one.text(),
        two.text()
    );
    assert_eq!(server.received("tools/call").len(), 2);
    gateway.stop().await;
}

#[tokio::test]
async fn d09_a025_what_is_hidden_cannot_be_reached_by_another_way_round() {
    let list = r#"{"resultType":"complete","resources":[],"ttlMs":0,"cacheScope":"public"}"#;
    let prompts = r#"{"resultType":"complete","prompts":[{"name":"p"}],"ttlMs":0,"cacheScope":"public"}"#;
    let script = || {
        ScriptedServer::modern()
            .capabilities(r#"{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}"#)
            .tool("shown", OK)
            .tool("secret", OK)
            .on("resources/list", move |_| Answer::result(list))
            .on("prompts/list", move |_| Answer::result(prompts))
    };
    let (alpha, beta, gamma) = (script().start().await, script().start().await, script().start().await);
    let view = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: alpha, tools: {allow: [shown]}}, {name: beta, tools: {hide: [secret], rename: {shown: seen}}}]}";
    let gateway = RunningGateway::start(&mesh(
        &[("alpha", &alpha.url()), ("beta", &beta.url()), ("gamma", &gamma.url())],
        view,
    ))
    .await;
    let uri = |alias: &str| meshgate_model::naming::wrap_uri(alias, "file:///a");
    let complete = |reference: String| format!(r#""ref":{reference},"argument":{{"name":"a","value":"b"}}"#);
    let cases = [
        (
            "a tool that is not allowed",
            "tools/call",
            r#""name":"alpha__secret""#.to_owned(),
        ),
        ("a hidden tool", "tools/call", r#""name":"beta__secret""#.to_owned()),
        (
            "a tool under its old name",
            "tools/call",
            r#""name":"beta__shown""#.to_owned(),
        ),
        (
            "a tool without its prefix",
            "tools/call",
            r#""name":"shown""#.to_owned(),
        ),
        (
            "a tool with a prefix twice",
            "tools/call",
            r#""name":"alpha__alpha__shown""#.to_owned(),
        ),
        (
            "a tool in other letters",
            "tools/call",
            r#""name":"Alpha__shown""#.to_owned(),
        ),
        (
            "a tool and a space",
            "tools/call",
            r#""name":"alpha__shown ""#.to_owned(),
        ),
        (
            "a server outside the view",
            "tools/call",
            r#""name":"gamma__shown""#.to_owned(),
        ),
        ("its prompt", "prompts/get", r#""name":"gamma__p""#.to_owned()),
        ("its resource", "resources/read", format!(r#""uri":"{}""#, uri("gamma"))),
        (
            "a resource that is not wrapped",
            "resources/read",
            r#""uri":"file:///a""#.to_owned(),
        ),
        (
            "its resource in a completion",
            "completion/complete",
            complete(format!(r#"{{"type":"ref/resource","uri":"{}"}}"#, uri("gamma"))),
        ),
        (
            "its prompt in a completion",
            "completion/complete",
            complete(r#"{"type":"ref/prompt","name":"gamma__p"}"#.to_owned()),
        ),
        (
            "a completion of nothing",
            "completion/complete",
            complete(r#"{"type":"ref/tool","name":"alpha__secret"}"#.to_owned()),
        ),
    ];
    for (case, method, params) in cases {
        let answer = gateway.modern("/mcp", "1", method, &params).await;
        assert_eq!(answer.json()["error"]["code"], -32602, "{case}: {}", answer.text());
        assert_eq!(answer.status, 200, "{case}");
    }
    let wanted = format!(
        r#""notifications":{{"resourceSubscriptions":["{}","file:///a"]}}"#,
        uri("gamma")
    );
    let mut events = Post::modern("1", "subscriptions/listen", &wanted)
        .stream(&gateway)
        .await;
    assert_eq!(
        events.next().await["params"]["notifications"]["resourceSubscriptions"],
        json!([])
    );
    for server in [&alpha, &beta, &gamma] {
        let reached = server.recorded().into_iter().filter(|r| {
            let asked = r.json()["params"]["notifications"]["resourceSubscriptions"].is_array();
            asked
                || ["tools/call", "prompts/get", "resources/read", "completion/complete"].contains(&r.method().as_str())
        });
        assert_eq!(reached.count(), 0);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a126_answers_to_other_calls_are_dropped_and_the_right_one_counts_once() {
    let (_server, gateway) = answering(|request| {
        let id = request.json()["id"].as_u64().unwrap();
        let forged = |id: String| {
            Step::message(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[],"forged":true}}}}"#
            ))
        };
        Answer::stream([
            // An open stream belongs to one call, so an answer under any id could only be meant for it; a request is none.
            Step::message(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#),
            Step::message(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
            Step::message(
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":424242,"progress":1}}"#,
            ),
            Step::message(
                r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"unasked"}}"#,
            ),
            Step::message(response(r#""content":[],"right":true"#)),
            forged(id.to_string()),
            forged((id + 1).to_string()),
        ])
    })
    .await;
    let answer = call("\"mine\"", "7", "x").to(&gateway).await;
    let messages = answer.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    let json: Value = serde_json::from_str(&messages[0]).unwrap();
    assert_eq!((&json["id"], &json["result"]["right"]), (&json!("mine"), &json!(true)));
    gateway.stop().await;
}

#[tokio::test]
async fn a158_what_a_server_writes_into_its_stream_stays_inside_one_event() {
    let evil = r#"a\n\ndata: {\"forged\":1}\n\nid: 7\nevent: endpoint\nretry: 0\r\rdata: x\u2028"#;
    let (_server, gateway) = answering(move |request| {
        let id = request.json()["id"].clone();
        let note = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$TOKEN,"progress":1,"message":"MESSAGE"}}"#;
        let done = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[{{"type":"text","text":"{evil}"}}]}}}}"#);
        Answer::stream([
            Step::Bytes(b"event: endpoint\nid: 99\nretry: 0\n: comment\n\n".to_vec()),
            Step::message(note.replace("MESSAGE", evil)),
            // A message over several lines of data, which is one JSON text all the same.
            Step::Bytes(b"event: message\ndata: {\"jsonrpc\":\"2.0\",\ndata: \"method\":\"notifications/x\",\"params\":{}}\n\n".to_vec()),
            Step::message(done),
        ])
    })
    .await;
    let mut post = call("1", "7", "x");
    post = post.with("accept", "application/json, text/event-stream");
    let answer = post.to(&gateway).await;
    let text = answer.text();
    for line in text.lines() {
        assert!(
            line.is_empty()
                || line.starts_with("data: {")
                || line.starts_with("data: \"")
                || line == ":"
                || line == "event: message",
            "{line:?} in {text}"
        );
    }
    assert!(!text.contains('\r'), "{text:?}");
    let messages = answer.messages();
    let last: Value = serde_json::from_str(messages.last().unwrap()).unwrap();
    let decoded: String = serde_json::from_str(&format!("\"{evil}\"")).unwrap();
    assert_eq!(last["result"]["content"][0]["text"], decoded.as_str());
    gateway.stop().await;
}

#[tokio::test]
async fn a158_answers_that_are_none_end_the_call_as_one_that_may_have_run() {
    let cases: [(&str, Answer); 9] = [
        (
            "no JSON under the type of events",
            Answer::stream([Step::Bytes(b"data: hello\n\n".to_vec())]),
        ),
        (
            "no events under their type",
            Answer::stream([Step::Bytes(b"<html>\n".to_vec())]),
        ),
        (
            "a stream without a response",
            Answer::stream([Step::message(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#)]),
        ),
        ("a stream that breaks", Answer::stream([Step::Break])),
        (
            "an event that does not end",
            Answer::stream([Step::Bytes([b"data: ".as_slice(), &vec![b'x'; 3 << 20]].concat())]),
        ),
        ("an array", Answer::json(r#"[{"jsonrpc":"2.0","id":$ID,"result":{}}]"#)),
        (
            "a result that is no object",
            Answer::json(r#"{"jsonrpc":"2.0","id":$ID,"result":7}"#),
        ),
        ("nothing", Answer::status(200)),
        (
            "a redirect",
            Answer::status(307).header("location", "http://127.0.0.1:1/"),
        ),
    ];
    for (case, broken) in cases {
        let (server, gateway) = answering(move |_| broken.clone()).await;
        let answer = call("1", "7", "x").to(&gateway).await;
        let messages = answer.messages();
        let last: Value = serde_json::from_str(messages.last().unwrap()).unwrap();
        assert_eq!(
            (&last["id"], &last["error"]["code"]),
            (&json!(1), &json!(-32603)),
            "{case}: {}",
            answer.text()
        );
        let refusal = &last["error"]["data"]["dev.meshgate/refusal"];
        assert_eq!(
            (&refusal["by"], &refusal["executed"]),
            (&json!("server"), &json!("unknown")),
            "{case}: {last}"
        );
        assert_eq!(server.received("tools/call").len(), 1, "{case}: nothing is tried twice");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn d41_a_server_that_says_nothing_is_given_up_at_its_deadline_and_progress_buys_time_up_to_the_hard_one() {
    let progress = |n: u32| {
        Step::message(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":{n}}}}}"#
        ))
    };
    let silent = Answer::stream([Step::Hold]);
    let busy: Vec<Step> = (1..100)
        .flat_map(|n| [progress(n), Step::Wait(std::time::Duration::from_millis(40))])
        .collect();
    for (case, steps, waited) in [("silent", silent, 100), ("busy", Answer::stream(busy), 300)] {
        let server = ScriptedServer::modern()
            .tool_as("t", OPEN, move |_| steps.clone())
            .start()
            .await;
        let spec = ", deadline: 100ms, hardDeadline: 300ms";
        let gateway = RunningGateway::start(&mesh_with("", &[("only", &server.url(), spec)], UNHURRIED)).await;
        let start = std::time::Instant::now();
        let answer = call("1", "7", "x").to(&gateway).await;
        assert!(start.elapsed().as_millis() >= waited, "{case}: {:?}", start.elapsed());
        let last: Value = serde_json::from_str(answer.messages().last().unwrap()).unwrap();
        let refusal = &last["error"]["data"]["dev.meshgate/refusal"];
        assert_eq!(
            (&refusal["reason"], &refusal["executed"]),
            (&json!("deadline"), &json!("unknown")),
            "{case}: {last}"
        );
        assert!(server.holds(0).await, "{case}");
        assert_eq!(server.received("tools/call").len(), 1, "{case}");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_message_of_a_server_may_be_as_odd_as_it_likes_in_what_is_not_ours() {
    // What a strict reader of clients refuses is let through from servers: the call has run.
    let odd = r#"{"a":1,"a":2,"A":3,"n":1e400,"s":"\ud800","z":"\u0000"}"#;
    let (_server, gateway) = answering(move |_| {
        Answer::result(&format!(
            r#"{{"resultType":"complete","content":[],"structuredContent":{odd}}}"#
        ))
    })
    .await;
    let answer = call("1", "7", "x").to(&gateway).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains(odd), "{}", answer.text());
    gateway.stop().await;
}

#[tokio::test]
async fn a_crowd_of_callers_gets_each_its_own_answers() {
    for legacy in [false, true] {
        let script = if legacy {
            ScriptedServer::legacy("2025-06-18")
        } else {
            ScriptedServer::modern()
        };
        let server = script
            .tool_as("t", OPEN, |request| {
                let who = request.json()["params"]["arguments"]["who"].as_str().unwrap().to_owned();
                let progress = format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":1,"message":"{who}"}}}}"#
                );
                let done = response(&format!(r#""content":[{{"type":"text","text":"{who}"}}]"#));
                Answer::stream([Step::message(progress), Step::message(done)])
            })
            .start()
            .await;
        let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
        let asked = (0..150).map(|n| {
            // Half of the callers use the ids and tokens of the other half.
            let (id, gateway) = (n % 75, &gateway);
            async move {
                (
                    n,
                    id,
                    call(&id.to_string(), &id.to_string(), &format!("caller-{n}"))
                        .to(gateway)
                        .await,
                )
            }
        });
        for (n, id, answer) in futures_util::future::join_all(asked).await {
            let messages: Vec<Value> = answer
                .messages()
                .iter()
                .map(|m| serde_json::from_str(m).unwrap())
                .collect();
            let who = json!(format!("caller-{n}"));
            assert_eq!(
                (
                    &messages[0]["params"]["progressToken"],
                    &messages[0]["params"]["message"]
                ),
                (&json!(id), &who)
            );
            assert_eq!(
                (&messages[1]["id"], &messages[1]["result"]["content"][0]["text"]),
                (&json!(id), &who)
            );
            assert_eq!(messages.len(), 2);
        }
        gateway.stop().await;
    }
}
