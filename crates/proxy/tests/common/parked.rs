//! A modern client that can be asked, spelled by hand, and legacy servers that ask.

use meshgate_testkit::raw::RawAnswer;
use meshgate_testkit::{Answer, Recorded, Script, ScriptedServer, Step};
use serde_json::{Value, json};

use super::{RunningGateway, UNHURRIED, mesh};

/// Everything a client can be asked.
pub const ALL: &str = r#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;
pub const FORM: &str = r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;
pub const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"done"}]}}"#;

/// A legacy server whose tool `ask` plays these steps.
pub fn asking(revision: &str, steps: impl Fn(&Recorded) -> Vec<Step> + Send + Sync + 'static) -> Script {
    ScriptedServer::legacy(revision).tool_as(
        "ask",
        r#"{"name":"ask","inputSchema":{"type":"object"}}"#,
        move |call| Answer::stream(steps(call)),
    )
}

/// A question with that id, and the wait for its answer.
pub fn question(id: &str, method: &str, params: &str) -> [Step; 2] {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{params}}}"#);
    [Step::message(text), Step::Until(format!(r#""id":"{id}","#))]
}

/// A server that asks one thing and is done.
pub fn asks_once(method: &'static str, params: &'static str) -> Script {
    asking("2025-11-25", move |_| {
        let mut steps = question("s7", method, params).to_vec();
        steps.push(Step::message(DONE));
        steps
    })
}

pub async fn before(script: Script) -> (ScriptedServer, RunningGateway) {
    let server = script.start().await;
    let gateway = RunningGateway::start(&mesh(&[("only", &server.url())], UNHURRIED)).await;
    (server, gateway)
}

/// The members of a call's `params`.
pub fn call(capabilities: &str, more: &str) -> String {
    format!(
        r#""name":"ask","arguments":{{"x":1}}{more},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{capabilities},"progressToken":"p"}}"#
    )
}

/// The result of a call that asks.
pub struct Asks {
    pub requests: Value,
    pub state: String,
}

pub fn asks(answer: &RawAnswer) -> Asks {
    let json = answer.last();
    assert_eq!(json["result"]["resultType"], "input_required", "{}", answer.text());
    Asks {
        requests: json["result"]["inputRequests"].clone(),
        state: json["result"]["requestState"].as_str().unwrap().to_owned(),
    }
}

impl Asks {
    /// The only key there is.
    pub fn key(&self) -> String {
        let keys = self.requests.as_object().unwrap();
        assert_eq!(keys.len(), 1, "{}", self.requests);
        keys.keys().next().unwrap().clone()
    }

    /// The params of a retry with these answers.
    pub fn retry(&self, answers: &Value) -> String {
        let more = format!(r#","inputResponses":{answers},"requestState":{}"#, json!(self.state));
        call(ALL, &more)
    }
}

pub trait Last {
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
pub fn answers(server: &ScriptedServer, id: &str) -> Vec<Value> {
    let all = server.recorded().into_iter().filter(Recorded::is_response);
    all.map(|answer| answer.json())
        .filter(|answer| answer["id"] == id)
        .collect()
}

/// The call that the request goes on with is not there any more.
pub fn gone(answer: &RawAnswer) {
    let error = answer.last()["error"].clone();
    assert_eq!(error["code"], -32602, "{}", answer.text());
    let refusal = &error["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["reason"], &refusal["executed"]),
        (&json!("parked_call_gone"), &json!("unknown")),
        "{error}"
    );
}
