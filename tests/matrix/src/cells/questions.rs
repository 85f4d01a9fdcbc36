//! Questions in the middle of a call: carried to the client and back, or refused as the table says.

use meshgate_bridge::eras::{Cannot, Carriage, Feature, cannot};
use meshgate_mcp::Revision;
use serde_json::{Value, json};

use super::{Scene, expect, holds};
use crate::{
    Failure,
    client::{Exchange, Wish},
    witness::Note,
};

impl Scene {
    /// The three methods that may ask, one after the other.
    pub(super) fn question(&self, feature: Feature, kind: &str) -> Result<(), Failure> {
        let word = self.word(feature);
        let note = format!("note://ask/{kind}/{word}-r");
        let calls = [
            (
                &*word,
                "tools/call",
                json!({"name": "ask", "arguments": {"kind": kind, "word": word}}),
            ),
            (
                &*format!("{word}-p"),
                "prompts/get",
                json!({"name": "asking", "arguments": {"kind": kind, "word": format!("{word}-p")}}),
            ),
            (&*format!("{word}-r"), "resources/read", json!({"uri": note})),
        ];
        for (word, method, params) in calls {
            let asked = self.asks(feature, kind, word, (method, params));
            asked.map_err(|failure| format!("{method}: {failure}"))?;
        }
        Ok(())
    }

    fn asks(&self, feature: Feature, kind: &str, word: &str, call: (&str, Value)) -> Result<(), Failure> {
        let (method, params) = call;
        let since = self.witness.now();
        let reply = reply(kind, word);
        let answer = |_: &Value| reply.clone();
        let wish = Wish {
            answer: &answer,
            ..Wish::none()
        };
        let exchange = self.able.call(method, &params, &wish)?;
        self.marked(&exchange)?;
        let runs = self.passed(since, &self.able, word, &|note| {
            let same = |name: &str| note.message(&format!("/params/{name}")) == params.get(name);
            note.is(method) && same("name") && same("arguments") && same("uri")
        })?;
        self.told(&runs)?;
        match self.listed(feature) {
            Carriage::Refused(why) if why.told == cannot::Told::Server => {
                self.refused_to_server(since, why, &exchange, &runs)
            }
            Carriage::Refused(why) => {
                let words = match method {
                    "tools/call" => words(why, &exchange)?,
                    _ => error_words(why, &exchange)?,
                };
                let page = format!("https://example.com/consent/{word}");
                holds(
                    "the page is not in the words",
                    kind != "url" || words.contains(&page),
                    &words,
                )?;
                holds("the client was asked", exchange.questions.is_empty(), &exchange)?;
                holds("the words of the table", words.contains(why.constant()), &words)?;
                expect("rounds", &runs.len(), &1)
            }
            Carriage::Carried | Carriage::WithLoss(_) => {
                self.asked(kind, word, &exchange)?;
                self.answered(since, word, &reply, &runs)?;
                self.agrees(feature, false)
            }
        }
    }

    /// What the server was told that its client can be asked: with the call in 2026-07-28, in the handshake of the session
    /// before. Never more than the client's own revision has, and in the words of the server's.
    fn told(&self, runs: &[Note]) -> Result<(), Failure> {
        let run = runs.first().ok_or("the server never saw the call")?;
        let stamped = run
            .message("/params/_meta/io.modelcontextprotocol~1clientCapabilities")
            .cloned();
        let told = match stamped {
            Some(told) => told,
            None => {
                let what = "the handshake of the call's session";
                let handshake = |note: &Note| note.at == run.at && note.is("initialize");
                let opened = self.witness.wait(&self.server, 0, what, &handshake)?;
                opened.message("/params/capabilities").cloned().unwrap_or_default()
            }
        };
        let both = |has: fn(&Revision) -> bool| has(self.client_revision) && has(self.server_revision);
        for (pointer, wanted) in [
            ("/sampling", true),
            ("/roots", true),
            ("/elicitation", both(|revision| revision.elicitation_form)),
            ("/elicitation/url", both(|revision| revision.elicitation_url)),
        ] {
            expect(
                &format!("the server is told {pointer}"),
                &told.pointer(pointer).is_some(),
                &wanted,
            )?;
        }
        Ok(())
    }

