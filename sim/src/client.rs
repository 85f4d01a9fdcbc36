//! A modern client as a model: it calls, is asked, comes back as its habit is, and checks that it is asked about nothing
//! but its own call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use crate::book::{Book, Told};
use crate::chance::Chance;
use crate::plan::{CallPlan, ClientPlan, Habit, Plant};
use crate::wire::Wire;

/// The longest that any exchange may take: that of a legacy client, with its questions within.
pub(crate) const EXCHANGE_MAX: Duration = Duration::from_secs(35 * 60);
/// Rounds after which a client gives up by itself.
const ROUNDS_MAX: usize = 12;
/// Longer than any call stays parked.
const TOO_LATE: Duration = Duration::from_secs(900);

/// A state that somebody was given, for hostile clients to find.
#[derive(Clone)]
pub(crate) struct Loot {
    caller: &'static str,
    key: String,
    tool: String,
    arguments: Value,
    state: Value,
}

/// What all clients of a world have.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) wire: Wire,
    pub(crate) book: Book,
    pub(crate) plant: Option<Plant>,
    /// Whether names carry the alias of their server.
    pub(crate) merged: bool,
    /// What each server may not ask.
    pub(crate) denied: Arc<BTreeMap<String, Vec<&'static str>>>,
    pub(crate) loot: Arc<Mutex<Vec<Loot>>>,
    /// Questions that legacy clients were asked, for hostile ones to answer.
    pub(crate) asked: Arc<Mutex<Vec<(&'static str, Value)>>>,
}

impl Scene {
    /// The name of a server's tool in the view.
    pub(crate) fn tool(&self, call: &CallPlan) -> String {
        if self.merged {
            format!("{}__work", call.server)
        } else {
            "work".to_owned()
        }
    }

    /// What a caller was told, where it was told anything.
    pub(crate) fn told(&self, who: &str, key: &str, answer: &Value, first: bool) {
        let refusal = &answer["error"]["data"]["dev.meshgate/refusal"];
        if answer.get("error").is_some() && !refusal.is_null() {
            let text = |name: &str| refusal[name].as_str().unwrap_or("?").to_owned();
            let (mut executed, reason) = (text("executed"), text("reason"));
            if self.plant == Some(Plant::Lie) {
                executed = "no".to_owned();
            }
            let told = if first {
                Told::Refused { executed, reason }
            } else {
                Told::RetryRefused { executed, reason }
            };
            return self.book.told(who, key, told);
        }
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        if text == format!("done {key}") || text == format!("refused {key}") {
            return self.book.told(who, key, Told::Done);
        }
        if answer.get("result").is_some() {
            self.book.wrong(format!("{who} was given `{answer}` for {key}"));
        }
        let error = answer["error"]["message"].as_str().unwrap_or("?").to_owned();
        self.book.told(who, key, Told::Failed(error));
    }

    /// Checks that a question is about this call and of a kind that was declared, and answers it.
    pub(crate) fn answer(&self, plan: &ClientPlan, call: &CallPlan, question: &Value, decline: bool) -> Option<Value> {
        let (key, params) = (call.key.as_str(), &question["params"]);
        let (kind, about) = match question["method"].as_str().unwrap_or_default() {
            "elicitation/create" if params["mode"] == "url" => ("url", params["message"].as_str()),
            "elicitation/create" => ("elicitation", params["message"].as_str()),
            "sampling/createMessage" => ("sampling", params["messages"][0]["content"]["text"].as_str()),
            "roots/list" => ("roots", Some(key)),
            other => {
                self.book.wrong(format!("{} was asked `{other}`", plan.name));
                return None;
            }
        };
        let declared = match kind {
            "url" => plan.capabilities["elicitation"].get("url"),
            other => plan.capabilities.get(other),
        };
        if declared.is_none() {
            self.book
                .wrong(format!("{} was asked for {kind}, which it has not declared", plan.name));
        }
        let of_kind = if kind == "url" { "elicitation" } else { kind };
        let denied = self.denied.get(&call.server);
        if denied.is_some_and(|denied| denied.contains(&of_kind)) {
            self.book.wrong(format!(
                "{} was asked for {kind}, which {} may not",
                plan.name, call.server
            ));
        }
        if about != Some(key) {
            self.book
                .wrong(format!("a question about {about:?} reached {key} of {}", plan.name));
        }
        let by = plan.caller;
        Some(match kind {
            "elicitation" | "url" if decline => json!({"action": "decline"}),
            "url" => json!({"action": "accept"}),
            "elicitation" => json!({"action": "accept", "content": {"by": by, "key": key}}),
            "sampling" => {
                json!({"role": "assistant", "content": {"type": "text", "text": format!("{by} {key}")}, "model": "m"})
            }
            _ => json!({"roots": [{"uri": format!("file:///{by}/{key}")}]}),
        })
    }
}

