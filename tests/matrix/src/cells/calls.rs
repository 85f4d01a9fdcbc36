//! Calls and reads that ask nothing.

use meshgate_bridge::eras::Feature;
use serde_json::{Value, json};

use super::{NOTE, Scene, expect, holds};
use crate::{Failure, client::Wish, witness::Note};

impl Scene {
    pub(super) fn tools(&self) -> Result<(), Failure> {
        let word = self.word(Feature::Tools);
        let since = self.witness.now();
        let list = self.plain.call("tools/list", &json!({}), &Wish::none())?;
        self.marked(&list)?;
        let tools = list
            .result()?
            .get("tools")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let echo = tools.iter().find(|tool| tool.get("name") == Some(&json!("echo")));
        let echo = echo.ok_or_else(|| format!("the tool is not in the list: {tools:?}"))?;
        let offered = self.server_at_least("2025-06-18");
        let kept = self.plain.has("2025-06-18") && (self.plain.is_modern() || !self.server_revision.is_modern());
        expect(
            "an output schema",
            &echo.get("outputSchema").is_some(),
            &(offered && kept),
        )?;

        let exchange = self.tool(&self.plain, "echo", &json!({"word": word}), &Wish::none())?;
        expect("the text", &exchange.text()?, &format!("echo {word}").as_str())?;
        let content = exchange
            .result()?
            .get("content")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let mut is_lossy = self.rich(content.get(1..).unwrap_or_default(), &word)?;
        let structured = exchange.result()?.get("structuredContent").cloned();
        let sent = match (offered, self.server_revision.is_modern()) {
            (true, true) => Some(json!([word])),
            (true, false) => Some(json!({"word": word})),
            (false, _) => None,
        };
        is_lossy |= offered && !kept;
        expect("structured content", &structured, &sent.filter(|_| kept))?;

        let call = json!({"name": "echo", "arguments": {"word": word}});
        let note = self.saw(since, "tools/call", &call)?;
        let runs = self.runs(since, &self.plain, "echo", &word)?;
        expect("executions", &runs.len(), &1)?;
        holds(
            "a member of another era came to the server",
            note.message("/params/task").is_none(),
            &note.saw,
        )?;
        if !self.server_revision.is_modern() {
            let handshake = |other: &Note| other.at == note.at && other.is("initialize");
            let opened = self
                .witness
                .wait(&self.server, 0, "the handshake of the shared session", &handshake)?;
            let told = opened.message("/params/capabilities");
            expect("what a shared session declares", &told, &Some(&json!({})))?;
        }
        self.agrees(Feature::Tools, is_lossy)
    }

    fn server_at_least(&self, revision: &str) -> bool {
        self.server_revision.name >= revision
    }

    /// Content of later revisions: as it was, or in words. Answers whether anything was said in words.
    fn rich(&self, content: &[Value], word: &str) -> Result<bool, Failure> {
        let mut content = content.iter();
        let mut is_lossy = false;
        for (kind, since, said) in [
            ("audio", "2025-03-26", "audio/wav".to_owned()),
            ("resource_link", "2025-06-18", format!("note://page/{word}")),
        ] {
            if !self.server_at_least(since) {
                continue;
            }
            let block = content
                .next()
                .ok_or_else(|| format!("the block of {kind} is missing"))?;
            if self.plain.has(since) {
                expect("the kind of a block", &block.get("type"), &Some(&json!(kind)))?;
                continue;
            }
            is_lossy = true;
            let text = block.get("text").and_then(Value::as_str).unwrap_or_default();
            holds(
                "a block that the client cannot read must be said in words",
                text.contains(&said),
                block,
            )?;
        }
        expect("blocks that nobody sent", &content.next(), &None)?;
        Ok(is_lossy)
    }

