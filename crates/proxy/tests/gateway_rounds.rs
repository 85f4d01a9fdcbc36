//! Questions of a modern server to a legacy client when not all goes smoothly: several rounds, refusals, losses, ends.
//!
//! The client sees one request with one answer whatever happens between; the server sees rounds, and none that its
//! client did not answer. Both ends are looked at.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::sync::Arc;

use common::{Events, LegacyClient, RunningGateway, UNHURRIED, compiled, documents, mesh};
use meshgate_identity::{KeyRing, token_digest};
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer, Step};
use serde_json::{Value, json};

const EVERYTHING: &str = r#"{"elicitation":{},"sampling":{},"roots":{}}"#;
const FORM: &str = r#"{"method":"elicitation/create","params":{"message":"who?","requestedSchema":{"type":"object","properties":{}}}}"#;
const SAMPLING: &str = r#"{"method":"sampling/createMessage","params":{"messages":[],"maxTokens":1}}"#;
const ROOTS: &str = r#"{"method":"roots/list"}"#;
const TOOL: &str = r#"{"name":"ask","inputSchema":{"type":"object"}}"#;

async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

fn required(questions: &str, state: usize) -> String {
    format!(r#"{{"resultType":"input_required","requestState":"{state}","inputRequests":{questions}}}"#)
}

/// The rounds that the server has had before this request; none is 0.
fn round(request: &Recorded) -> usize {
    let state = request.json()["params"]["requestState"].as_str().map(str::to_owned);
    state.map_or(0, |state| state.parse().unwrap())
}

/// A modern server whose tool asks these in so many rounds, then answers.
fn asking(questions: String, rounds: usize) -> Script {
    ScriptedServer::modern().tool_as("ask", TOOL, move |request| {
        let round = round(request);
        Answer::result(&if round < rounds {
            required(&questions, round + 1)
        } else {
            r#"{"resultType":"complete","content":[{"type":"text","text":"done"}]}"#.to_owned()
        })
    })
}

fn one(question: &str) -> String {
    format!(r#"{{"q":{question}}}"#)
}

async fn ask(client: &LegacyClient, gateway: &RunningGateway) -> Events {
    client
        .request("7", "tools/call", r#""name":"ask""#)
        .stream(gateway)
        .await
}

async fn refuse(client: &LegacyClient, gateway: &RunningGateway, question: &Value) {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-1,"message":"the user said no"}}}}"#,
        question["id"]
    );
    assert_eq!(client.post(&body).to(gateway).await.status, 202);
}

fn calls(server: &ScriptedServer) -> Vec<Value> {
    server.received("tools/call").iter().map(Recorded::json).collect()
}

