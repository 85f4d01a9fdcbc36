//! A client of one revision, spelled by hand, and what it gets.
//!
//! Before 2026-07-28 it opens a session, answers questions that arrive on the stream of its call, and holds a GET stream.
//! Since, it says everything with each request, answers `input_required` by asking again, and listens by a request.

mod wishes;

use std::{
    net::{Shutdown, TcpStream},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use serde_json::{Value, json};

pub(crate) use wishes::{Changes, Wish};

use crate::{
    Failure,
    wire::{Arrived, Events, connect, send},
};

/// More rounds than any cell needs.
const ROUNDS_MAX: usize = 5;

/// One client at one view.
pub(crate) struct Client {
    pub(crate) revision: &'static str,
    authority: String,
    path: String,
    /// What it declares: nothing, or everything that its revision has.
    capabilities: Value,
    session: Option<String>,
    ids: AtomicU64,
}

/// What came of a request.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Notifications before the answer.
    pub(crate) notices: Vec<Value>,
    /// Questions before the answer, as method and parameters.
    pub(crate) questions: Vec<Value>,
    /// The response; null when there was none.
    pub(crate) answer: Value,
}

/// A call that has begun.
pub(crate) struct Begun {
    id: u64,
    events: Events,
    stream: TcpStream,
}

/// The body of a response, before it is read.
enum Said {
    One(Value),
    Events(Events),
}