    pub(super) fn resources(&self) -> Result<(), Failure> {
        let since = self.witness.now();
        let list = self.plain.call("resources/list", &json!({}), &Wish::none())?;
        self.marked(&list)?;
        expect(
            "the resource",
            &list.result()?.pointer("/resources/0/uri"),
            &Some(&json!(NOTE)),
        )?;
        let read = self
            .plain
            .call("resources/read", &json!({"uri": NOTE}), &Wish::none())?;
        self.marked(&read)?;
        let content = json!({"uri": NOTE, "mimeType": "text/plain", "text": "the note first"});
        expect("the content", &read.result()?.pointer("/contents/0"), &Some(&content))?;
        expect(
            "a hint for caches",
            &read.result()?.get("ttlMs").is_some(),
            &self.plain.is_modern(),
        )?;
        self.saw(since, "resources/read", &json!({"uri": NOTE}))?;

        let missing = self
            .plain
            .call("resources/read", &json!({"uri": "note://missing"}), &Wish::none())?;
        let code = if self.plain.is_modern() { -32602 } else { -32002 };
        expect("the code of a resource that does not exist", &missing.error()?.0, &code)?;
        if self.plain.is_modern() && !self.server_revision.is_modern() {
            let named = missing.answer.pointer("/error/data/uri");
            expect(
                "the resource that does not exist",
                &named,
                &Some(&json!("note://missing")),
            )?;
        }
        self.saw(since, "resources/read", &json!({"uri": "note://missing"}))?;
        self.agrees(Feature::Resources, false)
    }

    pub(super) fn templates(&self) -> Result<(), Failure> {
        let word = self.word(Feature::Templates);
        let since = self.witness.now();
        let list = self.plain.call("resources/templates/list", &json!({}), &Wish::none())?;
        self.marked(&list)?;
        let template = list.result()?.pointer("/resourceTemplates/0/uriTemplate");
        expect("the template", &template, &Some(&json!("note://page/{word}")))?;
        let uri = format!("note://page/{word}");
        let read = self.plain.call("resources/read", &json!({"uri": uri}), &Wish::none())?;
        let text = read.result()?.pointer("/contents/0/text");
        expect("the content", &text, &Some(&json!(format!("the note page/{word}"))))?;
        self.saw(since, "resources/read", &json!({"uri": uri}))?;
        self.agrees(Feature::Templates, false)
    }

    pub(super) fn prompts(&self) -> Result<(), Failure> {
        let word = self.word(Feature::Prompts);
        let since = self.witness.now();
        let list = self.plain.call("prompts/list", &json!({}), &Wish::none())?;
        self.marked(&list)?;
        let prompts = list
            .result()?
            .get("prompts")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let named = prompts.iter().any(|prompt| prompt.get("name") == Some(&json!("greet")));
        holds("the prompt is not in the list", named, &prompts.len())?;
        let params = json!({"name": "greet", "arguments": {"who": word}});
        let got = self.plain.call("prompts/get", &params, &Wish::none())?;
        self.marked(&got)?;
        let text = got.result()?.pointer("/messages/0/content/text");
        expect("the prompt", &text, &Some(&json!(format!("greet {word}"))))?;
        let messages = got
            .result()?
            .get("messages")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let content: Vec<Value> = messages
            .iter()
            .skip(1)
            .filter_map(|one| one.get("content").cloned())
            .collect();
        let is_lossy = self.rich(&content, &word)?;
        self.saw(since, "prompts/get", &params)?;
        self.agrees(Feature::Prompts, is_lossy)
    }

    pub(super) fn completion(&self) -> Result<(), Failure> {
        let word = self.word(Feature::Completion);
        let since = self.witness.now();
        let argument = json!({"name": "who", "value": word});
        let mut params = json!({"ref": {"type": "ref/prompt", "name": "greet"}, "argument": argument});
        let context = json!({"arguments": {"mood": "kind"}});
        let has_context = self.plain.has("2025-06-18");
        if let (true, Some(members)) = (has_context, params.as_object_mut()) {
            members.insert("context".into(), context.clone());
        }
        let exchange = self.plain.call("completion/complete", &params, &Wish::none())?;
        self.marked(&exchange)?;
        let values = exchange.result()?.pointer("/completion/values");
        let wanted = json!([format!("{word}-a"), format!("{word}-b")]);
        expect("the values", &values, &Some(&wanted))?;
        let note = self.saw(since, "completion/complete", &json!({"argument": argument}))?;
        let knows = self.server_at_least("2025-06-18");
        let arrived = note.message("/params/context").cloned();
        expect(
            "the context at the server",
            &arrived,
            &(has_context && knows).then_some(context),
        )?;
        self.agrees(Feature::Completion, has_context && !knows)
    }
}