/// What comes back with a retry.
#[derive(Clone, Default)]
struct Retry {
    state: Option<Value>,
    answers: Map<String, Value>,
}

/// One modern client.
pub(crate) struct Client {
    pub(crate) scene: Scene,
    pub(crate) plan: ClientPlan,
    pub(crate) chance: Chance,
}

impl Client {
    /// Makes its calls.
    pub(crate) async fn run(mut self) {
        for call in self.plan.calls.clone() {
            tokio::time::sleep(Duration::from_millis(call.wait_ms)).await;
            if self.plan.hostile {
                self.steal().await;
            }
            self.call(&call).await;
        }
    }

    fn note(&self, what: impl Into<String>) {
        self.scene.book.note(&self.plan.name, what);
    }

    async fn call(&mut self, call: &CallPlan) {
        let (tool, arguments) = (self.scene.tool(call), self.arguments(call));
        let mut retry = Retry::default();
        for round in 0..ROUNDS_MAX {
            let first = round == 0;
            if first && call.habit == Habit::HangsUp {
                let patience = self.chance.millis(4_000);
                let sent = self.exchange(&tool, &arguments, &retry);
                if tokio::time::timeout(patience, sent).await.is_err() {
                    return self.note(format!("hangs up on {}", call.key));
                }
                return;
            }
            let twice = !first && call.habit == Habit::Twice;
            let Some(answer) = self.send(call, &tool, &arguments, &retry, twice).await else {
                return;
            };
            if answer["result"]["resultType"] != "input_required" {
                return self.scene.told(&self.plan.name, &call.key, &answer, first);
            }
            let Some(next) = self.asked(call, &answer["result"], round) else {
                return;
            };
            retry = next;
            self.think(call, &tool, &arguments, &retry).await;
        }
        self.note(format!("gives up {}", call.key));
    }

    /// Sends a request, or the same retry twice at once: then at most one of them may be taken.
    async fn send(
        &mut self,
        call: &CallPlan,
        tool: &str,
        arguments: &Value,
        retry: &Retry,
        twice: bool,
    ) -> Option<Value> {
        if !twice {
            return self.exchange(tool, arguments, retry).await;
        }
        let apart = self.chance.millis(50);
        let later = async {
            tokio::time::sleep(apart).await;
            self.exchange(tool, arguments, retry).await
        };
        let (one, two) = tokio::join!(self.exchange(tool, arguments, retry), later);
        let taken = |answer: &Option<Value>| answer.as_ref().is_some_and(|answer| answer.get("result").is_some());
        if taken(&one) && taken(&two) {
            self.scene
                .book
                .wrong(format!("both retries of {} were taken", call.key));
        }
        let (first, second) = if taken(&two) { (two, one) } else { (one, two) };
        if let Some(second) = second {
            self.scene.told(&self.plan.name, &call.key, &second, false);
        }
        first
    }

    /// Reads the questions; what to come back with, if the client does.
    fn asked(&mut self, call: &CallPlan, result: &Value, round: usize) -> Option<Retry> {
        let questions = result["inputRequests"].as_object().cloned().unwrap_or_default();
        let mut kinds: Vec<_> = questions
            .values()
            .filter_map(|question| question["method"].as_str())
            .collect();
        kinds.sort_unstable();
        self.note(format!("is asked {kinds:?} for {}", call.key));
        if questions.is_empty() {
            self.scene.book.wrong(format!("{} was asked nothing", call.key));
        }
        let state = result.get("requestState").cloned();
        if let Some(state) = state.clone() {
            self.scene.loot.lock().push(Loot {
                caller: self.plan.caller,
                key: call.key.clone(),
                tool: self.scene.tool(call),
                arguments: self.arguments(call),
                state,
            });
        }
        let forgets = call.habit == Habit::Forgets && round < 2;
        let mut answers = Map::new();
        for (index, (name, question)) in questions.iter().enumerate() {
            let decline = call.habit == Habit::Declines;
            let answer = self.scene.answer(&self.plan, call, question, decline);
            if let Some(answer) = answer.filter(|_| !forgets || (round == 1 && index > 0)) {
                answers.insert(name.clone(), answer);
            }
        }
        if forgets {
            answers.insert(
                "nobody-asked".to_owned(),
                json!({"action": "accept", "content": {"by": "x"}}),
            );
        }
        if call.habit == Habit::Leaves {
            self.note(format!("leaves {}", call.key));
            return None;
        }
        Some(Retry { state, answers })
    }