impl Client {
    /// Opens a session where the revision has them.
    pub(crate) fn open(revision: &'static str, authority: &str, path: &str, declares: bool) -> Result<Self, Failure> {
        let mut client = Self {
            revision,
            authority: authority.to_owned(),
            path: path.to_owned(),
            capabilities: if declares { capabilities(revision) } else { json!({}) },
            session: None,
            ids: AtomicU64::new(1),
        };
        if client.is_modern() {
            return Ok(client);
        }
        let params = json!({"protocolVersion": revision, "capabilities": client.capabilities,
            "clientInfo": {"name": "matrix", "version": "1"}});
        let request = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let mut response = client.post(&request, None)?.1;
        client.session = response.header("mcp-session-id").map(str::to_owned);
        let body = response.whole()?;
        let answer: Value = serde_json::from_slice(&body).map_err(|e| format!("initialize: {e}"))?;
        if answer.pointer("/result/protocolVersion").and_then(Value::as_str) != Some(revision) {
            return Err(format!("initialize of {revision} was answered {answer}"));
        }
        client.notify(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(client)
    }

    pub(crate) fn is_modern(&self) -> bool {
        self.has("2026-07-28")
    }

    /// Whether the client's revision is this one or later.
    pub(crate) fn has(&self, revision: &str) -> bool {
        self.revision >= revision
    }

    /// A request and its answer, questions answered on the way.
    pub(crate) fn call(&self, method: &str, params: &Value, wish: &Wish<'_>) -> Result<Exchange, Failure> {
        let mut exchange = Exchange::default();
        let mut params = params.clone();
        for _ in 0..ROUNDS_MAX {
            let (id, said, _) = self.ask(method, &params, wish)?;
            match said {
                Said::One(answer) => exchange.answer = answer,
                Said::Events(mut events) => self.read(&mut events, &mut exchange, wish)?,
            }
            if exchange.answer.get("id") != Some(&json!(id)) {
                return Err(format!("request {id} was answered {}", exchange.answer));
            }
            let result = exchange.answer.get("result").cloned().unwrap_or_default();
            if result.get("resultType") != Some(&json!("input_required")) {
                return Ok(exchange);
            }
            self.another_round(&result, &mut params, &mut exchange, wish)?;
        }
        Err(format!("{method} never ended: {}", exchange.answer))
    }

    /// Reads up to the response. Questions are answered as they come.
    fn read(&self, events: &mut Events, exchange: &mut Exchange, wish: &Wish<'_>) -> Result<(), Failure> {
        while let Some(message) = events.next()? {
            match (message.get("method").is_some(), message.get("id")) {
                (true, Some(id)) => {
                    if self.is_modern() {
                        return Err(format!("a modern client was sent a request: {message}"));
                    }
                    let answer = json!({"jsonrpc": "2.0", "id": id, "result": (wish.answer)(&message)});
                    exchange.questions.push(message);
                    self.notify(&answer)?;
                }
                (true, None) => exchange.notices.push(message),
                (false, _) => {
                    exchange.answer = message;
                    return Ok(());
                }
            }
        }
        Err("the stream ended without a response".to_owned())
    }

    /// Answers what a modern answer asks, in the parameters of the next request.
    fn another_round(
        &self,
        result: &Value,
        params: &mut Value,
        exchange: &mut Exchange,
        wish: &Wish<'_>,
    ) -> Result<(), Failure> {
        if !self.is_modern() {
            return Err(format!("a legacy client was sent {result}"));
        }
        let mut responses = json!({});
        let asked = result.get("inputRequests").and_then(Value::as_object);
        for (key, question) in asked.into_iter().flatten() {
            exchange.questions.push(question.clone());
            if let Some(responses) = responses.as_object_mut() {
                responses.insert(key.clone(), (wish.answer)(question));
            }
        }
        let Some(params) = params.as_object_mut() else {
            return Err("parameters that are no object".to_owned());
        };
        params.insert("inputResponses".into(), responses);
        params.remove("requestState");
        if let Some(state) = result.get("requestState") {
            params.insert("requestState".into(), state.clone());
        }
        Ok(())
    }

    /// Begins a call that will not be waited for.
    pub(crate) fn begin(&self, method: &str, params: &Value, wish: &Wish<'_>) -> Result<Begun, Failure> {
        match self.ask(method, params, wish)? {
            (id, Said::Events(events), stream) => Ok(Begun { id, events, stream }),
            (_, Said::One(answer), _) => Err(format!("expected a stream, got {answer}")),
        }
    }

    /// Takes a call back, as the revision does. Answers what still came of it.
    pub(crate) fn cancel(&self, mut begun: Begun) -> Result<Vec<Value>, Failure> {
        let mut rest = Vec::new();
        if self.is_modern() {
            begun.stream.shutdown(Shutdown::Both).map_err(|e| e.to_string())?;
            return Ok(rest);
        }
        self.take_back(begun.id)?;
        while let Some(message) = begun.events.next()? {
            rest.push(message);
        }
        Ok(rest)
    }

    /// Says that a call of the session is not wanted any more.
    pub(crate) fn take_back(&self, id: u64) -> Result<(), Failure> {
        self.notify(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": id, "reason": "the matrix"}}))
    }

    /// Sends what has no answer.
    pub(crate) fn notify(&self, message: &Value) -> Result<(), Failure> {
        let mut response = self.post(message, None)?.1;
        let status = response.status();
        let body = response.whole()?;
        if status == 202 {
            Ok(())
        } else {
            Err(format!(
                "{message} was answered {status} {}",
                String::from_utf8_lossy(&body)
            ))
        }
    }

    fn ask(&self, method: &str, params: &Value, wish: &Wish<'_>) -> Result<(u64, Said, TcpStream), Failure> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut params = params.clone();
        let mut meta = json!({});
        if let Some(members) = meta.as_object_mut() {
            if self.is_modern() {
                members.insert("io.modelcontextprotocol/protocolVersion".into(), json!(self.revision));
                members.insert(
                    "io.modelcontextprotocol/clientCapabilities".into(),
                    self.capabilities.clone(),
                );
                let info = json!({"name": "matrix", "version": "1"});
                members.insert("io.modelcontextprotocol/clientInfo".into(), info);
                if let Some(level) = wish.level {
                    members.insert("io.modelcontextprotocol/logLevel".into(), json!(level));
                }
            }
            if let Some(token) = wish.token {
                members.insert("progressToken".into(), json!(token));
            }
        }
        if let (true, Some(params)) = (meta != json!({}), params.as_object_mut()) {
            params.insert("_meta".into(), meta);
        }
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let name = params.get("name").or_else(|| params.get("uri")).and_then(Value::as_str);
        let name = name.filter(|_| matches!(method, "tools/call" | "prompts/get" | "resources/read"));
        let (stream, mut response) = self.post(&message, name)?;
        if response.is_events() {
            return Ok((id, Said::Events(response.events()), stream));
        }
        let body = response.whole()?;
        let answer = serde_json::from_slice(&body).map_err(|e| {
            format!(
                "{method}: {} {e}: {}",
                response.status(),
                String::from_utf8_lossy(&body)
            )
        })?;
        Ok((id, Said::One(answer), stream))
    }

    fn post(&self, message: &Value, name: Option<&str>) -> Result<(TcpStream, Arrived), Failure> {
        let mut stream = connect(&self.authority)?;
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
        let mut headers = self.headers();
        headers.push(("content-type", "application/json"));
        if self.is_modern() {
            headers.push(("mcp-method", method));
            headers.extend(name.map(|name| ("mcp-name", name)));
        }
        let first = format!("POST {} HTTP/1.1", self.path);
        send(&mut stream, &first, &headers, message.to_string().as_bytes())?;
        let response = Arrived::read(stream.try_clone().map_err(|e| e.to_string())?, true)?;
        Ok((stream, response))
    }

    fn headers(&self) -> Vec<(&'static str, &str)> {
        let mut headers = vec![
            ("host", self.authority.as_str()),
            ("accept", "application/json, text/event-stream"),
            ("connection", "close"),
        ];
        let versioned = self.session.is_some() && self.has("2025-06-18") || self.is_modern();
        headers.extend(versioned.then_some(("mcp-protocol-version", self.revision)));
        headers.extend(self.session.as_deref().map(|session| ("mcp-session-id", session)));
        headers
    }

    /// Hears of changed lists, and of updates of `uri`, from here on.
    pub(crate) fn changes(&self, uri: &str) -> Result<Changes, Failure> {
        let (say, hear) = mpsc::channel();
        let (mut events, stream) = if self.is_modern() {
            let filter = json!({"notifications": {"toolsListChanged": true, "resourceSubscriptions": [uri]}});
            let begun = self.begin("subscriptions/listen", &filter, &Wish::none())?;
            (begun.events, begun.stream)
        } else {
            let mut stream = connect(&self.authority)?;
            let headers = self.headers();
            send(&mut stream, &format!("GET {} HTTP/1.1", self.path), &headers, b"")?;
            let response = Arrived::read(stream.try_clone().map_err(|e| e.to_string())?, true)?;
            if !response.is_events() {
                return Err(format!("the GET stream was answered {}", response.first));
            }
            (response.events(), stream)
        };
        // Ends with the stream, which ends with the value that is returned.
        std::thread::spawn(move || {
            while let Ok(Some(message)) = events.next() {
                if say.send(message).is_err() {
                    break;
                }
            }
        });
        let changes = Changes::new(hear, stream);
        if self.is_modern() {
            let first = changes.wait("notifications/subscriptions/acknowledged")?;
            if first.pointer("/params/notifications/resourceSubscriptions") != Some(&json!([uri])) {
                return Err(format!("the listen was acknowledged as {first}"));
            }
        } else {
            let exchange = self.call("resources/subscribe", &json!({"uri": uri}), &Wish::none())?;
            exchange.result()?;
        }
        Ok(changes)
    }

    /// Ends the session.
    pub(crate) fn close(&self) -> Result<(), Failure> {
        if self.session.is_none() {
            return Ok(());
        }
        let mut stream = connect(&self.authority)?;
        send(
            &mut stream,
            &format!("DELETE {} HTTP/1.1", self.path),
            &self.headers(),
            b"",
        )?;
        Arrived::read(stream, true).map(drop)
    }
}

impl Begun {
    /// Closes the connection. Answers the id of the call.
    pub(crate) fn leave(self) -> Result<u64, Failure> {
        self.stream.shutdown(Shutdown::Both).map_err(|e| e.to_string())?;
        Ok(self.id)
    }

    /// The next message of the call.
    pub(crate) fn next(&mut self) -> Result<Value, Failure> {
        self.events
            .next()?
            .ok_or_else(|| "the stream ended although the call goes on".to_owned())
    }
}

impl Exchange {
    /// The result; an error is a failure.
    pub(crate) fn result(&self) -> Result<&Value, Failure> {
        self.answer
            .get("result")
            .ok_or_else(|| format!("expected a result: {}", self.answer))
    }

    /// The error; a result is a failure.
    pub(crate) fn error(&self) -> Result<(i64, String), Failure> {
        let code = self.answer.pointer("/error/code").and_then(Value::as_i64);
        let message = self.answer.pointer("/error/message").and_then(Value::as_str);
        match (code, message) {
            (Some(code), Some(message)) => Ok((code, message.to_owned())),
            _ => Err(format!("expected an error: {}", self.answer)),
        }
    }

    /// The first text of a result of a call, a prompt or a resource.
    pub(crate) fn text(&self) -> Result<&str, Failure> {
        let result = self.result()?;
        let places = ["/content/0/text", "/messages/0/content/text", "/contents/0/text"];
        let text = places.iter().find_map(|place| result.pointer(place)?.as_str());
        text.ok_or_else(|| format!("expected text: {}", self.answer))
    }
}

/// Everything that a client of the revision can declare of questions.
fn capabilities(revision: &str) -> Value {
    let mut all = json!({"sampling": {}, "roots": {}});
    let elicitation = match revision {
        "2024-11-05" | "2025-03-26" => None,
        "2025-06-18" => Some(json!({})),
        _ => Some(json!({"form": {}, "url": {}})),
    };
    if let (Some(elicitation), Some(members)) = (elicitation, all.as_object_mut()) {
        members.insert("elicitation".into(), elicitation);
    }
    all
}
