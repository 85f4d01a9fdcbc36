//! Several questions in one call: side by side, and one after the other.

use std::sync::{Arc, mpsc};

use serde_json::{Value, json};

use super::{Out, Peer, error, questions::question};
use crate::wire::SILENCE_MAX;

const KINDS: [&str; 2] = ["sampling", "roots"];

impl Peer {
    /// Asks two questions; `in_turn` says whether the second waits for the first one's answer.
    pub(super) fn several(
        &self,
        id: &Value,
        params: &Value,
        word: &str,
        in_turn: bool,
        out: &Arc<dyn Out>,
    ) -> Option<Value> {
        let heard = match (self.is_modern(), in_turn) {
            (false, false) => {
                let posed: Vec<_> = KINDS.iter().filter_map(|kind| self.pose(kind, word, out)).collect();
                posed
                    .iter()
                    .filter_map(|answer| answer.recv_timeout(SILENCE_MAX).ok())
                    .collect()
            }
            (false, true) => {
                let answers = KINDS
                    .iter()
                    .filter_map(|kind| self.pose(kind, word, out)?.recv_timeout(SILENCE_MAX).ok());
                answers.collect::<Vec<_>>()
            }
            (true, _) => match rounds(params, word, in_turn) {
                Ok(heard) => heard,
                Err(asks) => return Some(self.result(id, asks, false)),
            },
        };
        if heard.len() != KINDS.len() {
            return Some(error(
                id,
                -32603,
                &format!("not every question was answered: {heard:?}"),
            ));
        }
        let content = json!({"content": [{"type": "text", "text": json!(heard).to_string()}]});
        Some(self.result(id, content, false))
    }

    /// Sends a question to a client of a session. Its answer arrives on the channel.
    pub(super) fn pose(&self, kind: &str, word: &str, out: &Arc<dyn Out>) -> Option<mpsc::Receiver<Value>> {
        let (method, asked) = question(kind, word, self.is_modern())?;
        let number = json!(format!("q-{}", self.number()));
        let (answer, answered) = mpsc::channel();
        self.state.lock().asked.insert(number.to_string(), answer);
        out.send(&json!({"jsonrpc": "2.0", "id": number, "method": method, "params": asked}))
            .ok()?;
        Some(answered)
    }
}

/// What was heard in the rounds so far, which the state carries; or the result that asks for what is missing.
fn rounds(params: &Value, word: &str, in_turn: bool) -> Result<Vec<Value>, Value> {
    let state = params.get("requestState").and_then(Value::as_str).unwrap_or("[]");
    let mut heard: Vec<Value> = serde_json::from_str(state).unwrap_or_default();
    for kind in KINDS.iter().skip(heard.len()) {
        heard.extend(params.pointer(&format!("/inputResponses/{kind}")).cloned());
    }
    let missing = KINDS.iter().skip(heard.len());
    let asked: serde_json::Map<String, Value> = missing
        .take(if in_turn { 1 } else { KINDS.len() })
        .filter_map(|kind| {
            let (method, asked) = question(kind, word, true)?;
            Some(((*kind).to_owned(), json!({"method": method, "params": asked})))
        })
        .collect();
    if asked.is_empty() {
        return Ok(heard);
    }
    let state = json!(heard).to_string();
    Err(json!({"resultType": "input_required", "inputRequests": asked, "requestState": state}))
}