    /// What a client does before it comes back.
    async fn think(&mut self, call: &CallPlan, tool: &str, arguments: &Value, retry: &Retry) {
        let pause = match call.habit {
            Habit::Late => TOO_LATE,
            _ => self.chance.millis(8_000),
        };
        tokio::time::sleep(pause).await;
        if call.habit != Habit::Tampers {
            return;
        }
        let mut bent = retry.clone();
        let Some(state) = retry.state.as_ref().and_then(Value::as_str) else {
            return;
        };
        let at = self.chance.below(state.len());
        let mut bytes = state.as_bytes().to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if *byte == b'A' { b'B' } else { b'A' };
        }
        bent.state = Some(Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        self.refused("a changed state", tool, arguments, &bent).await;
    }

    /// Comes with a state of another caller.
    async fn steal(&mut self) {
        let others: Vec<Loot> = {
            let loot = self.scene.loot.lock();
            loot.iter()
                .filter(|loot| loot.caller != self.plan.caller)
                .cloned()
                .collect()
        };
        let Some(loot) = self.chance.pick(&others) else { return };
        let mut answers = Map::new();
        answers.insert(
            "nobody-asked".to_owned(),
            json!({"action": "accept", "content": {"by": "eve"}}),
        );
        let retry = Retry {
            state: Some(loot.state),
            answers,
        };
        self.note(format!("comes with the state of {}", loot.key));
        self.refused("a stolen state", &loot.tool, &loot.arguments, &retry)
            .await;
    }

    /// Sends what must be refused, with the words that say that nothing ran.
    async fn refused(&self, what: &str, tool: &str, arguments: &Value, retry: &Retry) {
        let Some(answer) = self.exchange(tool, arguments, retry).await else {
            return;
        };
        let refusal = &answer["error"]["data"]["dev.meshgate/refusal"];
        if answer.get("error").is_none() || refusal["executed"] != "no" {
            self.scene.book.wrong(format!("{what} was taken: {answer}"));
        }
        self.scene.book.count("refused states");
    }

    fn arguments(&self, call: &CallPlan) -> Value {
        json!({"key": call.key, "by": self.plan.caller, "steps": call.steps})
    }

    /// One exchange; `None` when the gateway hung up.
    async fn exchange(&self, tool: &str, arguments: &Value, retry: &Retry) -> Option<Value> {
        let _open = self.scene.book.exchange(&self.plan.name);
        let mut params = json!({"name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": self.plan.capabilities,
            "progressToken": 7,
        }});
        if let Some(state) = &retry.state {
            params["requestState"] = state.clone();
            params["inputResponses"] = Value::Object(retry.answers.clone());
        }
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
        let token = format!("Bearer {}", token(self.plan.caller));
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/call"),
            ("mcp-name", tool),
            ("authorization", &token),
        ];
        let read = async {
            let mut exchange = self.scene.wire.send("POST", "/mcp", &headers, body).await?;
            loop {
                let message = exchange.next().await?;
                if message.get("method").is_none() {
                    return Some(message);
                }
                if message.get("id").is_some() {
                    self.scene.book.wrong(format!("{} was sent a request", self.plan.name));
                }
            }
        };
        match tokio::time::timeout(EXCHANGE_MAX, read).await {
            Ok(answer) => {
                if answer.is_none() {
                    self.note("hears the end of its exchange and no answer");
                    self.scene.book.count("answers cut off");
                }
                answer
            }
            Err(_) => {
                self.scene
                    .book
                    .wrong(format!("an exchange of {} did not end in time", self.plan.name));
                None
            }
        }
    }
}

/// The service token of an application.
pub(crate) fn token(caller: &str) -> String {
    format!("mg_{caller}")
}
