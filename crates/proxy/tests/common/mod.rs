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

pub mod inside;
pub mod intruder;
pub mod meshed;
pub mod parked;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::{KeyRing, token_digest};
use meshgate_model::Snapshot;
use meshgate_proxy::catalogue::{Applied, Catalogues};
use meshgate_proxy::drain::{Drainer, drain};
use meshgate_proxy::gateway::{Control, Gateway, GatewayParts, MeshParts};
use meshgate_telemetry::{Metrics, Records};
use meshgate_testkit::raw::{RawAnswer, RawConnection};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;

/// The token of the application `local`, which may use every view.
pub const TOKEN: &str = "mg_test-token-of-local";

pub struct RunningGateway {
    pub address: SocketAddr,
    /// Where its other replicas call it, in a mesh.
    pub mesh_address: Option<SocketAddr>,
    pub records: Arc<Records>,
    pub metrics: Arc<Metrics>,
    pub catalogues: Arc<Catalogues>,
    pub control: Arc<Control>,
    pub sight: Arc<meshgate_proxy::assembly::Sight>,
    drainer: Option<Drainer>,
    serving: JoinHandle<()>,
}

/// Compiles a mesh file for a test; findings are panics.
pub fn compiled(yaml: &str) -> Snapshot {
    let config = meshgate_model::parse("test.yaml", yaml).unwrap_or_else(|f| panic!("{f:?}"));
    config.compile().unwrap_or_else(|f| panic!("{f:?}")).0
}

/// The `_meta` of a request of a client that can answer nothing.
pub const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

/// A view named `default` of the server `only`, without the rates of callers: for tests that ask a hundred things.
pub const UNHURRIED: &str = "kind: View\nmetadata: {name: default}\nspec: {servers: [{name: only}], liftLimits: true}";

/// A mesh file of HTTP servers behind one listener on a free port.
pub fn mesh(servers: &[(&str, &str)], more: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|(name, url)| (*name, *url, "")).collect();
    mesh_with("", &servers, more)
}

/// Several documents as the `more` of a mesh file.
pub fn documents(documents: &[&str]) -> String {
    documents.join("\n---\napiVersion: meshgate.dev/v1alpha1\n")
}

