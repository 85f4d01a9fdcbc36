//! The tools: each does one thing that a cell of the matrix looks at.

use std::sync::{Arc, mpsc};

use serde_json::{Value, json};

use super::{
    Arrival, Out, Peer, error,
    questions::{page, question},
};
use crate::wire::SILENCE_MAX;

impl Peer {
    pub(super) fn call(&self, arrival: &Arrival, id: &Value, params: &Value, out: &Arc<dyn Out>) -> Option<Value> {
        let argument = |name: &str| {
            let value = params.pointer(&format!("/arguments/{name}"));
            value.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let word = argument("word");
        let done = |text: String| Some(self.result(id, json!({"content": [{"type": "text", "text": text}]}), false));
        match params.get("name").and_then(Value::as_str).unwrap_or_default() {
            "echo" => Some(self.echoed(id, &word)),
            "steps" => {
                for step in 1..=3 {
                    self.progress(params, step, out);
                }
                done(format!("stepped {word}"))
            }
            "log" => {
                let message = json!({"jsonrpc": "2.0", "method": "notifications/message",
                    "params": {"level": "warning", "logger": "matrix", "data": word}});
                let _gone = out.send(&message);
                done(format!("logged {word}"))
            }
            "hold" => self.hold(arrival, id, params, out),
            "grow" => {
                self.state.lock().grown.push(format!("grown-{word}"));
                self.tell("notifications/tools/list_changed", "toolsListChanged", None);
                done(format!("grown {word}"))
            }
            "touch" => {
                self.tell(
                    "notifications/resources/updated",
                    "resourceSubscriptions",
                    Some("note://first"),
                );
                done(format!("touched {word}"))
            }
            "ask" => self.ask(id, "tools/call", params, out),
            "pair" => self.several(id, params, &word, false, out),
            "row" => self.several(id, params, &word, true, out),
            "visit" => self.visit(id, &word),
            name => Some(error(id, -32602, &format!("unknown tool {name}"))),
        }
    }

    /// Everything that the revision can put into a result.
    fn echoed(&self, id: &Value, word: &str) -> Value {
        let mut content = vec![json!({"type": "text", "text": format!("echo {word}")})];
        content.extend(self.rich(word));
        let mut result = json!({"content": content});
        if let (true, Some(members)) = (self.has("2025-06-18"), result.as_object_mut()) {
            let structured = if self.is_modern() {
                json!([word])
            } else {
                json!({"word": word})
            };
            members.insert("structuredContent".into(), structured);
        }
        self.result(id, result, false)
    }

    fn progress(&self, params: &Value, step: u64, out: &Arc<dyn Out>) {
        if let Some(token) = params.pointer("/_meta/progressToken") {
            let message = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": step, "total": 3}});
            let _gone = out.send(&message);
        }
    }

    /// Says that it has begun, and then nothing until it is cancelled.
    fn hold(&self, arrival: &Arrival, id: &Value, params: &Value, out: &Arc<dyn Out>) -> Option<Value> {
        let (end, ended) = mpsc::channel::<()>();
        let of = (arrival.at.clone(), id.to_string());
        self.state.lock().held.insert(of.clone(), end);
        self.progress(params, 1, out);
        if self.is_modern() && out.closed() {
            self.note(&arrival.at, json!({"event": "closed", "id": id}));
            self.state.lock().held.remove(&of);
            return None;
        }
        // Ends when the sender is dropped, which is what a cancellation does.
        match ended.recv_timeout(2 * SILENCE_MAX) {
            Err(mpsc::RecvTimeoutError::Timeout) => Some(error(id, -32603, "nobody cancelled")),
            _ => None,
        }
    }

    /// Asks in the middle of a call of one of the three methods that may, and answers with what it heard.
    pub(super) fn ask(&self, id: &Value, called: &str, params: &Value, out: &Arc<dyn Out>) -> Option<Value> {
        let (kind, word) = wanted(params);
        let Some((method, asked)) = question(&kind, &word, self.is_modern()) else {
            return Some(error(id, -32602, "unknown kind"));
        };
        let heard = |heard: &Value| {
            let text = heard.to_string();
            let result = match called {
                "prompts/get" => json!({"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}),
                "resources/read" => json!({"contents": [{"uri": params.get("uri"), "text": text}]}),
                _ => json!({"content": [{"type": "text", "text": text}]}),
            };
            Some(self.result(id, result, called == "resources/read"))
        };
        if !self.is_modern() {
            let answered = self.pose(&kind, &word, out)?;
            return match answered.recv_timeout(SILENCE_MAX) {
                Ok(answer) => heard(&answer),
                Err(_) => Some(error(id, -32603, "the question was never answered")),
            };
        }
        let key = format!("k-{word}");
        let state = format!("state-{word}");
        let answer = params.pointer(&format!("/inputResponses/{key}"));
        match (answer, params.get("requestState").and_then(Value::as_str)) {
            (Some(answer), Some(held)) if held == state => heard(answer),
            (Some(_), _) => Some(error(id, -32602, "the state is not the one that was given")),
            (None, _) => {
                let asked = json!({"method": method, "params": asked});
                let result =
                    json!({"resultType": "input_required", "inputRequests": {key: asked}, "requestState": state});
                Some(self.result(id, result, false))
            }
        }
    }

    /// Runs only after its user has opened a page (`-32042` of 2025-11-25).
    fn visit(&self, id: &Value, word: &str) -> Option<Value> {
        let mut state = self.state.lock();
        if state.opened.iter().any(|opened| opened == word) {
            let content = json!({"content": [{"type": "text", "text": format!("visited {word}")}]});
            return Some(self.result(id, content, false));
        }
        state.opened.push(word.to_owned());
        let elicitation = json!({"mode": "url", "message": format!("the word is {word}"), "url": page(word),
            "elicitationId": format!("v-{word}")});
        Some(
            json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32042, "message": "open the page first",
            "data": {"elicitations": [elicitation]}}}),
        )
    }
}

/// Whether a prompt or a resource is one that asks.
pub(super) fn asks(params: &Value) -> bool {
    let is_prompt = params.get("name") == Some(&json!("asking"));
    is_prompt || asking_note(params).is_some()
}

fn asking_note(params: &Value) -> Option<&str> {
    params.get("uri")?.as_str()?.strip_prefix("note://ask/")
}

/// The kind of question and its word: arguments, or parts of the resource's address.
fn wanted(params: &Value) -> (String, String) {
    if let Some((kind, word)) = asking_note(params).and_then(|note| note.split_once('/')) {
        return (kind.to_owned(), word.to_owned());
    }
    let argument = |name: &str| {
        let value = params.pointer(&format!("/arguments/{name}"));
        value.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    (argument("kind"), argument("word"))
}