    /// What the client saw of a question that was carried.
    fn asked(&self, kind: &str, word: &str, exchange: &Exchange) -> Result<(), Failure> {
        let [question] = exchange.questions.as_slice() else {
            return Err(format!("one question was expected; the client saw {exchange:?}"));
        };
        let method = match kind {
            "sampling" => "sampling/createMessage",
            "roots" => "roots/list",
            _ => "elicitation/create",
        };
        expect("the question", &question.get("method"), &Some(&json!(method)))?;
        let said = question.to_string().contains(&format!("the word is {word}"));
        holds("the question's words are lost", said || kind == "roots", question)?;
        if kind == "url" {
            self.has_page(question, word)?;
        }
        let heard = exchange.text()?;
        let wanted = if kind == "url" { "accept" } else { word };
        holds("the answer is not in the result", heard.contains(wanted), &heard)
    }

    /// A page has an id in 2025-11-25 and none since.
    fn has_page(&self, question: &Value, word: &str) -> Result<(), Failure> {
        let page = json!(format!("https://example.com/consent/{word}"));
        expect("the page", &question.pointer("/params/url"), &Some(&page))?;
        let id = question.pointer("/params/elicitationId").is_some();
        expect("the elicitationId", &id, &!self.able.is_modern())
    }

    /// What the server saw of the answer, and that it ran once (in 2026-07-28: one round for the question, one for the
    /// answer).
    fn answered(&self, since: usize, word: &str, reply: &Value, runs: &[Note]) -> Result<(), Failure> {
        if !self.server_revision.is_modern() {
            self.witness
                .wait(&self.server, since, "the answer to its question", &|note| {
                    note.message("/result") == Some(reply)
                })?;
            return expect("executions", &runs.len(), &1);
        }
        let [first, second] = runs else {
            return Err(format!("two rounds were expected; the server saw {runs:?}"));
        };
        let responses = first.message("/params/inputResponses");
        expect("answers in the first round", &responses, &None)?;
        let answered = second.message(&format!("/params/inputResponses/k-{word}"));
        expect("the answer in the second round", &answered, &Some(reply))?;
        let state = second.message("/params/requestState");
        expect("the server's own state", &state, &Some(&json!(format!("state-{word}"))))
    }

    /// The server was told, the client saw nothing of it, and the call went on to its own answer.
    fn refused_to_server(&self, since: usize, why: &Cannot, exchange: &Exchange, runs: &[Note]) -> Result<(), Failure> {
        holds("the client was asked", exchange.questions.is_empty(), exchange)?;
        let told = self
            .witness
            .wait(&self.server, since, "a refusal of its question", &|note| {
                note.message("/error").is_some()
            })?;
        expect("the code", &told.message("/error/code"), &Some(&json!(why.code())))?;
        let words = told
            .message("/error/message")
            .and_then(Value::as_str)
            .unwrap_or_default();
        holds("the words of the table", words.contains(why.constant()), &words)?;
        let heard = exchange.text()?;
        holds(
            "the call did not go on",
            heard.contains(&why.code().to_string()),
            &heard,
        )?;
        expect("executions", &runs.len(), &1)
    }

