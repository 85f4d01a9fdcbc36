//! A gateway, a server behind it and a client before it, on one thread and over real sockets.
//!
//! On one thread, because then the order of things, and with it the number of instructions, is the same in every run.

use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::{KeyRing, token_digest};
use meshgate_mcp::Era;
use meshgate_proxy::catalogue::Catalogues;
use meshgate_proxy::drain::{Drainer, drain};
use meshgate_proxy::gateway::{Gateway, GatewayParts};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_telemetry::{Metrics, Records};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::{Failure, messages, server};

const TOKEN: &str = "mg_instructions-token";
/// How long the gateway may take to read its server's catalogue.
const READY_MAX: Duration = Duration::from_secs(60);

/// Everything that a call meets.
pub(crate) struct Scene {
    runtime: Runtime,
    client: TcpStream,
    /// The gateway's routing.
    pub(crate) catalogues: Arc<Catalogues>,
    records: Arc<Records>,
    metrics: Arc<Metrics>,
    held: Vec<u8>,
    /// The header of the session, where client and server have sessions.
    session: Option<String>,
    next_id: u64,
    /// Held, because a gateway finishes when nobody can ask it to any more.
    _drainer: Drainer,
}

impl Scene {
    /// Starts everything; a call's answer will hold a text of `text_bytes`. The first calls have been made.
    pub(crate) fn new(text_bytes: usize) -> Result<Self, Failure> {
        Self::of(Era::Modern, text_bytes)
    }

    /// The same with client and server of one era.
    pub(crate) fn of(era: Era, text_bytes: usize) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("no runtime: {e}"))?;
        let records = Arc::new(Records::default());
        let metrics = Arc::new(Metrics::new());
        let started = runtime.block_on(started((text_bytes, era), &records, &metrics))?;
        let (client, catalogues, drainer) = started;
        let mut scene = Self {
            runtime,
            client,
            catalogues,
            records,
            metrics,
            held: Vec::new(),
            session: None,
            next_id: 1_000_000_000,
            _drainer: drainer,
        };
        if era == Era::Legacy {
            scene.initialize()?;
        }
        scene.calls(10)?;
        scene.written();
        Ok(scene)
    }

    /// Makes calls of a tool one after the other, each with its answer.
    pub(crate) fn calls(&mut self, count: u64) -> Result<(), Failure> {
        for _ in 0..count {
            let id = self.next_id;
            self.next_id += 1;
            if self.session.is_some() {
                self.exchange("", &messages::legacy_call(id), id)?;
            } else {
                let mirrored = mirrored("tools/call", "Mcp-Name: only__echo\r\n");
                self.exchange(&mirrored, &messages::call(id), id)?;
            }
        }
        Ok(())
    }

    fn initialize(&mut self) -> Result<(), Failure> {
        let head = self.exchange("", &messages::initialize(server::LEGACY), 1)?;
        let found = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("mcp-session-id")
                .then(|| value.trim().to_owned())
        });
        let id = found.ok_or("no session was opened")?;
        self.session = Some(format!(
            "Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: {}\r\n",
            server::LEGACY
        ));
        Ok(())
    }

    /// Asks for the list of tools.
    pub(crate) fn list(&mut self) -> Result<(), Failure> {
        let id = self.next_id;
        self.next_id += 1;
        self.exchange(&mirrored("tools/list", ""), &messages::ask_list(id), id)
            .map(drop)
    }

    /// Counts and writes the records of the calls so far, as the keep runtime does ten times a second.
    pub(crate) fn written(&self) {
        let (records, metrics) = (Arc::clone(&self.records), Arc::clone(&self.metrics));
        let once = std::future::ready(());
        self.runtime
            .block_on(records.run(metrics, Some(Box::new(std::io::sink())), once));
    }

    /// Sends a request with more header lines, and gives back the head of its answer.
    fn exchange(&mut self, more: &str, body: &[u8], id: u64) -> Result<String, Failure> {
        let session = self.session.as_deref().unwrap_or_default();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n{session}{more}Content-Length: {}\r\n\r\n",
            self.client.peer_addr().map_err(|e| format!("no peer: {e}"))?,
            body.len()
        );
        let (client, held) = (&mut self.client, &mut self.held);
        self.runtime.block_on(async {
            let broken = |e: std::io::Error| format!("the connection broke: {e}");
            client
                .write_all(&[head.as_bytes(), body].concat())
                .await
                .map_err(broken)?;
            held.clear();
            let (start, end) = loop {
                if let Some(found) = server::request(held) {
                    break found;
                }
                if client.read_buf(held).await.map_err(broken)? == 0 {
                    return Err("the gateway closed the connection".to_owned());
                }
            };
            let answer = String::from_utf8_lossy(held.get(start..end).unwrap_or_default());
            let sound = answer.contains(&format!("\"id\":{id},")) && answer.contains("\"result\"");
            if sound {
                Ok(String::from_utf8_lossy(held.get(..start).unwrap_or_default()).into_owned())
            } else {
                Err(format!("not the answer that was asked for: {answer}"))
            }
        })
    }
}

/// The header lines that mirror a modern request.
fn mirrored(method: &str, name: &str) -> String {
    format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\n{name}")
}

async fn started(
    (text_bytes, era): (usize, Era),
    records: &Arc<Records>,
    metrics: &Arc<Metrics>,
) -> Result<(TcpStream, Arc<Catalogues>, Drainer), Failure> {
    let behind = server::start(text_bytes, era).await?;
    let config = meshgate_model::parse("bench.yaml", &mesh(&format!("http://{behind}/mcp")))
        .map_err(|findings| format!("{findings:?}"))?;
    let (mut snapshot, _) = config.compile().map_err(|findings| format!("{findings:?}"))?;
    if !snapshot.add_token("local", token_digest(TOKEN)) {
        return Err("there is no application `local`".to_owned());
    }
    let (drainer, drain) = drain();
    let parts = GatewayParts {
        mesh: None,
        keys: Arc::new(KeyRing::generate(&mut |bytes| bytes.fill(7))),
        records: Arc::clone(records),
        metrics: Arc::clone(metrics),
        supervisor: SupervisorProgram::default(),
        tls: Vec::new(),
        entropy: [7; 16],
        drain,
    };
    let gateway = Gateway::bind(snapshot, parts).map_err(|e| e.to_string())?;
    let address = gateway.addresses().first().copied().ok_or("no listener")?;
    let catalogues = gateway.catalogues();
    tokio::spawn(gateway.serve());
    catalogues.asked_all(READY_MAX).await;
    let client = TcpStream::connect(address)
        .await
        .map_err(|e| format!("cannot connect: {e}"))?;
    client.set_nodelay(true).map_err(|e| format!("no option: {e}"))?;
    Ok((client, catalogues, drainer))
}

fn mesh(url: &str) -> String {
    let head = "apiVersion: meshgate.dev/v1alpha1\n";
    format!(
        "{head}kind: Gateway\nmetadata: {{name: main}}\nspec: {{listeners: [{{address: '127.0.0.1:0'}}]}}\n---\n{head}kind: Server\nmetadata: {{name: only}}\nspec: {{http: {{url: '{url}'}}}}\n---\n{head}kind: View\nmetadata: {{name: default}}\nspec: {{servers: [{{name: only}}], naming: prefixed, liftLimits: true}}\n"
    )
}
