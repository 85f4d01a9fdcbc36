//! What a scripted server says, and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{Recorded, ScriptedServer};

/// One step of a streamed answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// A message, as one event without an id.
    Message(String),
    /// An event with everything an event can have. Empty data primes the stream.
    Event {
        /// The event's id.
        id: Option<String>,
        /// `retry`, in milliseconds.
        retry_ms: Option<u64>,
        /// The data; a message, or empty.
        data: String,
    },
    /// These bytes on the stream, whatever they are.
    Bytes(Vec<u8>),
    /// Nothing for a while.
    Wait(Duration),
    /// Nothing until the server has received a body that contains this text.
    Until(String),
    /// Nothing more, and the stream stays open until the client leaves.
    Hold,
    /// The stream breaks off.
    Break,
}

impl Step {
    /// A message, as one event.
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }
}

/// The answer to one HTTP request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A status, headers and a whole body.
    Whole {
        /// The status.
        status: u16,
        /// More headers.
        headers: HeaderMap,
        /// The body.
        body: String,
    },
    /// `200` with `text/event-stream`.
    Stream(Vec<Step>),
}

impl Answer {
    /// `200` with a JSON body.
    pub fn json(body: impl Into<String>) -> Self {
        Self::whole(200, body)
    }

    /// `200` with a JSON-RPC result.
    pub fn result(result: &str) -> Self {
        Self::json(format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#))
    }

    /// `200` with a JSON-RPC error.
    pub fn error(code: i64, message: &str) -> Self {
        Self::json(format!(
            r#"{{"jsonrpc":"2.0","id":$ID,"error":{{"code":{code},"message":"{message}"}}}}"#
        ))
    }

    /// A status with a JSON body.
    pub fn whole(status: u16, body: impl Into<String>) -> Self {
        Self::Whole {
            status,
            headers: HeaderMap::new(),
            body: body.into(),
        }
    }

    /// A status alone.
    pub fn status(status: u16) -> Self {
        Self::whole(status, "")
    }

    /// A stream of these messages.
    pub fn stream(steps: impl IntoIterator<Item = Step>) -> Self {
        Self::Stream(steps.into_iter().collect())
    }

    /// Adds a header to a whole answer.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.insert(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).expect("a header value"),
            );
        }
        self
    }
}

type Rule = Arc<dyn Fn(&Recorded) -> Option<Answer> + Send + Sync>;

/// What a server will say. Later rules win over earlier ones.
#[derive(Clone)]
pub struct Script {
    pub(crate) legacy: bool,
    pub(crate) sessions: bool,
    pub(crate) get_stream: bool,
    pub(crate) revision: String,
    pub(crate) capabilities: String,
    pub(crate) tools: BTreeMap<String, String>,
    rules: Vec<Rule>,
}

impl Script {
    pub(crate) fn new(revision: &str, legacy: bool) -> Self {
        Self {
            legacy,
            sessions: legacy,
            get_stream: legacy,
            revision: revision.to_owned(),
            capabilities: r#"{"tools":{"listChanged":true}}"#.to_owned(),
            tools: BTreeMap::new(),
            rules: Vec::new(),
        }
    }

    /// What the server says it offers, as JSON.
    #[must_use]
    pub fn capabilities(mut self, json: &str) -> Self {
        json.clone_into(&mut self.capabilities);
        self
    }

    /// A legacy server that hands out no session id.
    #[must_use]
    pub fn without_sessions(mut self) -> Self {
        self.sessions = false;
        self
    }

    /// A legacy server that answers GET with 405.
    #[must_use]
    pub fn without_get(mut self) -> Self {
        self.get_stream = false;
        self
    }

    /// Lists a tool that takes anything, and answers calls of it with this JSON-RPC result.
    #[must_use]
    pub fn tool(self, name: &str, result: &str) -> Self {
        let definition = format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#);
        let answer = Answer::result(result);
        self.tool_as(name, &definition, move |_| answer.clone())
    }

    /// Lists a tool by its whole definition, and answers calls of it by a rule.
    #[must_use]
    pub fn tool_as(
        mut self,
        name: &str,
        definition: &str,
        answer: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.tools.insert(name.to_owned(), definition.to_owned());
        let name = name.to_owned();
        self.rules.push(Arc::new(move |request| {
            let json = request.json();
            (json["method"] == "tools/call" && json["params"]["name"] == name.as_str()).then(|| answer(request))
        }));
        self
    }

    /// Answers a JSON-RPC method.
    #[must_use]
    pub fn on(mut self, method: &str, answer: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> Self {
        let method = method.to_owned();
        self.rules.push(Arc::new(move |request| {
            (request.method() == method).then(|| answer(request))
        }));
        self
    }

    /// Answers any HTTP request that the rule has an answer for.
    #[must_use]
    pub fn when(mut self, rule: impl Fn(&Recorded) -> Option<Answer> + Send + Sync + 'static) -> Self {
        self.rules.push(Arc::new(rule));
        self
    }

    /// Starts the server on a free port of the loopback address.
    pub async fn start(self) -> ScriptedServer {
        ScriptedServer::start(self).await
    }

    /// The answer to a POST, apart from what sessions do to it.
    pub(crate) fn answer(&self, request: &Recorded) -> Answer {
        self.rules
            .iter()
            .rev()
            .find_map(|rule| rule(request))
            .unwrap_or_else(|| self.by_default(request))
    }

    /// The answer to a GET or DELETE, if a rule has one.
    pub(crate) fn scripted_other(&self, request: &Recorded) -> Option<Answer> {
        self.rules.iter().rev().find_map(|rule| rule(request))
    }

    fn by_default(&self, request: &Recorded) -> Answer {
        let method = request.method();
        let info = r#"{"name":"scripted","version":"1"}"#;
        let (revision, capabilities) = (&self.revision, &self.capabilities);
        match method.as_str() {
            _ if request.json()["id"].is_null() || request.is_response() => Answer::status(202),
            "initialize" if self.legacy => Answer::result(&format!(
                r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{info}}}"#
            )),
            "server/discover" if !self.legacy => Answer::result(&format!(
                r#"{{"resultType":"complete","supportedVersions":["{revision}"],"capabilities":{capabilities},"ttlMs":0,"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#
            )),
            "tools/list" => {
                let tools: Vec<&str> = self.tools.values().map(String::as_str).collect();
                let modern = if self.legacy {
                    ""
                } else {
                    r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#
                };
                Answer::result(&format!(r#"{{"tools":[{}]{modern}}}"#, tools.join(",")))
            }
            "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" if self.legacy => {
                Answer::result("{}")
            }
            _ if self.legacy => Answer::error(-32601, "method not found"),
            _ => match Answer::error(-32601, "method not found") {
                Answer::Whole { headers, body, .. } => Answer::Whole {
                    status: 404,
                    headers,
                    body,
                },
                stream => stream,
            },
        }
    }
}