/// A mesh file with more members for the listener, and for the specification of each server. Servers may ask everything,
/// unless theirs says otherwise.
pub fn mesh_with(listener: &str, servers: &[(&str, &str, &str)], more: &str) -> String {
    let head = "apiVersion: meshgate.dev/v1alpha1\n";
    let mut yaml = format!(
        "{head}kind: Gateway\nmetadata: {{name: main}}\nspec: {{listeners: [{{address: '127.0.0.1:0'{listener}}}]}}\n"
    );
    for (name, url, spec) in servers {
        let asks = match spec.contains("questions:") {
            true => "",
            false => ", questions: {sampling: allow, roots: allow}",
        };
        yaml.push_str(&format!(
            "---\n{head}kind: Server\nmetadata: {{name: {name}}}\nspec: {{http: {{url: '{url}'}}{spec}{asks}}}\n"
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

    pub async fn start_snapshot(snapshot: Snapshot, keys: Arc<KeyRing>) -> Self {
        Self::start_supervised(snapshot, keys, meshgate_proxy::supervise::SupervisorProgram::default()).await
    }

    /// With children under another supervisor than the gateway's own binary, which is not at hand in tests.
    pub async fn start_supervised(
        snapshot: Snapshot,
        keys: Arc<KeyRing>,
        supervisor: meshgate_proxy::supervise::SupervisorProgram,
    ) -> Self {
        Self::start_in(snapshot, keys, supervisor, None).await
    }

    /// With a place in a mesh.
    pub async fn start_in(
        mut snapshot: Snapshot,
        keys: Arc<KeyRing>,
        supervisor: meshgate_proxy::supervise::SupervisorProgram,
        mesh: Option<MeshParts>,
    ) -> Self {
        let _ = snapshot.add_token("local", token_digest(TOKEN));
        let (drainer, drain) = drain();
        let records = Arc::new(Records::default());
        let metrics = Arc::new(Metrics::new());
        let parts = GatewayParts {
            mesh,
            keys,
            records: records.clone(),
            metrics: metrics.clone(),
            supervisor,
            tls: Vec::new(),
            entropy: [7; 16],
            drain,
        };
        let gateway = Gateway::bind(snapshot, parts).unwrap();
        let address = gateway.addresses()[0];
        let mesh_address = gateway.mesh_address();
        let catalogues = gateway.catalogues();
        let (control, sight) = (gateway.control(), gateway.sight());
        let serving = tokio::spawn(gateway.serve());
        catalogues.asked_all(Duration::from_secs(10)).await;
        Self {
            address,
            mesh_address,
            records,
            metrics,
            catalogues,
            control,
            sight,
            drainer: Some(drainer),
            serving,
        }
    }

    /// Takes over another mesh file, as a reload does.
    pub fn reload(&self, yaml: &str) -> Applied {
        let mut snapshot = compiled(yaml);
        let _ = snapshot.add_token("local", token_digest(TOKEN));
        self.control.apply(snapshot, &BTreeSet::new())
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

    /// The access records of the next calls, as their lines say it; waits until `count` calls have ended.
    pub async fn lines(&self, count: usize) -> Vec<Value> {
        let written = self.written(count).await;
        written
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The same as it is written.
    pub async fn written(&self, count: usize) -> String {
        let sink = Sink::default();
        // A record closes when the last byte of its answer is gone, which the client may see first.
        for _ in 0..500 {
            let (records, metrics) = (self.records.clone(), self.metrics.clone());
            let once = std::future::ready(());
            records.run(metrics, Some(Box::new(sink.clone())), once).await;
            if sink.text().lines().count() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sink.text()
    }

    /// Stops as SIGTERM does.
    pub async fn stop(self) {
        self.stop_in_peace().await;
    }

    /// Breaks off whatever it does, as SIGKILL would.
    pub async fn kill(mut self) {
        self.drainer.take().unwrap().drain(Duration::ZERO).await;
        self.serving.abort();
    }

    /// Stops as SIGTERM does; whether everything had ended when the drain's time was over.
    pub async fn stop_in_peace(mut self) -> bool {
        self.drainer.take().unwrap().drain(Duration::from_secs(5)).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), &mut self.serving).await;
        ended.is_ok_and(|served| served.is_ok())
    }
}

/// Where records are written to.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A sound modern POST of the local application, for a test to bend.
#[derive(Clone)]
pub struct Post {
    pub path: String,
    pub verb: String,
    pub host: Option<String>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Post {
    pub fn modern(id: &str, method: &str, params: &str) -> Self {
        let body = modern_body(id, method, params);
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        let post = Self::legacy(&body);
        let post = headers.iter().fold(post, |post, (name, value)| post.and(name, value));
        match mirrored_name(&body, method) {
            Some(name) => post.and("mcp-name", &name),
            None => post,
        }
    }

    /// A POST with what both eras need.
    pub fn legacy(body: &str) -> Self {
        let headers = [
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("authorization", &format!("Bearer {TOKEN}")),
        ];
        Self {
            path: "/mcp".to_owned(),
            verb: "POST".to_owned(),
            host: None,
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            body: body.as_bytes().to_vec(),
        }
    }

    /// At another path.
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// With another verb, and no body.
    pub fn verb(mut self, verb: &str) -> Self {
        verb.clone_into(&mut self.verb);
        self.body.clear();
        self
    }

    /// With another `Host`.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// With another body under the same headers.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(header, _)| header != name);
        self
    }

    /// In place of any header of that name.
    pub fn with(self, name: &str, value: &str) -> Self {
        self.without(name).and(name, value)
    }

    /// Beside any header of that name.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// The bytes on the wire; `chunked` leaves the length unsaid.
    pub fn bytes(&self, address: SocketAddr, chunked: bool) -> Vec<u8> {
        let host = self.host.clone().unwrap_or_else(|| address.to_string());
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n",
            self.verb, self.path
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if chunked {
            let mut bytes = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
            for piece in self.body.chunks(1000) {
                bytes.extend(format!("{:x}\r\n", piece.len()).as_bytes());
                bytes.extend(piece);
                bytes.extend(b"\r\n");
            }
            bytes.extend(b"0\r\n\r\n");
            return bytes;
        }
        let mut bytes = format!("{head}content-length: {}\r\n\r\n", self.body.len()).into_bytes();
        bytes.extend(&self.body);
        bytes
    }

    pub async fn to(&self, gateway: &RunningGateway) -> RawAnswer {
        meshgate_testkit::raw::exchange(gateway.address, &self.bytes(gateway.address, false)).await
    }

    /// Sends it and leaves the answer to be read.
    pub async fn open(&self, gateway: &RunningGateway) -> RawConnection {
        let mut connection = RawConnection::open(gateway.address).await;
        connection.send(&self.bytes(gateway.address, false)).await;
        connection
    }

    /// Sends it and reads the answer as a stream.
    pub async fn stream(&self, gateway: &RunningGateway) -> Events {
        let mut connection = self.open(gateway).await;
        let head = connection.head().await.unwrap();
        assert_eq!(head.status, 200, "{:?}", connection.answer().await);
        let kind = head.header("content-type").unwrap_or_default();
        assert_eq!(kind, "text/event-stream");
        Events(connection)
    }
}

/// Asserts a refusal that says that nothing ran.
pub fn refused(case: &str, answer: &RawAnswer, status: u16, code: i64) {
    let json = answer.json();
    assert_eq!(
        (answer.status, &json["error"]["code"]),
        (status, &code.into()),
        "{case}: {}",
        answer.text()
    );
    let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
    assert_eq!(
        (&refusal["by"], &refusal["executed"]),
        (&"gateway".into(), &"no".into()),
        "{case}"
    );
}

/// The events of a stream, as JSON.
pub struct Events(pub RawConnection);

impl Events {
    /// The next message; priming events have none and are skipped.
    pub async fn next(&mut self) -> Value {
        self.maybe_next().await.expect("the stream goes on")
    }

    /// The next message, or none at the end of the stream.
    pub async fn maybe_next(&mut self) -> Option<Value> {
        loop {
            let data = self.0.next_event().await?;
            if !data.is_empty() {
                return Some(serde_json::from_str(&data).expect("an event holds JSON"));
            }
        }
    }
}

/// A client of a legacy revision, spelled by hand.
#[derive(Clone)]
pub struct LegacyClient {
    pub version: String,
    pub session: String,
    pub path: String,
    pub token: String,
    /// The result of `initialize`.
    pub hello: Value,
}

impl LegacyClient {
    /// Opens a session as the local application.
    pub async fn open(gateway: &RunningGateway, version: &str, capabilities: &str) -> Self {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"spelled","version":"1"}}}}}}"#
        );
        let answer = Post::legacy(&body).to(gateway).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let hello = answer.json()["result"].clone();
        let client = Self {
            version: hello["protocolVersion"].as_str().expect("a version").to_owned(),
            session: answer.header("mcp-session-id").expect("a session").to_owned(),
            path: "/mcp".to_owned(),
            token: TOKEN.to_owned(),
            hello,
        };
        let ready = client.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        assert_eq!(ready.to(gateway).await.status, 202);
        client
    }

    /// A POST of this session.
    pub fn post(&self, body: &str) -> Post {
        let post = Post::legacy(body)
            .at(&self.path)
            .token(&self.token)
            .and("mcp-session-id", &self.session);
        // The header exists from 2025-06-18 on.
        if self.version.as_str() >= "2025-06-18" {
            post.and("mcp-protocol-version", &self.version)
        } else {
            post
        }
    }

    pub fn request(&self, id: &str, method: &str, params: &str) -> Post {
        self.post(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{params}}}}}"#
        ))
    }

    /// The GET stream of this session.
    pub fn attach(&self) -> Post {
        self.post("")
            .verb("GET")
            .without("content-type")
            .with("accept", "text/event-stream")
    }

    /// The answer to a question.
    pub async fn answer(&self, gateway: &RunningGateway, question: &Value, result: &str) {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, question["id"]);
        let answer = self.post(&body).to(gateway).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
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
    let name = params[member].as_str()?;
    Some(meshgate_mcp::headers::encode(name).into_owned())
}
