//! A whole gateway in this process, over real sockets, in front of scripted servers.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::{KeyRing, token_digest};
use meshgate_model::Snapshot;
use meshgate_proxy::catalogue::Catalogues;
use meshgate_proxy::drain::{Drainer, drain};
use meshgate_proxy::gateway::{Gateway, GatewayParts};
use meshgate_telemetry::{Metrics, Records};
use meshgate_testkit::raw::RawAnswer;
use tokio::task::JoinHandle;

/// The token of the application `local`, which may use every view.
pub const TOKEN: &str = "mg_test-token-of-local";

pub struct RunningGateway {
    pub address: SocketAddr,
    pub records: Arc<Records>,
    pub metrics: Arc<Metrics>,
    pub catalogues: Arc<Catalogues>,
    drainer: Option<Drainer>,
    serving: JoinHandle<()>,
}

/// Compiles a mesh file for a test; findings are panics.
pub fn compiled(yaml: &str) -> Snapshot {
    let config = meshgate_model::parse("test.yaml", yaml).unwrap_or_else(|f| panic!("{f:?}"));
    config.compile().unwrap_or_else(|f| panic!("{f:?}")).0
}

/// A mesh file of HTTP servers behind one listener on a free port.
pub fn mesh(servers: &[(&str, &str)], more: &str) -> String {
    let head = "apiVersion: meshgate.dev/v1alpha1\n";
    let mut yaml =
        format!("{head}kind: Gateway\nmetadata: {{name: main}}\nspec: {{listeners: [{{address: '127.0.0.1:0'}}]}}\n");
    for (name, url) in servers {
        yaml.push_str(&format!(
            "---\n{head}kind: Server\nmetadata: {{name: {name}}}\nspec: {{http: {{url: '{url}'}}}}\n"
        ));
    }
    if !more.is_empty() {
        yaml.push_str(&format!("---\n{head}{more}\n"));
    }
    yaml
}

impl RunningGateway {
    pub async fn start(yaml: &str) -> Self {
        Self::start_snapshot(compiled(yaml), Arc::new(KeyRing::from_entropy().unwrap())).await
    }

    pub async fn start_snapshot(mut snapshot: Snapshot, keys: Arc<KeyRing>) -> Self {
        let _ = snapshot.add_token("local", token_digest(TOKEN));
        let (drainer, drain) = drain();
        let records = Arc::new(Records::default());
        let metrics = Arc::new(Metrics::new());
        let parts = GatewayParts {
            keys,
            records: records.clone(),
            metrics: metrics.clone(),
            supervisor: meshgate_proxy::supervise::SupervisorProgram::default(),
            tls: Vec::new(),
            entropy: [7; 16],
            drain,
        };
        let gateway = Gateway::bind(snapshot, parts).unwrap();
        let address = gateway.addresses()[0];
        let catalogues = gateway.catalogues();
        let serving = tokio::spawn(gateway.serve());
        catalogues.asked_all(Duration::from_secs(10)).await;
        Self {
            address,
            records,
            metrics,
            catalogues,
            drainer: Some(drainer),
            serving,
        }
    }

    /// A modern request to a view, by the local application.
    pub async fn modern(&self, path: &str, id: &str, method: &str, params: &str) -> RawAnswer {
        self.modern_as(Some(TOKEN), path, id, method, params, &[]).await
    }

    /// A modern request with everything a test may want to bend.
    pub async fn modern_as(
        &self,
        token: Option<&str>,
        path: &str,
        id: &str,
        method: &str,
        params: &str,
        more: &[(&str, &str)],
    ) -> RawAnswer {
        let body = modern_body(id, method, params);
        let bearer = token.map(|t| format!("Bearer {t}"));
        let name = mirrored_name(&body, method);
        let mut headers: Vec<(&str, &str)> = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        headers.extend(bearer.as_deref().map(|b| ("authorization", b)));
        headers.extend(name.as_deref().map(|n| ("mcp-name", n)));
        headers.extend_from_slice(more);
        meshgate_testkit::raw::post(self.address, path, &headers, body.as_bytes()).await
    }

    /// Stops as SIGTERM does.
    pub async fn stop(mut self) {
        self.drainer.take().unwrap().drain(Duration::from_secs(5)).await;
        let _ = tokio::time::timeout(Duration::from_secs(20), &mut self.serving).await;
    }
}

impl Drop for RunningGateway {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A modern request; `params` are members beside `_meta` (which may be in them), without braces.
pub fn modern_body(id: &str, method: &str, params: &str) -> String {
    if params.contains("\"_meta\"") {
        return format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#);
    }
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    let comma = if params.is_empty() { "" } else { "," };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}{comma}{meta}}}}}"#)
}

fn mirrored_name(body: &str, method: &str) -> Option<String> {
    let params = &serde_json::from_str::<serde_json::Value>(body).ok()?["params"];
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return None,
    };
    params[member].as_str().map(str::to_owned)
}
