//! Parked calls over the whole gateway: a modern client, spelled by hand, before legacy servers that ask in the middle of a
//! call.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{RunningGateway, UNHURRIED, mesh};
use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer, Step};
use serde_json::{Value, json};

/// Everything a client can be asked.
const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;
const FORM: &str = r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"done"}]}}"#;

/// A legacy server whose tool `ask` plays these steps.
fn asking(revision: &str, steps: impl Fn(&Recorded) -> Vec<Step> + Send + Sync + 'static) -> Script {
    ScriptedServer::legacy(revision).tool_as(
        "ask",
        r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
        move |call| Answer::stream(steps(call)),
    )
}

/// A question with that id, and the wait for its answer.
fn question(id: &str, method: &str, params: &str) -> [Step; 2] {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{params}}}"#);
    [Step::message(text), Step::Until(format!(r#""id":"{id}","#))]
}

/// A server that asks one thing and is done.
fn asks_once(method: &'static str, params: &'static str) -> Script {
    asking("2025-11-25", move |_| {
        let mut steps = question("s7", method, params).to_vec();
        steps.push(Step::message(DONE));
        steps
    })
}

async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

/// The members of a call's `params`.
fn call(capabilities: &str, more: &str) -> String {
    format!(
        r#""name":"ask","arguments":{{"x":1}}{more},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities},"progressToken":"p"}}"#
    )
}

/// The result of a call that asks.
struct Asks {
    requests: Value,
    state: String,
}

fn asks(answer: &RawAnswer) -> Asks {
    let json = answer.last();
    assert_eq!(json["result"]["resultType"], "input_required", "{}", answer.text());
    Asks {
        requests: json["result"]["inputRequests"].clone(),
        state: json["result"]["requestState"].as_str().unwrap().to_owned(),
    }
}

impl Asks {
    /// The only key there is.
    fn key(&self) -> String {
        let keys = self.requests.as_object().unwrap();
        assert_eq!(keys.len(), 1, "{}", self.requests);
        keys.keys().next().unwrap().clone()
    }

    /// The params of a retry with these answers.
    fn retry(&self, answers: &Value) -> String {
        let more = format!(r#","inputResponses":{answers},"requestState":{}"#, json!(self.state));
        call(ALL, &more)
    }
}

trait Last {
    /// The response, behind whatever stands before it.
    fn last(&self) -> Value;
}

impl Last for RawAnswer {
    fn last(&self) -> Value {
        let messages = self.messages();
        serde_json::from_str(messages.last().unwrap_or_else(|| panic!("{}", self.text()))).unwrap()
    }
}

/// The answers that reached the server, by the id of its question.
fn answers(server: &ScriptedServer, id: &str) -> Vec<Value> {
    let all = server.recorded().into_iter().filter(Recorded::is_response);
    all.map(|answer| answer.json())
        .filter(|answer| answer["id"] == id)
        .collect()
}

#[tokio::test]
async fn a_question_parks_the_call_and_the_retry_goes_on_with_it() {
    for (method, params, answer) in [
        (
            "elicitation/create",
            FORM,
            json!({"action": "accept", "content": {"name": "Ada"}}),
        ),
        (
            "elicitation/create",
            r#"{"mode":"url","elicitationId":"e1","url":"https://a/","message":"m"}"#,
            json!({"action": "accept"}),
        ),
        (
            "sampling/createMessage",
            r#"{"messages":[],"maxTokens":1}"#,
            json!({"role": "assistant", "model": "m", "content": {"type": "text", "text": "42"}}),
        ),
        ("roots/list", "{}", json!({"roots": [{"uri": "file:///home"}]})),
        ("elicitation/create", FORM, json!({"action": "decline"})),
        ("elicitation/create", FORM, json!({"action": "cancel"})),
    ] {
        let (server, gateway) = before(asks_once(method, params)).await;
        let first = gateway.modern("/mcp", "\"a\"", "tools/call", &call(ALL, "")).await;
        assert_eq!(first.last()["id"], "a");
        let asked = asks(&first);
        let request = &asked.requests[asked.key()];
        assert_eq!(request["method"], method);
        assert!(
            request["params"].get("elicitationId").is_none() && request.get("id").is_none(),
            "{request}"
        );

        let retry = asked.retry(&json!({ asked.key(): answer, "unknown": {"action": "accept"} }));
        let second = gateway.modern("/mcp", "8", "tools/call", &retry).await.last();
        assert_eq!(
            (&second["id"], &second["result"]["resultType"]),
            (&json!(8), &json!("complete")),
            "{second}"
        );
        assert_eq!(second["result"]["content"][0]["text"], "done");
        assert_eq!(
            answers(&server, "s7"),
            [json!({"jsonrpc": "2.0", "id": "s7", "result": answer})]
        );
        assert_eq!(server.received("tools/call").len(), 1, "{method}");
        assert!(server.received("notifications/cancelled").is_empty());
        gateway.stop().await;
    }
}
