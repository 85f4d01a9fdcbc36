//! The control plane's admin API, as an operator's program calls it.

use std::{fs, net::SocketAddr, path::Path};

use serde_json::{Value, json};

use crate::{
    Failure,
    connection::{connect, exchange},
};

/// Where it is, and what opens it.
pub(super) struct Api {
    address: SocketAddr,
    token: String,
}

impl Api {
    pub(super) fn open(address: SocketAddr, token: &Path) -> Result<Self, Failure> {
        let token = fs::read_to_string(token).map_err(|e| format!("no operator token in {}: {e}", token.display()))?;
        Ok(Self {
            address,
            token: token.trim().to_owned(),
        })
    }

    /// A question and its answer, which must be a good one.
    pub(super) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            body.len()
        );
        let mut socket = connect(self.address)?;
        let (head, body) = exchange(&mut socket, request.as_bytes())?;
        if (200..300).contains(&head.status) {
            return serde_json::from_slice(&body).map_err(|e| format!("{method} {path}: no JSON: {e}"));
        }
        Err(format!(
            "{method} {path}: {} {}",
            head.status,
            String::from_utf8_lossy(&body)
        ))
    }

    /// Applies documents; they must be taken, and change something.
    pub(super) fn apply(&self, text: &str, replace: bool) -> Result<(), Failure> {
        let body = json!({
            "sources": [{ "name": "/bench/mesh.yaml", "text": text }],
            "replace": replace,
            "allowShrink": true,
        });
        let answer = self.ask("POST", "/v1/apply", Some(&body))?;
        match answer.get("outcome").and_then(Value::as_str) {
            Some("applied") => Ok(()),
            _ => Err(format!("the documents were not taken: {answer}")),
        }
    }

    /// How each proxy that is connected says it is.
    pub(super) fn proxies(&self) -> Result<Vec<String>, Failure> {
        let status = self.ask("GET", "/v1/status", None)?;
        let proxies = status.get("proxies").and_then(Value::as_array);
        let connected = proxies
            .into_iter()
            .flatten()
            .filter(|proxy| proxy.get("connected") == Some(&Value::Bool(true)));
        let states = connected.map(|proxy| {
            proxy
                .get("state")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        });
        Ok(states.collect())
    }
}
