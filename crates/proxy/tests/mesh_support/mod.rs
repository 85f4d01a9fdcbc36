//! A mesh for tests: an authority, identities, and sidecars that do what the name of the tool says, over real mutual TLS.
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use meshgate_identity::svid::{Svid, SvidKey};
use meshgate_identity::{Admit, Identity, Peer, TrustBundle};
use meshgate_proxy::call::Caller;
use meshgate_proxy::hop::{Answer, Ask, Carries, Endpoint, Endpoints, HopLimits, HopOptions, Sidecars};
use meshgate_proxy::refusal::Refusal;
use meshgate_testkit::ca::TestCa;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub const GROUP: &str = "server/documents";
pub const PATH: &str = "/server/documents/v1";

pub struct Mesh {
    pub ca: TestCa,
    pub endpoints: Arc<Endpoints>,
    pub gateway: Arc<Identity>,
}

pub fn svid(ca: &TestCa, path: &str) -> Svid {
    let issued = ca.issue(path);
    Svid::new(SvidKey::from_pkcs8(&issued.key).unwrap(), issued.chain).unwrap()
}

pub fn identity(ca: &TestCa, path: &str) -> Arc<Identity> {
    let bundle = TrustBundle::new(ca.domain().parse().unwrap(), vec![ca.root()], Vec::new()).unwrap();
    Arc::new(Identity::new(svid(ca, path), bundle).unwrap())
}

impl Mesh {
    pub fn new() -> Self {
        let ca = TestCa::new("corp.mesh");
        Self {
            gateway: identity(&ca, "/gateway/main"),
            endpoints: Arc::default(),
            ca,
        }
    }

    pub fn options(&self, limits: HopLimits) -> HopOptions {
        HopOptions {
            identity: self.gateway.clone(),
            endpoints: self.endpoints.clone(),
            instance: 1,
            limits,
        }
    }

    /// The way to `documents`, version v1.
    pub fn sidecars(&self, limits: HopLimits) -> Sidecars {
        Sidecars::start(self.options(limits), "documents", "v1").unwrap()
    }

    /// Makes the table say that these are there, and no others.
    pub fn there(&self, sidecars: &[&Scripted]) {
        let all = sidecars.iter().map(|sidecar| sidecar.endpoint()).collect();
        self.endpoints.set(GROUP, true, all);
    }

    pub async fn scripted(&self, instance: u64) -> Scripted {
        Scripted::start(self, instance, PATH, 1_000).await
    }
}

/// What a scripted sidecar has seen.
#[derive(Debug)]
pub struct Seen {
    pub connections: AtomicUsize,
    /// Those that are open.
    pub open: AtomicUsize,
    /// The heads of requests that it has taken.
    pub heads: Mutex<Vec<(HeaderMap, Peer)>>,
    /// Calls that were executed.
    pub executed: Mutex<Vec<String>>,
    /// Streams that were cancelled by the other end.
    pub cancelled: AtomicUsize,
    /// Lets `wait` go on, one permit each.
    pub go: Semaphore,
    pub waiting: watch::Sender<usize>,
}

