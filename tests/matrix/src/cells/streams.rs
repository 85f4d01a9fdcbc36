//! What is said while a call runs: progress, log messages, and that nobody waits any more.

use meshgate_bridge::eras::{Feature, Link};
use serde_json::{Value, json};

use super::{Scene, expect, holds};
use crate::{Failure, client::Wish, witness::Note};

const HOLD: &str = "tools/call";

impl Scene {
    pub(super) fn progress(&self) -> Result<(), Failure> {
        let word = self.word(Feature::Progress);
        let since = self.witness.now();
        let wish = Wish {
            token: Some(&word),
            ..Wish::none()
        };
        let exchange = self.tool(&self.plain, "steps", &json!({"word": word}), &wish)?;
        expect("the answer", &exchange.text()?, &format!("stepped {word}").as_str())?;
        let steps: Vec<Value> = (1..=3)
            .map(|step| {
                json!({"jsonrpc": "2.0", "method": "notifications/progress",
                    "params": {"progressToken": word, "progress": step, "total": 3}})
            })
            .collect();
        expect("the steps", &exchange.notices, &steps)?;
        let note = self.saw(
            since,
            "tools/call",
            &json!({"name": "steps", "arguments": {"word": word}}),
        )?;
        let token = note.message("/params/_meta/progressToken");
        holds(
            "the server got no token of the gateway's own",
            token.is_some_and(|token| *token != json!(word)),
            &token,
        )?;
        self.agrees(Feature::Progress, false)
    }

    pub(super) fn logging(&self) -> Result<(), Failure> {
        let word = self.word(Feature::Logging);
        let since = self.witness.now();
        if !self.plain.is_modern() {
            let set = self
                .plain
                .call("logging/setLevel", &json!({"level": "info"}), &Wish::none())?;
            expect("the answer to setLevel", set.result()?, &json!({}))?;
        }
        let wish = Wish {
            level: Some("info"),
            ..Wish::none()
        };
        let logged = json!({"jsonrpc": "2.0", "method": "notifications/message",
            "params": {"level": "warning", "logger": "matrix", "data": word}});
        let exchange = self.tool(&self.plain, "log", &json!({"word": word}), &wish)?;
        expect("the answer", &exchange.text()?, &format!("logged {word}").as_str())?;
        expect("the log", &exchange.notices, &vec![logged.clone()])?;
        let note = self.saw(
            since,
            "tools/call",
            &json!({"name": "log", "arguments": {"word": word}}),
        )?;
        if self.server_revision.is_modern() {
            let level = note.message("/params/_meta/io.modelcontextprotocol~1logLevel");
            expect("the level at the server", &level, &Some(&json!("info")))?;
        } else {
            let at = note.at.clone();
            let set = self.witness.seen(&self.server, 0, &|note| {
                note.at == at && note.is("logging/setLevel") && note.message("/params/level") == Some(&json!("info"))
            });
            holds("the level was never set", !set.is_empty(), &set)?;
        }
        // The loss of the table: beside another call nobody knows whose message it is.
        let logging = Wish {
            token: Some(&word),
            ..wish
        };
        let mut other = self.plain.begin(HOLD, &hold(&word), &logging)?;
        other.next()?;
        let exchange = self.tool(&self.plain, "log", &json!({"word": word}), &logging)?;
        let heard = exchange.notices == vec![logged];
        self.plain.cancel(other)?;
        self.agrees(Feature::Logging, !heard)
    }

    pub(super) fn cancel(&self) -> Result<(), Failure> {
        if !self.plain.is_modern() {
            self.leaves_without_cancelling()?;
        }
        let word = self.word(Feature::Cancel);
        let since = self.witness.now();
        let mut begun = self.plain.begin(HOLD, &hold(&word), &progress(&word))?;
        let first = begun.next()?;
        expect(
            "the sign that it runs",
            &first.get("method"),
            &Some(&json!("notifications/progress")),
        )?;
        let note = self.saw(since, "tools/call", &hold(&word))?;
        let id = note.message("/id").cloned().unwrap_or_default();
        let rest = self.plain.cancel(begun)?;
        let answered = rest.iter().find(|message| message.get("result").is_some());
        holds("a cancelled call has no result", answered.is_none(), &rest)?;
        if self.server_revision.is_modern() && self.link == Link::Http {
            let closed = json!({"event": "closed", "id": id});
            self.witness
                .wait(&self.server, since, "the end of the connection", &|note| {
                    note.saw == closed
                })?;
        } else {
            let what = format!("a cancellation of {id}");
            self.witness.wait(&self.server, since, &what, &|other| {
                other.at == note.at
                    && other.is("notifications/cancelled")
                    && other.message("/params/requestId") == Some(&id)
            })?;
        }
        let runs = self.runs(since, &self.plain, "hold", &word)?;
        expect("executions", &runs.len(), &1)?;
        self.agrees(Feature::Cancel, false)
    }
}

impl Scene {
    /// Before 2026-07-28 a closed connection says nothing: the call goes on until it is cancelled by a message.
    fn leaves_without_cancelling(&self) -> Result<(), Failure> {
        let word = format!("left-{}", self.client_revision.name);
        let since = self.witness.now();
        let mut begun = self.plain.begin(HOLD, &hold(&word), &progress(&word))?;
        begun.next()?;
        let call = self.saw(since, "tools/call", &hold(&word))?;
        let left = begun.leave()?;
        self.runs(since, &self.plain, "hold", &word)?;
        let closed = json!({"event": "closed", "id": call.message("/id")});
        let ended = |note: &Note| {
            let is_cancelled = note.is("notifications/cancelled");
            is_cancelled && note.message("/params/requestId") == call.message("/id") || note.saw == closed
        };
        let early = self.witness.seen(&self.server, since, &ended);
        holds("a disconnect cancelled the call", early.is_empty(), &early)?;
        self.plain.take_back(left)?;
        self.witness
            .wait(&self.server, since, "the cancellation", &ended)
            .map(drop)
    }
}

fn hold(word: &str) -> Value {
    json!({"name": "hold", "arguments": {"word": word}})
}

fn progress(word: &str) -> Wish<'_> {
    Wish {
        token: Some(word),
        ..Wish::none()
    }
}