    /// Two questions in one call, side by side and one after the other: each reaches the client once, each answer finds
    /// its own question, and the call runs once.
    pub(super) fn several(&self) -> Result<(), Failure> {
        for (tool, rounds) in [("pair", 2), ("row", 3)] {
            let word = format!("{tool}-{}", self.client_revision.name);
            let since = self.witness.now();
            let answer = |question: &Value| match question.get("method").and_then(Value::as_str) {
                Some("roots/list") => reply("roots", &word),
                _ => reply("sampling", &word),
            };
            let wish = Wish {
                answer: &answer,
                ..Wish::none()
            };
            let exchange = self.tool(&self.able, tool, &json!({"word": word}), &wish)?;
            let mut asked: Vec<String> = exchange
                .questions
                .iter()
                .filter_map(|question| Some(question.get("method")?.as_str()?.to_owned()))
                .collect();
            asked.sort();
            expect(
                "the questions",
                &asked,
                &vec!["roots/list".to_owned(), "sampling/createMessage".to_owned()],
            )?;
            let heard: Value = serde_json::from_str(exchange.text()?).map_err(|e| e.to_string())?;
            let part = |which: usize| match self.server_revision.is_modern() {
                true => heard.get(which),
                false => heard.get(which)?.get("result"),
            };
            expect("the model's answer", &part(0), &Some(&reply("sampling", &word)))?;
            expect("the roots", &part(1), &Some(&reply("roots", &word)))?;
            let runs = self.runs(since, &self.able, tool, &word)?;
            let wanted = if self.server_revision.is_modern() { rounds } else { 1 };
            expect("executions, or rounds", &runs.len(), &wanted)?;
        }
        Ok(())
    }

    /// `-32042`: a server of 2025-11-25 wants a page opened before it runs the call at all.
    pub(super) fn visit(&self) -> Result<(), Failure> {
        if self.server_revision.is_modern() || !self.server_revision.elicitation_url {
            return Ok(());
        }
        let word = format!("visit-{}", self.client_revision.name);
        let since = self.witness.now();
        let answer = |_: &Value| json!({"action": "accept"});
        let wish = Wish {
            answer: &answer,
            ..Wish::none()
        };
        let exchange = self.tool(&self.able, "visit", &json!({"word": word}), &wish)?;
        let runs = self.runs(since, &self.able, "visit", &word)?;
        if !self.client_revision.elicitation_url {
            holds("the client was asked", exchange.questions.is_empty(), &exchange)?;
            let told = exchange.answer.to_string();
            let page = format!("https://example.com/consent/{word}");
            let is_told = told.contains(cannot::URL_REQUIRED.constant()) || told.contains(&page);
            holds("the client is not told of the page", is_told, &told)?;
            return expect("calls", &runs.len(), &1);
        }
        let [question] = exchange.questions.as_slice() else {
            return Err(format!("one question was expected; the client saw {exchange:?}"));
        };
        self.has_page(question, &word)?;
        expect("the answer", &exchange.text()?, &format!("visited {word}").as_str())?;
        expect("calls, of which the first did not run", &runs.len(), &2)
    }
}

/// The words that a client is told: in an error, or, where the table has no code, in a result that failed.
fn words(why: &Cannot, exchange: &Exchange) -> Result<String, Failure> {
    if why.code.is_some() {
        return error_words(why, exchange);
    }
    let failed = exchange.result()?.get("isError");
    expect("isError", &failed, &Some(&json!(true)))?;
    exchange.text().map(str::to_owned)
}

/// The words of an error with the code of the table. Only legacy clients are refused a question, and no revision before
/// 2026-07-28 has a code of its own for a capability that is missing.
fn error_words(why: &Cannot, exchange: &Exchange) -> Result<String, Failure> {
    let (code, words) = exchange.error()?;
    let wanted = if why.code() == -32021 { -32602 } else { why.code() };
    expect("the code", &code, &wanted)?;
    Ok(words)
}

/// What the client answers.
fn reply(kind: &str, word: &str) -> Value {
    match kind {
        "form" => json!({"action": "accept", "content": {"word": word}}),
        "url" => json!({"action": "accept"}),
        "sampling" => json!({"role": "assistant", "content": {"type": "text", "text": word}, "model": "matrix"}),
        _ => json!({"roots": [{"uri": format!("file:///{word}"), "name": "root"}]}),
    }
}
