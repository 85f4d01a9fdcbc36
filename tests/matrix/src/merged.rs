//! One view of all ten servers, as each client sees it.
//!
//! The cells look at one server at a time. Here all of them stand behind one address, with names and addresses in the
//! view's own words, and what must be seen besides the answer is that nobody but the right server saw the call.

use std::sync::Arc;

use meshgate_bridge::eras::Feature;
use meshgate_mcp::Revision;
use serde_json::{Value, json};

use crate::{
    Failure,
    cells::{NOTE, expect, holds},
    client::{Client, Exchange, Wish},
    witness::{Note, Witness},
};

/// The view's name in the mesh file.
pub(crate) const VIEW: &str = "all";

/// What is tried.
pub(crate) const FEATURES: [Feature; 5] = [
    Feature::Tools,
    Feature::Resources,
    Feature::Prompts,
    Feature::Completion,
    Feature::Sampling,
];

/// One client at the view.
pub(crate) struct Merged<'a> {
    witness: &'a Arc<Witness>,
    servers: &'a [String],
    plain: Client,
    able: Client,
}

impl<'a> Merged<'a> {
    pub(crate) fn open(
        witness: &'a Arc<Witness>,
        authority: &str,
        servers: &'a [String],
        client: &'static Revision,
    ) -> Result<Self, Failure> {
        let path = format!("/views/{VIEW}/mcp");
        Ok(Self {
            witness,
            servers,
            plain: Client::open(client.name, authority, &path, false)?,
            able: Client::open(client.name, authority, &path, true)?,
        })
    }

    /// Tries one feature with every server.
    pub(crate) fn try_all(&self, feature: Feature) -> Result<(), Failure> {
        match feature {
            Feature::Resources => self.resources(),
            Feature::Tools => {
                let list = self.plain.call("tools/list", &json!({}), &Wish::none())?;
                let shown = list.result()?.to_string();
                let missing = self
                    .servers
                    .iter()
                    .find(|name| !shown.contains(&format!("\"{name}__echo\"")));
                expect("servers without a tool in the list", &missing, &None)?;
                self.each(feature)
            }
            _ => self.each(feature),
        }
    }

    fn each(&self, feature: Feature) -> Result<(), Failure> {
        for (number, server) in self.servers.iter().enumerate() {
            let word = format!("all-{number}-{}-{}", feature.name(), self.plain.revision);
            let since = self.witness.now();
            let exchange = self.one(feature, server, &word);
            let exchange = exchange.map_err(|failure| format!("{server}: {failure}"))?;
            let said = exchange.result()?.to_string();
            holds(
                &format!("{server}: the word is not in the answer"),
                said.contains(&word),
                &said,
            )?;
            let carries = |note: &Note| {
                note.message("/params")
                    .is_some_and(|params| params.to_string().contains(&word))
            };
            self.witness.wait(server, since, "the call", &carries)?;
            self.nobody_else(server, since, &carries)?;
        }
        Ok(())
    }

    fn one(&self, feature: Feature, server: &str, word: &str) -> Result<Exchange, Failure> {
        let sampled = json!({"role": "assistant", "content": {"type": "text", "text": word}, "model": "matrix"});
        let answer = |_: &Value| sampled.clone();
        let asked = Wish {
            answer: &answer,
            ..Wish::none()
        };
        let name = |own: &str| format!("{server}__{own}");
        match feature {
            Feature::Prompts => {
                let params = json!({"name": name("greet"), "arguments": {"who": word}});
                self.plain.call("prompts/get", &params, &Wish::none())
            }
            Feature::Completion => {
                let of = json!({"type": "ref/prompt", "name": name("greet")});
                let params = json!({"ref": of, "argument": {"name": "who", "value": word}});
                self.plain.call("completion/complete", &params, &Wish::none())
            }
            Feature::Sampling => {
                let params = json!({"name": name("ask"), "arguments": {"kind": "sampling", "word": word}});
                let exchange = self.able.call("tools/call", &params, &asked)?;
                expect("questions", &exchange.questions.len(), &1)?;
                Ok(exchange)
            }
            _ => {
                let params = json!({"name": name("echo"), "arguments": {"word": word}});
                self.plain.call("tools/call", &params, &Wish::none())
            }
        }
    }

    fn nobody_else(&self, server: &str, since: usize, fits: &dyn Fn(&Note) -> bool) -> Result<(), Failure> {
        let others = self.servers.iter().filter(|other| *other != server);
        let saw: Vec<Note> = others.flat_map(|other| self.witness.seen(other, since, fits)).collect();
        holds(
            &format!("a call for {server} came to another server"),
            saw.is_empty(),
            &saw,
        )
    }

    /// Every server has a resource of the same address; the view shows ten addresses, and each leads to one of them.
    fn resources(&self) -> Result<(), Failure> {
        let list = self.plain.call("resources/list", &json!({}), &Wish::none())?;
        let listed = list
            .result()?
            .get("resources")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let uris: Vec<&str> = listed.iter().filter_map(|one| one.get("uri")?.as_str()).collect();
        expect("addresses", &uris.len(), &self.servers.len())?;
        let reads = |note: &Note| note.is("resources/read") && note.message("/params/uri") == Some(&json!(NOTE));
        let since = self.witness.now();
        for uri in uris {
            let read = self.plain.call("resources/read", &json!({"uri": uri}), &Wish::none())?;
            let content = read.result()?.pointer("/contents/0").cloned().unwrap_or_default();
            expect("the text", &content.get("text"), &Some(&json!("the note first")))?;
            expect("the address in the content", &content.get("uri"), &Some(&json!(uri)))?;
        }
        for server in self.servers {
            self.witness.wait(server, since, "one of the reads", &reads)?;
            let seen = self.witness.seen(server, since, &reads).len();
            expect(&format!("reads of {server}"), &seen, &1)?;
        }
        Ok(())
    }
}
