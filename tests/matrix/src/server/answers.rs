//! Requests that are answered at once: the handshake, the lists, reads, prompts, completion, session-wide requests.

use serde_json::{Value, json};

use super::{Arrival, PROMPTS, PROMPTS_ON_PAGE, Peer, error};

impl Peer {
    pub(super) fn plain(&self, arrival: &Arrival, id: &Value, method: &str, params: &Value) -> Value {
        let known = match (method, self.is_modern()) {
            ("initialize", false) => Some(self.initialized()),
            ("server/discover", true) => Some(self.discovered()),
            ("ping" | "logging/setLevel", false) => Some(json!({})),
            ("resources/subscribe", false) => {
                let uri = text(params, "uri");
                self.state.lock().subscribed.push((arrival.at.clone(), uri));
                Some(json!({}))
            }
            ("resources/unsubscribe", false) => {
                let gone = (arrival.at.clone(), text(params, "uri"));
                self.state.lock().subscribed.retain(|one| *one != gone);
                Some(json!({}))
            }
            ("tools/list", _) => Some(self.tools()),
            ("resources/list", _) => Some(json!({"resources": [{"uri": "note://first", "name": "first",
                "mimeType": "text/plain"}]})),
            ("resources/templates/list", _) => Some(json!({"resourceTemplates": [{"uriTemplate": "note://page/{word}",
                "name": "page"}]})),
            ("resources/read", _) => {
                let uri = text(params, "uri");
                let Some(note) = uri.strip_prefix("note://").filter(|note| *note != "missing") else {
                    let code = if self.is_modern() { -32602 } else { -32002 };
                    return error(id, code, "no such note");
                };
                Some(json!({"contents": [{"uri": uri, "mimeType": "text/plain", "text": format!("the note {note}")}]}))
            }
            ("prompts/list", _) => prompts(params.get("cursor").and_then(Value::as_str)),
            ("prompts/get", _) => Some(self.greeting(params)),
            ("completion/complete", _) => {
                let word = params
                    .pointer("/argument/value")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                Some(
                    json!({"completion": {"values": [format!("{word}-a"), format!("{word}-b")], "total": 2,
                    "hasMore": false}}),
                )
            }
            _ => None,
        };
        match known {
            Some(result) => self.result(id, result, true),
            None => error(id, -32601, &format!("no method {method}")),
        }
    }

    /// A result as the revision has it.
    pub(super) fn result(&self, id: &Value, mut result: Value, is_cacheable: bool) -> Value {
        if let (true, Some(members)) = (self.is_modern(), result.as_object_mut()) {
            members.entry("resultType").or_insert(json!("complete"));
            if is_cacheable {
                members.insert("ttlMs".into(), json!(0));
                members.insert("cacheScope".into(), json!("private"));
            }
        }
        json!({"jsonrpc": "2.0", "id": id, "result": result})
    }

    fn capabilities(&self) -> Value {
        let mut capabilities = json!({
            "tools": {"listChanged": true},
            "resources": {"subscribe": true, "listChanged": true},
            "prompts": {"listChanged": true},
            "logging": {},
        });
        if let (true, Some(members)) = (self.has("2025-03-26"), capabilities.as_object_mut()) {
            members.insert("completions".into(), json!({}));
        }
        capabilities
    }

    fn initialized(&self) -> Value {
        json!({"protocolVersion": self.revision, "capabilities": self.capabilities(),
            "serverInfo": {"name": self.name, "version": "1"}})
    }

    fn discovered(&self) -> Value {
        json!({"supportedVersions": [self.revision], "capabilities": self.capabilities()})
    }

    fn tools(&self) -> Value {
        let own = [
            "echo", "steps", "log", "hold", "grow", "touch", "ask", "pair", "row", "visit",
        ]
        .map(str::to_owned);
        let grown = self.state.lock().grown.clone();
        let tools = own.into_iter().chain(grown).map(|name| {
            let mut tool =
                json!({"name": name, "description": "a tool of the matrix", "inputSchema": {"type": "object"}});
            if let (true, Some(members)) = (self.has("2025-06-18") && name == "echo", tool.as_object_mut()) {
                let kind = if self.is_modern() { "array" } else { "object" };
                members.insert("outputSchema".into(), json!({"type": kind}));
            }
            tool
        });
        json!({"tools": tools.collect::<Vec<_>>()})
    }

    /// A prompt with everything that the revision can put into one.
    fn greeting(&self, params: &Value) -> Value {
        let word = params
            .pointer("/arguments/who")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let mut messages = vec![json!({"role": "user", "content": {"type": "text", "text": format!("greet {word}")}})];
        messages.extend(
            self.rich(word)
                .into_iter()
                .map(|content| json!({"role": "user", "content": content})),
        );
        json!({"description": "a greeting", "messages": messages})
    }

    /// Content that came with later revisions.
    pub(super) fn rich(&self, word: &str) -> Vec<Value> {
        let audio = json!({"type": "audio", "data": "AAAA", "mimeType": "audio/wav"});
        let link = json!({"type": "resource_link", "uri": format!("note://page/{word}"), "name": "page"});
        let mut rich = Vec::new();
        rich.extend(self.has("2025-03-26").then_some(audio));
        rich.extend(self.has("2025-06-18").then_some(link));
        rich
    }
}

/// One page of the prompts; nothing for a cursor that was never given.
fn prompts(cursor: Option<&str>) -> Option<Value> {
    let from = match cursor {
        None => 0,
        Some(cursor) => cursor.strip_prefix("from-")?.parse::<usize>().ok()?,
    };
    let to = (from + PROMPTS_ON_PAGE).min(PROMPTS);
    let mut page: Vec<Value> = (from..to).map(|nth| json!({"name": format!("p{nth:04}")})).collect();
    if from == 0 {
        page.push(json!({"name": "greet", "arguments": [{"name": "who", "required": true}]}));
        page.push(json!({"name": "asking", "arguments": [{"name": "kind"}, {"name": "word"}]}));
    }
    let mut result = json!({"prompts": page});
    if let (true, Some(members)) = (to < PROMPTS, result.as_object_mut()) {
        members.insert("nextCursor".into(), json!(format!("from-{to}")));
    }
    Some(result)
}

fn text(params: &Value, name: &str) -> String {
    params.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}