#[tokio::test]
async fn progress_of_all_rounds_grows_under_the_clients_one_token() {
    let script = ScriptedServer::modern().tool_as("ask", TOOL, |request| {
        let progress = |n: u32| {
            Step::message(format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$TOKEN,"progress":{n},"total":2}}}}"#
            ))
        };
        let result = match round(request) {
            0 => required(&one(FORM), 1),
            // A round without questions: the server only wants to be asked again.
            1 => r#"{"resultType":"input_required","requestState":"2"}"#.to_owned(),
            _ => r#"{"resultType":"complete","content":[]}"#.to_owned(),
        };
        let last = Step::message(format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#));
        Answer::stream([progress(1), progress(2), last])
    });
    let (server, gateway) = before(script).await;
    for revision in ["2025-06-18", "2025-11-25"] {
        let client = LegacyClient::open(&gateway, revision, EVERYTHING).await;
        let call = client.request("7", "tools/call", r#""name":"ask","_meta":{"progressToken":"mine"}"#);
        let mut events = call.stream(&gateway).await;
        let mut seen = Vec::new();
        let answer = loop {
            let message = events.next().await;
            match message["method"].as_str() {
                Some("notifications/progress") => {
                    let params = &message["params"];
                    assert_eq!(params["progressToken"], "mine");
                    seen.push((params["progress"].as_f64().unwrap(), params["total"].as_f64().unwrap()));
                }
                Some(_) => client.answer(&gateway, &message, r#"{"action":"decline"}"#).await,
                None => break message,
            }
        };
        assert_eq!((&answer["id"], &answer["result"]), (&json!(7), &json!({"content": []})));
        let grown = [(1.0, 2.0), (2.0, 2.0), (3.0, 4.0), (4.0, 4.0), (5.0, 6.0), (6.0, 6.0)];
        assert_eq!(seen, grown, "{revision}");
    }
    let ids: std::collections::BTreeSet<String> = calls(&server).iter().map(|call| call["id"].to_string()).collect();
    assert_eq!(
        (calls(&server).len(), ids.len()),
        (6, 6),
        "each round has an id of its own"
    );
    assert!(
        !server
            .received("tools/call")
            .iter()
            .any(|call| call.text().contains("mine"))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_may_ask_in_nine_rounds_and_is_stopped_in_the_tenth() {
    for (rounds, is_answered) in [(8, true), (9, true), (10, false)] {
        let (server, gateway) = before(asking(one(FORM), rounds)).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
        let mut events = ask(&client, &gateway).await;
        let last = loop {
            let message = events.next().await;
            if message["method"].is_null() {
                break message;
            }
            client
                .answer(&gateway, &message, r#"{"action":"accept","content":{}}"#)
                .await;
        };
        assert_eq!(last["result"].is_object(), is_answered, "{rounds}: {last}");
        assert_eq!(calls(&server).len(), (rounds + 1).min(10), "{rounds}");
        if !is_answered {
            let refusal = &last["error"]["data"]["dev.meshgate/refusal"];
            assert_eq!(
                (&last["id"], &refusal["executed"]),
                (&json!(7), &json!("unknown")),
                "{last}"
            );
        }
        assert_eq!(events.maybe_next().await, None);
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_round_has_at_most_thirty_two_questions() {
    for (count, is_asked) in [(31, true), (32, true), (33, false)] {
        let questions: Vec<String> = (0..count).map(|n| format!(r#""{n}":{ROOTS}"#)).collect();
        let (server, gateway) = before(asking(format!("{{{}}}", questions.join(",")), 1)).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
        let call = client.request("7", "tools/call", r#""name":"ask""#);
        if is_asked {
            let mut events = call.stream(&gateway).await;
            for _ in 0..count {
                let question = events.next().await;
                client.answer(&gateway, &question, r#"{"roots":[]}"#).await;
            }
            assert!(events.next().await["result"].is_object());
            let responses = calls(&server)[1]["params"]["inputResponses"].clone();
            assert_eq!(responses.as_object().unwrap().len(), count);
        } else {
            let answer = call.to(&gateway).await;
            assert!(answer.json()["error"]["message"].as_str().unwrap().contains("too many"));
            assert_eq!(calls(&server).len(), 1);
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_refused_form_is_a_cancelled_one_and_refused_sampling_or_roots_fail_the_call() {
    for (question, goes_on) in [(FORM, true), (SAMPLING, false), (ROOTS, false)] {
        let (server, gateway) = before(asking(one(question), 1)).await;
        let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
        let mut events = ask(&client, &gateway).await;
        let asked = events.next().await;
        refuse(&client, &gateway, &asked).await;
        let last = events.next().await;
        if goes_on {
            assert_eq!(last["result"]["content"][0]["text"], "done");
            assert_eq!(
                calls(&server)[1]["params"]["inputResponses"],
                json!({"q": {"action": "cancel"}})
            );
        } else {
            let said = last["error"]["message"].as_str().unwrap();
            assert!(said.contains("the user said no"), "{last}");
            assert_eq!(calls(&server).len(), 1, "{question}");
        }
        gateway.stop().await;
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_takes_its_question_back() {
    let (server, gateway) = before(asking(one(FORM), 1)).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
    let mut events = ask(&client, &gateway).await;
    let question = events.next().await;
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    assert_eq!(client.post(cancel).to(&gateway).await.status, 202);
    let taken_back = events.next().await;
    assert_eq!(taken_back["method"], "notifications/cancelled");
    assert_eq!(taken_back["params"]["requestId"], question["id"]);
    let last = events.next().await;
    assert_eq!((&last["id"], last["error"].is_object()), (&json!(7), true), "{last}");
    assert_eq!(events.maybe_next().await, None);
    // The answer of a client that did not hear of it in time is taken, and goes nowhere.
    client
        .answer(&gateway, &question, r#"{"action":"accept","content":{}}"#)
        .await;
    assert_eq!(
        client.request("8", "ping", "").to(&gateway).await.json()["result"],
        json!({})
    );
    assert_eq!(calls(&server).len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_session_that_is_ended_with_a_question_open_ends_the_call_and_its_stream() {
    let (server, gateway) = before(asking(one(FORM), 1)).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
    let mut events = ask(&client, &gateway).await;
    let question = events.next().await;
    assert_eq!(client.post("").verb("DELETE").to(&gateway).await.status, 204);
    assert_eq!(events.maybe_next().await, None);
    let late = format!(
        r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept"}}}}"#,
        question["id"]
    );
    assert_eq!(client.post(&late).to(&gateway).await.status, 404);
    let again = client.attach().and("last-event-id", "1-1").to(&gateway).await;
    assert_eq!(again.status, 404, "nothing of an ended session can be taken up again");
    assert_eq!(calls(&server).len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_loses_its_stream_is_asked_again_and_gets_the_answer() {
    let (server, gateway) = before(asking(one(FORM), 1)).await;
    for (last_event, is_asked_again) in [("0", true), ("1", false)] {
        let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
        let before = calls(&server).len();
        let mut events = ask(&client, &gateway).await;
        let question = events.next().await;
        drop(events);
        let attach = client.attach().and("last-event-id", &format!("1-{last_event}"));
        let mut events = attach.stream(&gateway).await;
        if is_asked_again {
            assert_eq!(events.next().await, question);
        }
        client
            .answer(&gateway, &question, r#"{"action":"accept","content":{"a":1}}"#)
            .await;
        let last = events.next().await;
        assert_eq!(
            (&last["id"], &last["result"]["content"][0]["text"]),
            (&json!(7), &json!("done"))
        );
        assert_eq!(events.maybe_next().await, None);
        assert_eq!(calls(&server).len(), before + 2, "asked once, answered once");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a126_only_the_caller_and_the_session_that_were_asked_can_answer() {
    let server = asking(one(FORM), 1).start().await;
    let more = documents(&[
        UNHURRIED,
        "kind: Application\nmetadata: {name: other}\nspec: {views: [default], tokens: [{environment: UNUSED_TOKEN_VARIABLE}]}",
        "kind: Application\nmetadata: {name: local}\nspec: {views: ['*'], tokens: [{environment: ANOTHER_UNUSED_VARIABLE}]}",
    ]);
    let mut snapshot = compiled(&mesh(&[("only", &server.url())], &more));
    assert!(snapshot.add_token("other", token_digest("mg_other")));
    let gateway = RunningGateway::start_snapshot(snapshot, Arc::new(KeyRing::from_entropy().unwrap())).await;
    let client = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
    let twin = LegacyClient::open(&gateway, "2025-11-25", EVERYTHING).await;
    let mut events = ask(&client, &gateway).await;
    let question = events.next().await;
    let forged = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept","content":{{"name":"{text}"}}}}}}"#,
            question["id"]
        )
    };
    let thief = LegacyClient {
        token: "mg_other".to_owned(),
        ..client.clone()
    };
    assert_eq!(thief.post(&forged("Eve")).to(&gateway).await.status, 404);
    assert_eq!(twin.post(&forged("Mallory")).to(&gateway).await.status, 202);
    assert_eq!(client.post(&forged("Ada")).to(&gateway).await.status, 202);
    assert_eq!(client.post(&forged("late")).to(&gateway).await.status, 202);
    assert!(events.next().await["result"].is_object());
    let answered: Vec<Value> = calls(&server)[1..]
        .iter()
        .map(|c| c["params"]["inputResponses"]["q"]["content"]["name"].clone())
        .collect();
    assert_eq!(answered, ["Ada"]);
    gateway.stop().await;
}

#[tokio::test]
async fn a_question_in_a_batch_waits_for_nobody_and_the_batch_is_one_stream() {
    let script = asking(one(ROOTS), 1)
        .tool_as("slow", &TOOL.replace("ask", "slow"), |_| {
            let last = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
            Answer::stream([Step::Until("inputResponses".to_owned()), Step::message(last)])
        })
        .tool("quick", r#"{"resultType":"complete","content":[]}"#);
    let (server, gateway) = before(script).await;
    let client = LegacyClient::open(&gateway, "2025-03-26", EVERYTHING).await;
    let call = |id: u32, tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
    };
    let batch = format!("[{},{},{}]", call(1, "quick"), call(2, "slow"), call(3, "ask"));
    let mut events = client.post(&batch).stream(&gateway).await;
    let mut answered = Vec::new();
    while let Some(message) = events.maybe_next().await {
        if message["method"] == "roots/list" {
            client.answer(&gateway, &message, r#"{"roots":[]}"#).await;
        } else {
            assert!(message["result"].is_object(), "{message}");
            answered.push(message["id"].as_u64().unwrap());
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3]);
    assert_eq!(calls(&server).len(), 4);
    gateway.stop().await;
}