/// A sidecar that does what the name of the tool says.
pub struct Scripted {
    pub instance: u64,
    pub address: SocketAddr,
    pub id: String,
    pub seen: Arc<Seen>,
    /// Connections say goodbye when this changes.
    pub goodbye: watch::Sender<u64>,
    serving: JoinHandle<()>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Scripted {
    pub async fn start(mesh: &Mesh, instance: u64, path: &str, streams_max: u32) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), mesh, instance, path, streams_max).await
    }

    pub async fn start_at(at: SocketAddr, mesh: &Mesh, instance: u64, path: &str, streams_max: u32) -> Self {
        let identity = identity(&mesh.ca, path);
        let listener = TcpListener::bind(at).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen {
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            heads: Mutex::default(),
            executed: Mutex::default(),
            cancelled: AtomicUsize::new(0),
            go: Semaphore::new(0),
            waiting: watch::Sender::new(0),
        });
        let goodbye = watch::Sender::new(0);
        let serving = tokio::spawn(serve(
            listener,
            identity,
            instance,
            seen.clone(),
            goodbye.subscribe(),
            streams_max,
        ));
        Self {
            instance,
            address,
            id: format!("spiffe://{}{path}", mesh.ca.domain()),
            seen,
            goodbye,
            serving,
        }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            instance: self.instance,
            version: "v1".into(),
            address: self.address.to_string().into(),
            spiffe_id: self.id.parse().unwrap(),
        }
    }

    /// As SIGKILL does: every socket is closed, and nothing is said.
    pub async fn kill(mut self) -> SocketAddr {
        self.serving.abort();
        let _ended = (&mut self.serving).await;
        until("its sockets are closed", || self.seen.open.load(Ordering::SeqCst) == 0).await;
        self.address
    }

    pub fn executed(&self) -> usize {
        self.seen.executed.lock().len()
    }

    pub fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many calls of `wait` are being executed.
    pub async fn is_waiting(&self, count: usize) {
        let mut waiting = self.seen.waiting.subscribe();
        within(waiting.wait_for(|now| *now >= count)).await.unwrap();
    }
}

async fn serve(
    listener: TcpListener,
    identity: Arc<Identity>,
    instance: u64,
    seen: Arc<Seen>,
    goodbye: watch::Receiver<u64>,
    streams_max: u32,
) {
    let acceptor = TlsAcceptor::from(identity.acceptor_config(Admit::Gateways));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(connection(
            acceptor.clone(),
            stream,
            instance,
            seen.clone(),
            goodbye.clone(),
            streams_max,
        ));
    }
}

/// An open connection.
struct Open(Arc<Seen>);

impl Open {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.open.fetch_add(1, Ordering::SeqCst);
        Self(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    instance: u64,
    seen: Arc<Seen>,
    mut goodbye: watch::Receiver<u64>,
    streams_max: u32,
) {
    goodbye.mark_unchanged();
    let _open = Open::new(&seen);
    stream.set_nodelay(true).unwrap();
    let Ok(tls) = acceptor.accept(stream).await else { return };
    let peer = Peer::of(tls.get_ref().1.peer_certificates()).unwrap();
    seen.connections.fetch_add(1, Ordering::SeqCst);
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams_max).initial_window_size(1 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(tls).await else {
        return;
    };
    let mut calls = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            _ = goodbye.changed() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        if request.headers().get("mcp-name").is_some_and(|name| name == "freeze") {
            // Nothing is read any more, and nothing is closed.
            std::future::pending::<()>().await;
        }
        calls.spawn(answer(request, respond, instance, seen.clone(), peer.clone()));
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    instance: u64,
    seen: Arc<Seen>,
    peer: Peer,
) {
    let (head, mut body) = request.into_parts();
    let name = head
        .headers
        .get("mcp-name")
        .map_or("", |name| name.to_str().unwrap())
        .to_owned();
    seen.heads.lock().push((head.headers, peer));
    if name == "refuse" {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        let _ = body.flow_control().release_capacity(piece.len());
        text.extend_from_slice(&piece);
    }
    let message: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let id = message["id"].to_string();
    let (what, number) = name.split_once(':').unwrap_or((&name, "0"));
    let number: usize = number.parse().unwrap();
    if let "full" | "forbidden" | "dead" = what {
        let (by, reason, code) = match what {
            "full" => ("sidecar", "overloaded", -32000),
            "dead" => ("server", "server_broken", -32603),
            _ => ("sidecar", "forbidden", -32001),
        };
        let refusal = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"said by {instance}","data":{{"dev.meshgate/refusal":{{"by":"{by}","reason":"{reason}","executed":"no","rule":"test/{what}"}}}}}}}}"#
        );
        return one(&mut respond, 503, Some("meshgate-refused"), refusal.into()).await;
    }
    seen.executed.lock().push(name.clone());
    match what {
        "break" => respond.send_reset(Reason::INTERNAL_ERROR),
        "wait" => {
            seen.waiting.send_modify(|count| *count += 1);
            tokio::select! {
                permit = seen.go.acquire() => permit.unwrap().forget(),
                _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                    seen.cancelled.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            }
            one(&mut respond, 200, None, result(&id, instance, 0)).await;
        }
        "events" => events(&mut respond, &id, instance, number, &seen).await,
        "big" => one(&mut respond, 200, None, result(&id, instance, number)).await,
        _ => one(&mut respond, 200, None, result(&id, instance, text.len())).await,
    }
}

