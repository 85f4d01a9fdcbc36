//! The one address that the assistant knows, and the requests it sends there.
//!
//! In MCP 2026-07-28 a request is one HTTP POST that says everything about itself, so a client needs an HTTP library and
//! no session. What is not shown here: subscriptions, and questions that a server asks back; this client declares no
//! capabilities, so no server asks any.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};

use super::trace::Trace;

/// The revision that the assistant speaks, whatever the servers behind the endpoint do.
pub const REVISION: &str = "2026-07-28";
/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Where a refusal of Meshgate says whether the call ran.
const REFUSAL: &str = "dev.meshgate/refusal";

/// An endpoint, with the token that opens it.
pub struct Endpoint {
    url: Uri,
    authorization: Option<HeaderValue>,
    client: Client<HttpConnector, Full<Bytes>>,
    trace: Trace,
}

/// An answer, and what the way took.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The result.
    pub result: Map<String, Value>,
    /// From the request to the last byte of the answer.
    pub took: Duration,
    /// The span that was sent along, as 16 hexadecimal digits.
    pub span: String,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody answers at this address, or not with MCP.
    Away(String),
    /// The request was refused, in the words of who refused.
    Refused(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) | Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Trouble {}

impl Endpoint {
    /// An endpoint by its URL.
    pub fn new(url: &str, token: Option<&str>, trace: Trace) -> Result<Self, Trouble> {
        let away = |why: &str| Trouble::Away(format!("the endpoint `{url}` {why}"));
        let parsed: Uri = url.parse().map_err(|_| away("is no URL"))?;
        // TLS is left out to keep the example small: it is another connector for the client below, nothing else.
        if parsed.scheme_str() != Some("http") || parsed.authority().is_none() {
            return Err(away(
                "is not one that this example can call; it speaks plain `http://` only",
            ));
        }
        let authorization = token
            .map(|token| HeaderValue::from_str(&format!("Bearer {token}")))
            .transpose()
            .map_err(|_| away("cannot be given this token: it holds characters that no header may hold"))?
            .map(|mut value| {
                value.set_sensitive(true);
                value
            });
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Ok(Self {
            url: parsed,
            authorization,
            client: Client::builder(TokioExecutor::new()).build(connector),
            trace,
        })
    }

    /// The URL.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// The path, which is the view.
    pub fn view(&self) -> &str {
        self.url.path()
    }

    /// The trace that every request belongs to.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Sends a request; `name` is what it is aimed at, where it is aimed at something.
    pub async fn request(
        &self,
        method: &str,
        name: Option<&str>,
        mut params: Map<String, Value>,
    ) -> Result<Answered, Trouble> {
        let span = self.trace.span();
        params.insert(
            "_meta".into(),
            json!({
                "io.modelcontextprotocol/protocolVersion": REVISION,
                "io.modelcontextprotocol/clientInfo": {"name": "corpassist", "version": env!("CARGO_PKG_VERSION")},
                "io.modelcontextprotocol/clientCapabilities": {},
                "traceparent": self.trace.parent(&span),
            }),
        );
        let body = json!({"jsonrpc": "2.0", "id": span, "method": method, "params": params});
        let request = self.post(method, name, &body)?;
        let start = Instant::now();
        let answering = async { read(self.client.request(request).await.map_err(|error| self.away(&error))?).await };
        let (status, message) = tokio::time::timeout(ANSWER_TIME, answering)
            .await
            .unwrap_or_else(|_| Err(self.away(&"it did not answer in time; the request may have run")))?;
        let took = start.elapsed();
        let result = result(status, message)?;
        Ok(Answered { result, took, span })
    }

    /// The request as HTTP: what a gateway has to know stands in headers too.
    fn post(&self, method: &str, name: Option<&str>, body: &Value) -> Result<Request<Full<Bytes>>, Trouble> {
        let mut request = Request::post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| Trouble::Refused(format!("`{method}` cannot be asked: {error}")))
    }

    fn away(&self, why: &dyn fmt::Display) -> Trouble {
        Trouble::Away(format!("the endpoint `{}` cannot be asked: {why}", self.url))
    }
}

/// The status, and the response among the messages that came.
async fn read(response: Response<Incoming>) -> Result<(StatusCode, Option<Value>), Trouble> {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let stream = kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"));
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Trouble::Away(format!("the answer broke off: {error}")))?
        .to_bytes();
    let text = String::from_utf8_lossy(&body);
    let messages = if stream { events(&text) } else { vec![text.into_owned()] };
    let response = messages
        .iter()
        .filter_map(|message| serde_json::from_str::<Value>(message).ok())
        .find(|message| message.get("result").is_some() || message.get("error").is_some());
    Ok((status, response))
}

/// The contents of the events of a stream that has ended.
fn events(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let event = |event: &str| {
        let lines = event.lines().filter_map(|line| line.strip_prefix("data:"));
        lines
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n")
    };
    text.split("\n\n").map(event).collect()
}

fn result(status: StatusCode, message: Option<Value>) -> Result<Map<String, Value>, Trouble> {
    let Some(Value::Object(mut message)) = message else {
        return Err(match status {
            StatusCode::UNAUTHORIZED => Trouble::Refused("the endpoint does not accept the token".into()),
            _ => Trouble::Away(format!(
                "the endpoint answers HTTP {status} and no MCP; is the URL right?"
            )),
        });
    };
    match (message.remove("result"), message.remove("error")) {
        (Some(Value::Object(result)), _) => Ok(result),
        (_, Some(error)) => Err(Trouble::Refused(refusal(&error))),
        _ => Err(Trouble::Away("the endpoint's answer is no result".into())),
    }
}

/// An error in one sentence, with whether the call ran where that is known.
fn refusal(error: &Value) -> String {
    let message = error
        .get("message")
        .and_then(Value::as_str)
        .unwrap_or("no reason given");
    let ran = error
        .get("data")
        .and_then(|data| data.get(REFUSAL))
        .and_then(|refusal| refusal.get("executed"))
        .and_then(Value::as_str);
    match ran {
        Some("no") => format!("{message} (the call did not run)"),
        Some(_) => format!("{message} (the call may have run)"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_is_found_among_the_events_of_a_stream() {
        let found = events("event: message\ndata: {\"a\":\ndata: 1}\n\n: ping\n\nid: 2\r\ndata:{}\r\n\r\n");
        assert_eq!(found, ["{\"a\":\n1}", "", "{}", ""]);
    }

    #[test]
    fn a_refusal_says_whether_the_call_ran() {
        let error = json!({"code": -32000, "message": "busy", "data": {REFUSAL: {"executed": "no"}}});
        assert_eq!(refusal(&error), "busy (the call did not run)");
    }
}
