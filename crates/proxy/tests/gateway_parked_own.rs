//! Whose session it is: calls that can be asked, side by side, over HTTP and to children, and what is not carried.
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

use common::parked::{ALL, DONE, FORM, Last, answers, asking, asks, asks_once, before, call, gone, question};
use common::{LegacyClient, RunningGateway, TOKEN, UNHURRIED, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_testkit::{Answer, Script, ScriptedServer, StdioScript, StdioServer, Step};
use serde_json::{Value, json};

/// A server that asks under an id made of the call's own, so that each call waits for its own answer.
fn asks_each() -> Script {
    asking("2025-11-25", |call| {
        let mut steps = question(&format!("s{}", call.json()["id"]), "elicitation/create", FORM).to_vec();
        steps.push(Step::message(DONE));
        steps
    })
}

/// A gateway before one server, with a second application beside `local`.
async fn before_two(url: &str, spec: &str) -> RunningGateway {
    let local = "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}";
    let other = "kind: Application\nmetadata: {name: other}\nspec: {views: [default], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}";
    let more = common::documents(&[UNHURRIED, local, other]);
    let mut snapshot = compiled(&common::mesh_with("", &[("only", url, spec)], &more));
    let _ = snapshot.add_token("other", token_digest(OTHER));
    RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await
}

const OTHER: &str = "mg_test-token-of-other";

#[tokio::test]
async fn where_nothing_is_shared_each_caller_has_one_session_for_all_its_calls() {
    for (spec, sessions) in [(", sharing: perCaller", 3), (", sharing: shared", 1)] {
        let server = asks_each().tool("plain", r#"{"content":[]}"#).start().await;
        let gateway = before_two(&server.url(), spec).await;
        let plain = call("{}", "").replace("ask", "plain");
        let made = [TOKEN, OTHER, TOKEN, TOKEN, OTHER]
            .map(|token| gateway.modern_as(Some(token), "/mcp", "1", "tools/call", &plain, &[]));
        for answer in futures_util::future::join_all(made).await {
            assert_eq!(answer.last()["result"]["resultType"], "complete", "{}", answer.text());
        }
        assert_eq!(server.received("initialize").len(), sessions, "{spec}");
        // One that is asked something has a session to itself all the same.
        asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
        assert_eq!(server.received("initialize").len(), sessions + 1, "{spec}");
        assert!(gateway.stop_in_peace().await);
        let ended = server
            .recorded()
            .into_iter()
            .filter(|request| request.verb == http::Method::DELETE);
        assert_eq!(ended.count(), sessions + 1, "{spec}");
    }
}

#[tokio::test]
async fn the_session_of_a_caller_ends_when_it_was_not_used_for_half_an_hour() {
    let server = asks_each().tool("plain", r#"{"content":[]}"#).start().await;
    let gateway = before_two(&server.url(), ", sharing: perCaller").await;
    let plain = call("{}", "").replace("ask", "plain");
    gateway.modern("/mcp", "1", "tools/call", &plain).await;
    for (seconds, ended) in [(1795, 0), (10, 1)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let deleted = server
            .recorded()
            .into_iter()
            .filter(|request| request.verb == http::Method::DELETE);
        assert_eq!(deleted.count(), ended, "after {seconds} more seconds");
    }
    gateway.modern("/mcp", "1", "tools/call", &plain).await;
    assert_eq!(server.received("initialize").len(), 3);
    gateway.stop().await;
}

#[tokio::test]
async fn a078_parked_calls_side_by_side_get_their_own_answers_and_nobody_elses() {
    let server = asks_each().start().await;
    let gateway = before_two(&server.url(), "").await;
    let tokens = [TOKEN, TOKEN, OTHER, OTHER];
    let mut parked = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        let body = call(ALL, "").replace(r#""x":1"#, &format!(r#""x":{n}"#));
        let first = gateway
            .modern_as(Some(token), "/mcp", "1", "tools/call", &body, &[])
            .await;
        parked.push(asks(&first));
    }
    // Nobody goes on with the call of another one: not of another caller, and not with other arguments.
    let retry = |n: usize, said: usize| {
        let answer = json!({ parked[n].key(): {"action": "accept", "content": {"n": said}} });
        parked[n].retry(&answer).replace(r#""x":1"#, &format!(r#""x":{n}"#))
    };
    for (n, token) in [(0, tokens[2]), (2, tokens[0])] {
        let stolen = gateway
            .modern_as(Some(token), "/mcp", "1", "tools/call", &retry(n, 9), &[])
            .await;
        assert_eq!(
            stolen.last()["error"]["data"]["reason"],
            "invalid_request_state",
            "{}",
            stolen.text()
        );
    }
    for n in [3, 1, 0, 2] {
        let done = gateway
            .modern_as(Some(tokens[n]), "/mcp", "2", "tools/call", &retry(n, n), &[])
            .await;
        assert_eq!(done.last()["result"]["content"][0]["text"], "done", "{}", done.text());
    }
    for made in server.received("tools/call") {
        let told = answers(&server, &format!("s{}", made.json()["id"]));
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0]["result"]["content"]["n"],
            made.json()["params"]["arguments"]["x"]
        );
    }
    assert_eq!(server.received("tools/call").len(), 4);
    assert_eq!(
        server.received("initialize").len(),
        5,
        "one for all, and one for each call"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn so_many_calls_of_one_caller_are_parked_and_the_next_is_given_up() {
    let (server, gateway) = before(asks_each()).await;
    let mut parked = Vec::new();
    for n in 1..=16 {
        parked.push(asks(
            &gateway
                .modern("/mcp", &n.to_string(), "tools/call", &call(ALL, ""))
                .await,
        ));
    }
    let refused = gateway.modern("/mcp", "17", "tools/call", &call(ALL, "")).await;
    assert_eq!(refused.status, 429);
    let refusal = refused.last()["error"]["data"]["dev.meshgate/refusal"].clone();
    assert_eq!(
        (&refusal["rule"], &refusal["executed"]),
        (&json!("lift/parked-per-caller"), &json!("unknown")),
        "{}",
        refused.text()
    );
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
    let retry = parked[0].retry(&json!({ parked[0].key(): {"action": "accept"} }));
    assert_eq!(
        gateway.modern("/mcp", "18", "tools/call", &retry).await.last()["result"]["resultType"],
        "complete"
    );
    asks(&gateway.modern("/mcp", "19", "tools/call", &call(ALL, "")).await);
    assert_eq!(server.received("tools/call").len(), 18);
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_that_the_operator_denies_its_client_is_not_waited_for() {
    let page = r#"{"mode":"url","elicitationId":"e1","url":"https://elsewhere.example/","message":"m"}"#;
    let server = asks_once("elicitation/create", page).start().await;
    let spec = ", questions: {hosts: [login.example.com]}";
    let gateway = RunningGateway::start(&common::mesh_with("", &[("only", &server.url(), spec)], UNHURRIED)).await;
    let refused = gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await.last();
    assert_eq!(
        refused["error"]["data"]["dev.meshgate/refusal"]["rule"], "questions",
        "{refused}"
    );
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
    assert_eq!(answers(&server, "s7")[0]["result"], json!({"action": "cancel"}));
    assert_eq!(gateway.catalogues.upstreams()[0].1.parked().parked, 0);
    gateway.stop().await;
}

#[tokio::test]
async fn what_waits_is_counted_and_records_say_which_round_a_request_was() {
    let (_server, gateway) = before(asks_each()).await;
    let levels = || {
        let levels = gateway.catalogues.upstreams()[0].1.parked();
        (levels.parked, levels.own_sessions, levels.resumed, levels.expired)
    };
    assert_eq!(levels(), (0, 0, 0, 0));
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    assert_eq!(levels(), (1, 1, 0, 0));
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
    gateway.modern("/mcp", "2", "tools/call", &retry).await;
    assert_eq!(levels(), (0, 1, 1, 0));
    let lines = gateway.lines(2).await;
    let said = |line: &Value| (line["summary"].clone(), line["round"].clone());
    assert_eq!(said(&lines[0]), (json!("input_required"), Value::Null));
    assert_eq!(said(&lines[1]), (json!("ok"), json!(2)));
    gateway.stop().await;
}

#[tokio::test]
async fn so_many_sessions_carry_calls_of_one_caller_and_the_next_call_waits_its_turn() {
    let server = asking("2025-11-25", |_| vec![Step::Hold])
        .tool("quick", r#"{"content":[]}"#)
        .start()
        .await;
    let spec = ", tools: {quick: {deadline: 300ms}}";
    let gateway = RunningGateway::start(&common::mesh_with("", &[("only", &server.url(), spec)], UNHURRIED)).await;
    let quick = call(ALL, "").replace("ask", "quick");
    let mut held = Vec::new();
    for n in 1..=32 {
        held.push(
            common::Post::modern(&n.to_string(), "tools/call", &call(ALL, ""))
                .open(&gateway)
                .await,
        );
        if n == 31 {
            assert!(server.holds(31).await);
            let done = gateway.modern("/mcp", "33", "tools/call", &quick).await.last();
            assert_eq!(done["result"]["resultType"], "complete", "one is left: {done}");
        }
    }
    assert!(server.holds(32).await);
    let refused = gateway.modern("/mcp", "34", "tools/call", &quick).await.last();
    let refusal = &refused["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["rule"], &refusal["executed"]),
        (&json!("lift/sessions-per-caller"), &json!("no")),
        "{refused}"
    );
    drop(held.pop());
    assert_eq!(server.wait_for("notifications/cancelled", 1).await.len(), 1);
    let done = gateway.modern("/mcp", "35", "tools/call", &quick).await.last();
    assert_eq!(done["result"]["resultType"], "complete", "{done}");
    assert_eq!(server.received("tools/call").len(), 34);
}

#[tokio::test]
async fn a_session_that_the_server_has_forgotten_is_opened_again_and_the_call_runs_once() {
    let (server, gateway) = before(asks_each()).await;
    for n in 1..=2 {
        let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
        let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
        assert_eq!(
            gateway.modern("/mcp", "2", "tools/call", &retry).await.last()["result"]["resultType"],
            "complete"
        );
        assert_eq!(
            answers(
                &server,
                &format!("s{}", server.received("tools/call").last().unwrap().json()["id"])
            )
            .len(),
            1
        );
        if n == 1 {
            server.lose_session();
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_on_the_standalone_stream_belongs_to_the_only_call_of_its_session() {
    let (server, gateway) = before(ScriptedServer::legacy("2025-06-18").tool_as(
        "ask",
        r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
        |_| Answer::stream([Step::Until(r#""action":"accept""#.to_owned()), Step::message(DONE)]),
    ))
    .await;
    let params = call(ALL, "");
    let first = gateway.modern("/mcp", "1", "tools/call", &params);
    let push = async {
        server.wait_for("tools/call", 1).await;
        let asks = format!(r#"{{"jsonrpc":"2.0","id":"g1","method":"elicitation/create","params":{FORM}}}"#);
        server.push(&asks);
    };
    let (first, ()) = tokio::join!(first, push);
    let asked = asks(&first);
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
    let done = gateway.modern("/mcp", "2", "tools/call", &retry).await.last();
    assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
    // The session of all callers heard it, too, and has nobody to ask.
    let said: Vec<Value> = answers(&server, "g1");
    assert_eq!(
        said.iter().filter(|answer| answer["error"]["code"] == -32601).count(),
        1,
        "{said:?}"
    );
    assert_eq!(
        said.iter()
            .filter(|answer| answer["result"]["action"] == "accept")
            .count(),
        1,
        "{said:?}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_legacy_client_answers_the_questions_of_a_legacy_server() {
    for revision in ["2025-06-18", "2025-11-25"] {
        let (server, gateway) = before(asks_once("elicitation/create", FORM)).await;
        let client = LegacyClient::open(&gateway, revision, r#"{"elicitation":{}}"#).await;
        let mut events = client
            .request("9", "tools/call", r#""name":"ask""#)
            .stream(&gateway)
            .await;
        let question = events.next().await;
        assert_eq!(question["method"], "elicitation/create", "{question}");
        client
            .answer(&gateway, &question, r#"{"action":"accept","content":{"n":1}}"#)
            .await;
        let done = events.next().await;
        assert_eq!(
            (&done["id"], &done["result"]["content"][0]["text"]),
            (&json!(9), &json!("done")),
            "{done}"
        );
        assert_eq!(
            answers(&server, "s7")[0]["result"],
            json!({"action": "accept", "content": {"n": 1}})
        );
        assert_eq!(server.received("tools/call").len(), 1);
        gateway.stop().await;
    }
}

// --- children ----------------------------------------------------------------------------------------------------------

/// A gateway before a child of 2025-11-25 whose tools do what their scripts say.
async fn before_child(script: StdioScript) -> (StdioServer, RunningGateway) {
    let tools = r#"{"tools":[{"name":"ask","inputSchema":{"type":"object"}},{"name":"plain","inputSchema":{"type":"object"}}]}"#;
    let server = script
        .result("tools/list", tools)
        .result("tools/call plain", r#"{"content":[]}"#)
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

fn child() -> StdioScript {
    StdioScript::legacy("2025-11-25", r#"{"tools":{}}"#)
}

fn asks_on_pipe() -> Vec<Value> {
    let asks = format!(r#"{{"jsonrpc":"2.0","id":"s7","method":"elicitation/create","params":{FORM}}}"#);
    vec![json!(asks), StdioScript::until(r#""id":"s7","#), json!(DONE)]
}

fn read(server: &StdioServer, text: &str) -> usize {
    server.recorded().iter().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn a_child_of_the_callers_own_waits_with_its_call_and_others_go_on_beside_it() {
    let (server, gateway) = before_child(child().steps("tools/call ask", asks_on_pipe())).await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    for capabilities in ["{}", ALL] {
        let plain = call(capabilities, "").replace("ask", "plain");
        assert_eq!(
            gateway.modern("/mcp", "2", "tools/call", &plain).await.last()["result"]["resultType"],
            "complete"
        );
    }
    let answer = json!({"action": "accept", "content": {"name": "Ada"}});
    let done = gateway
        .modern("/mcp", "3", "tools/call", &asked.retry(&json!({ asked.key(): answer })))
        .await
        .last();
    assert_eq!(done["result"]["content"][0]["text"], "done", "{done}");
    assert_eq!(
        read(
            &server,
            r#"{"jsonrpc":"2.0","id":"s7","result":{"action":"accept","content":{"name":"Ada"}}}"#
        ),
        1
    );
    assert_eq!(
        server.received("initialize").len(),
        3,
        "one for all, the parked one's, and the one beside it"
    );
    let plain = call(ALL, "").replace("ask", "plain");
    gateway.modern("/mcp", "4", "tools/call", &plain).await;
    assert_eq!(
        server.received("initialize").len(),
        3,
        "the next call meets one that is there"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_child_that_dies_while_its_call_waits_takes_the_call_with_it() {
    let mut steps = asks_on_pipe();
    steps[1] = StdioScript::wait(Duration::from_millis(300));
    steps[2] = StdioScript::exit(3);
    let (server, gateway) = before_child(child().steps("tools/call ask", steps)).await;
    let asked = asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let retry = asked.retry(&json!({ asked.key(): {"action": "accept"} }));
    for _ in 0..2 {
        gone(&gateway.modern("/mcp", "2", "tools/call", &retry).await);
    }
    assert_eq!(read(&server, "tools/call"), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_child_hears_its_answers_before_the_cancellation_and_its_end() {
    let (server, gateway) = before_child(child().steps("tools/call ask", asks_on_pipe())).await;
    asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    assert!(gateway.stop_in_peace().await);
    let lines = server.recorded();
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    let (answer, cancel) = (at(r#""result":{"action":"cancel"}"#), at("notifications/cancelled"));
    assert!(answer.is_some() && answer < cancel, "{lines:?}");
}

#[tokio::test]
async fn a_caller_that_may_no_longer_call_has_its_parked_calls_given_up_at_once() {
    let server = asks_each().start().await;
    let mesh = |views: &str| {
        let local = format!("kind: Application\nmetadata: {{name: local}}\nspec: {{tokens: [], views: [{views}]}}");
        let other = "kind: View\nmetadata: {name: other}\nspec: {servers: []}";
        mesh(&[("only", &server.url())], &documents(&[UNHURRIED, other, &local]))
    };
    let gateway = RunningGateway::start(&mesh("default")).await;
    asks(&gateway.modern("/mcp", "1", "tools/call", &call(ALL, "")).await);
    // A change that leaves the caller its right leaves it its call.
    gateway.reload(&mesh("default, other"));
    assert_eq!(server.received("notifications/cancelled").len(), 0);
    gateway.reload(&mesh("other"));
    server.wait_for("notifications/cancelled", 1).await;
    gateway.stop().await;
}
