//! A legacy client as a model: a session, calls whose questions come on their own stream, and answers sent beside.

use std::time::Duration;

use serde_json::{Value, json};

use crate::chance::Chance;
use crate::client::{EXCHANGE_MAX, Scene, token};
use crate::plan::{CallPlan, ClientPlan, Habit};
use crate::wire::Exchange;

/// Longer than any question waits.
const TOO_LATE: Duration = Duration::from_secs(900);

/// One legacy client.
pub(crate) struct Legacy {
    pub(crate) scene: Scene,
    pub(crate) plan: ClientPlan,
    pub(crate) chance: Chance,
    revision: &'static str,
    session: String,
    was_late: bool,
}

impl Legacy {
    pub(crate) fn new(scene: Scene, plan: ClientPlan, chance: Chance, revision: &'static str) -> Self {
        Self {
            scene,
            plan,
            chance,
            revision,
            session: String::new(),
            was_late: false,
        }
    }

    /// Opens a session, makes its calls and mostly says good-bye.
    pub(crate) async fn run(mut self) {
        for call in self.plan.calls.clone() {
            tokio::time::sleep(Duration::from_millis(call.wait_ms)).await;
            if self.session.is_empty() && !self.initialize().await {
                return self.note("has no session");
            }
            if self.plan.hostile {
                self.answer_for_others().await;
            }
            self.call(&call).await;
        }
        if self.chance.percent(60) {
            drop(self.send("DELETE", String::new()).await);
        }
    }

    fn note(&self, what: impl Into<String>) {
        self.scene.book.note(&self.plan.name, what);
    }

    async fn initialize(&mut self) -> bool {
        let params = json!({
            "protocolVersion": self.revision,
            "capabilities": self.plan.capabilities,
            "clientInfo": {"name": self.plan.name, "version": "1"}
        });
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let Some(mut answer) = self.send("POST", hello.to_string()).await else {
            return false;
        };
        let session = answer.headers.get("mcp-session-id").and_then(|id| id.to_str().ok());
        self.session = session.unwrap_or_default().to_owned();
        if answer.next().await.is_none() || self.session.is_empty() {
            return false;
        }
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.send("POST", ready.to_string()).await.is_some()
    }

    async fn send(&self, verb: &str, body: String) -> Option<Exchange> {
        let token = format!("Bearer {}", token(self.plan.caller));
        let mut headers = vec![
            ("accept", "application/json, text/event-stream"),
            ("authorization", token.as_str()),
        ];
        if verb == "POST" {
            headers.push(("content-type", "application/json"));
        }
        if !self.session.is_empty() {
            headers.push(("mcp-session-id", self.session.as_str()));
            if self.revision >= "2025-06-18" {
                headers.push(("mcp-protocol-version", self.revision));
            }
        }
        self.scene.wire.send(verb, "/mcp", &headers, body).await
    }

    async fn call(&mut self, call: &CallPlan) {
        let _open = self.scene.book.exchange(&self.plan.name);
        self.was_late = false;
        let arguments = json!({"key": call.key, "by": self.plan.caller, "steps": call.steps});
        let params = json!({"name": self.scene.tool(call), "arguments": arguments, "_meta": {"progressToken": 3}});
        let request = json!({"jsonrpc": "2.0", "id": call.key, "method": "tools/call", "params": params}).to_string();
        let patience = match call.habit {
            Habit::HangsUp => self.chance.millis(4_000),
            _ => EXCHANGE_MAX,
        };
        let Some(mut exchange) = self.send("POST", request).await else {
            return self.note("hears no answer");
        };
        let whole = async {
            while let Some(message) = exchange.next().await {
                if message.get("method").is_none() {
                    return Some(message);
                }
                if message.get("id").is_some() && !self.asked(call, &message).await {
                    return Some(Value::Null);
                }
            }
            None
        };
        match tokio::time::timeout(patience, whole).await {
            Ok(Some(Value::Null)) => self.note(format!("leaves {}", call.key)),
            Ok(Some(answer)) => {
                if answer["id"] != json!(call.key) {
                    self.scene
                        .book
                        .wrong(format!("{} got `{answer}` for {}", self.plan.name, call.key));
                }
                self.scene.told(&self.plan.name, &call.key, &answer, true);
            }
            Ok(None) => {
                self.note("hears the end of its exchange and no answer");
                self.scene.book.count("answers cut off");
            }
            Err(_) if call.habit == Habit::HangsUp => {
                self.note(format!("hangs up on {}", call.key));
                if self.chance.percent(50) {
                    let params = json!({"requestId": call.key, "reason": "enough"});
                    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
                    drop(self.send("POST", cancel.to_string()).await);
                }
            }
            Err(_) => self
                .scene
                .book
                .wrong(format!("an exchange of {} did not end in time", self.plan.name)),
        }
    }

    /// A question on the stream of a call; `false` when the client leaves.
    async fn asked(&mut self, call: &CallPlan, question: &Value) -> bool {
        self.note(format!("is asked {} for {}", question["method"], call.key));
        self.scene.asked.lock().push((self.plan.caller, question["id"].clone()));
        let decline = call.habit == Habit::Declines;
        let Some(result) = self.scene.answer(&self.plan, call, question, decline) else {
            return true;
        };
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": result});
        let pause = self.chance.millis(8_000);
        // Once is late enough.
        let late = call.habit == Habit::Late && !std::mem::replace(&mut self.was_late, true);
        tokio::time::sleep(if late { TOO_LATE } else { pause }).await;
        match call.habit {
            Habit::Leaves => return false,
            // One in two is never answered: the gateway's own limits have to end it.
            Habit::Forgets if self.chance.percent(50) => return true,
            Habit::Tampers => {
                let mut bent = answer.clone();
                bent["id"] = json!(format!("{}0", question["id"].as_str().unwrap_or("x")));
                bent["result"] = json!({"action": "accept", "content": {"by": "x", "key": "x"}});
                drop(self.send("POST", bent.to_string()).await);
            }
            Habit::Twice => drop(self.send("POST", answer.to_string()).await),
            _ => {}
        }
        drop(self.send("POST", answer.to_string()).await);
        true
    }

    /// Answers what others were asked.
    async fn answer_for_others(&mut self) {
        let others: Vec<Value> = {
            let asked = self.scene.asked.lock();
            let others = asked.iter().filter(|(caller, _)| *caller != self.plan.caller);
            others.map(|(_, id)| id.clone()).collect()
        };
        let Some(id) = self.chance.pick(&others) else { return };
        let result = json!({"action": "accept", "content": {"by": "eve", "key": "stolen"}});
        self.note("answers what another was asked");
        drop(
            self.send(
                "POST",
                json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
            )
            .await,
        );
    }
}
