//! What a scripted server was told, byte for byte.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::value::RawValue;

/// One HTTP request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The HTTP method.
    pub verb: Method,
    /// The path.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Recorded {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON-RPC method; empty for a response.
    pub fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("the header is ASCII"))
    }

    /// Whether the body is a JSON-RPC response.
    pub fn is_response(&self) -> bool {
        let json = self.json();
        json.is_object() && json["method"].is_null()
    }

    /// Puts the request's own id and progress token into an answer.
    pub(crate) fn fill(&self, template: &str) -> String {
        let parsed: Option<std::collections::BTreeMap<String, &RawValue>> = serde_json::from_slice(&self.body).ok();
        let id = parsed
            .as_ref()
            .and_then(|members| Some(members.get("id")?.get()))
            .unwrap_or("null");
        let token = self.json()["params"]["_meta"]["progressToken"].to_string();
        template.replace("$ID", id).replace("$TOKEN", &token)
    }
}