fn result(id: &str, instance: u64, length: usize) -> Bytes {
    let text = "x".repeat(length);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","by":{instance},"text":"{text}"}}}}"#)
        .into()
}

async fn one(respond: &mut SendResponse<Bytes>, status: u16, mark: Option<&'static str>, body: Bytes) {
    let mut response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    if let Some(mark) = mark {
        response = response.header(HeaderName::from_static(mark), HeaderValue::from_static("1"));
    }
    if let Ok(mut stream) = respond.send_response(response.body(()).unwrap(), false) {
        let _ = send(&mut stream, body, true).await;
    }
}

/// As fast as the other end takes it.
async fn send(stream: &mut h2::SendStream<Bytes>, mut body: Bytes, ends: bool) -> Result<(), h2::Error> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let Some(capacity) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else {
            return Err(Reason::CANCEL.into());
        };
        let piece = body.split_to(capacity?.min(body.len()));
        stream.send_data(piece, ends && body.is_empty())?;
    }
    Ok(())
}

async fn events(respond: &mut SendResponse<Bytes>, id: &str, instance: u64, count: usize, seen: &Seen) {
    let response = Response::builder().header("content-type", "text/event-stream");
    let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
    for n in 0..count {
        let pad = "y".repeat(1_000);
        let event = format!(
            "data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{{\"progressToken\":{id},\"progress\":{n},\"message\":\"{pad}\"}}}}\n\n"
        );
        if send(&mut stream, event.into(), false).await.is_err() {
            seen.cancelled.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
    let last = [b"data: ", &result(id, instance, 0)[..], b"\n\n"].concat();
    let _ = send(&mut stream, last.into(), true).await;
}

/// A call of `tool` by an application, through the view `main`.
pub async fn call(sidecars: &Sidecars, tool: &str) -> Result<(u64, Answer), Refusal> {
    ask(sidecars, tool, Carries::Calls, None, Duration::from_secs(20)).await
}

pub async fn ask(
    sidecars: &Sidecars,
    tool: &str,
    carries: Carries,
    owner: Option<u64>,
    within: Duration,
) -> Result<(u64, Answer), Refusal> {
    let body = Bytes::from(r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{}}"#);
    ask_with(sidecars, (tool, &body), carries, owner, within).await
}

pub async fn ask_with(
    sidecars: &Sidecars,
    (tool, body): (&str, &Bytes),
    carries: Carries,
    owner: Option<u64>,
    within: Duration,
) -> Result<(u64, Answer), Refusal> {
    let fields = || {
        let mut fields = HeaderMap::new();
        fields.insert("mcp-name", HeaderValue::from_str(tool).unwrap());
        Ok(fields)
    };
    let caller = Arc::new(caller("assistant"));
    let view = Arc::from("main");
    let ask = Ask {
        fields: &fields,
        body,
        from: Some((&caller, &view)),
        carries,
        owner,
        reads: tool == "break" && body.starts_with(b"{\"reads\""),
        until: tokio::time::Instant::now() + within,
    };
    sidecars.ask(&ask).await
}

pub fn caller(application: &str) -> Caller {
    Caller::new(Some(application.into()), None)
}

/// Which sidecar answered.
pub fn by(answer: Result<(u64, Answer), Refusal>) -> u64 {
    answer
        .map(|(instance, _)| instance)
        .unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// Longer than anything may take, so that a test that hangs says where.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it takes too long")
}

/// Waits until something is so that nobody tells.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}
