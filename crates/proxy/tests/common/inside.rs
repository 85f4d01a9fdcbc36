//! A whole sidecar in this process, over real sockets and mutual TLS, and a client in the place of a gateway.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use meshgate_identity::identity::server_name;
use meshgate_identity::{Expect, Identity, Svid, SvidKey, TrustBundle, context};
use meshgate_model::{Snapshot, SpiffeId};
use meshgate_proxy::catalogue::Applied;
use meshgate_proxy::drain::{Drain, Drainer, drain};
use meshgate_proxy::sidecar::{Admission, Control, Sidecar, SidecarParts};
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_telemetry::{Metrics, Records};
use meshgate_testkit::ca::{Issued, TestCa, Wish};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::TlsConnector;

use super::{Sink, compiled, mirrored_name, modern_body};

/// The trust domain of these tests.
pub const DOMAIN: &str = "test.mesh";
/// The identity of the sidecar of the server `only`.
pub const SERVER: &str = "/server/only/v1";
/// The gateway that the sidecar names.
pub const GATEWAY: &str = "/gateway/main";
/// Longer than anything on loopback takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn id(path: &str) -> SpiffeId {
    format!("spiffe://{DOMAIN}{path}").parse().unwrap()
}

/// An authority of these tests' trust domain.
pub fn authority() -> Arc<TestCa> {
    Arc::new(TestCa::new(DOMAIN))
}

pub fn svid(issued: &Issued) -> Svid {
    Svid::new(SvidKey::from_pkcs8(&issued.key).unwrap(), issued.chain.clone()).unwrap()
}

pub fn bundle(ca: &TestCa) -> TrustBundle {
    TrustBundle::new(ca.domain().parse().unwrap(), vec![ca.root()], Vec::new()).unwrap()
}

pub fn identity(ca: &TestCa, path: &str) -> Arc<Identity> {
    identity_as(ca, &Wish::of(&format!("spiffe://{DOMAIN}{path}")))
}

pub fn identity_as(ca: &TestCa, wish: &Wish) -> Arc<Identity> {
    Arc::new(Identity::new(svid(&ca.issue_as(wish)), bundle(ca)).unwrap())
}

/// A caller at a view.
pub fn caller(application: &str, view: &str) -> context::Caller {
    context::Caller::Application {
        application: application.to_owned(),
        user: None,
        groups: Vec::new(),
        scopes: Vec::new(),
        view: view.to_owned(),
    }
}

/// The application `local` at the view `default`.
pub fn local() -> context::Caller {
    caller("local", "default")
}

pub struct RunningSidecar {
    pub address: SocketAddr,
    pub ca: Arc<TestCa>,
    pub identity: Arc<Identity>,
    pub records: Arc<Records>,
    pub metrics: Arc<Metrics>,
    pub control: Arc<Control>,
    pub sight: Arc<meshgate_proxy::assembly::Sight>,
    drainer: Option<Drainer>,
    serving: JoinHandle<()>,
}

impl RunningSidecar {
    /// The sidecar of the server `only` of a mesh file; the gateway `main` may call.
    pub async fn start(yaml: &str) -> Self {
        Self::start_with(&compiled(yaml), authority(), [id(GATEWAY)].into_iter().collect()).await
    }

    pub async fn start_with(snapshot: &Snapshot, ca: Arc<TestCa>, admission: Admission) -> Self {
        let running = Self::begin(snapshot, ca, admission, SupervisorProgram::default());
        let catalogues = running.1;
        catalogues.asked_all(Duration::from_secs(10)).await;
        running.0
    }

    /// Without waiting for its server.
    pub fn begin(
        snapshot: &Snapshot,
        ca: Arc<TestCa>,
        admission: Admission,
        supervisor: SupervisorProgram,
    ) -> (Self, Arc<meshgate_proxy::catalogue::Catalogues>) {
        let (drainer, drain) = drain();
        let identity = identity(&ca, SERVER);
        let parts = parts(&identity, admission, supervisor, drain);
        let (records, metrics) = (parts.records.clone(), parts.metrics.clone());
        let sidecar = Sidecar::bind(snapshot, parts).unwrap();
        let catalogues = sidecar.catalogues();
        let running = Self {
            address: sidecar.address(),
            ca,
            identity,
            records,
            metrics,
            control: sidecar.control(),
            sight: sidecar.sight(),
            drainer: Some(drainer),
            serving: tokio::spawn(sidecar.serve()),
        };
        (running, catalogues)
    }

    /// A client with the identity of the gateway that is named.
    pub async fn gateway(&self) -> Caller {
        Caller::open(self, &identity(&self.ca, GATEWAY)).await.unwrap()
    }

    pub fn reload(&self, yaml: &str) -> Applied {
        self.control.apply(&compiled(yaml), &BTreeSet::new())
    }

    /// The access records of the next calls; waits until `count` calls have ended.
    pub async fn lines(&self, count: usize) -> Vec<Value> {
        let sink = Sink::default();
        for _ in 0..500 {
            let once = std::future::ready(());
            let (records, metrics) = (self.records.clone(), self.metrics.clone());
            records.run(metrics, Some(Box::new(sink.clone())), once).await;
            if sink.text().lines().count() >= count {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let text = sink.text();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Stops as SIGTERM does; whether everything had ended when the drain's time was over.
    pub async fn stop(mut self, deadline: Duration) -> meshgate_proxy::drain::Drained {
        let drained = self.drainer.take().unwrap().drain(deadline).await;
        let _ = tokio::time::timeout(PATIENCE, &mut self.serving).await.unwrap();
        drained
    }

    /// Asks to finish, without waiting.
    pub fn ask_to_end(&self) {
        self.drainer.as_ref().unwrap().ask();
    }
}

impl Drop for RunningSidecar {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub fn parts(
    identity: &Arc<Identity>,
    admission: Admission,
    supervisor: SupervisorProgram,
    drain: Drain,
) -> SidecarParts {
    SidecarParts {
        address: "127.0.0.1:0".parse().unwrap(),
        identity: identity.clone(),
        admission,
        supervisor,
        records: Arc::new(Records::default()),
        metrics: Arc::new(Metrics::new()),
        entropy: [9; 16],
        drain,
    }
}

/// One connection to a sidecar, in the place of a gateway.
pub struct Caller {
    pub sender: SendRequest<Full<Bytes>>,
    pub svid: Arc<Svid>,
    /// Whom contexts are for, unless a test says otherwise.
    pub audience: SpiffeId,
    driving: AbortHandle,
}

impl Caller {
    /// Connects and finishes the handshakes of TLS and HTTP/2.
    pub async fn open(sidecar: &RunningSidecar, identity: &Arc<Identity>) -> std::io::Result<Self> {
        let (config, svid) = identity.client_config(&Expect::Exactly(id(SERVER)));
        let stream = TcpStream::connect(sidecar.address).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config).connect(server_name(), stream).await?;
        let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(std::io::Error::other)?;
        let driving = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self {
            sender,
            svid,
            audience: id(SERVER),
            driving,
        })
    }

    /// A context for the sidecar, made now and good for a minute.
    pub fn context(&self, caller: &context::Caller) -> String {
        self.context_at(caller, SystemTime::now())
    }

    pub fn context_at(&self, caller: &context::Caller, now: SystemTime) -> String {
        let life = Duration::from_secs(60);
        context::sign(&self.svid, &self.audience, caller, "txn-1", now, life).unwrap()
    }

    /// A call of the application `local` through the view `default`.
    pub async fn call(&self, method: &str, params: &str) -> Told {
        self.call_as(&local(), method, params).await
    }

    pub async fn call_as(&self, caller: &context::Caller, method: &str, params: &str) -> Told {
        let context = self.context(caller);
        self.send(Ask::new("7", method, params).context(&context))
            .await
            .unwrap()
    }

    pub async fn send(&self, ask: Ask) -> Result<Told, hyper::Error> {
        self.open_call(ask).await?.whole().await
    }

    /// Sends a request and leaves the body of its answer to be read.
    pub async fn open_call(&self, ask: Ask) -> Result<Opened, hyper::Error> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        let response = tokio::time::timeout(PATIENCE, sender.send_request(ask.request()))
            .await
            .expect("an answer in time")?;
        let (parts, body) = response.into_parts();
        Ok(Opened {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// A sound request to a sidecar but for its context, for a test to bend.
#[derive(Clone)]
pub struct Ask {
    pub verb: &'static str,
    pub path: &'static str,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Ask {
    pub fn new(id: &str, method: &str, params: &str) -> Self {
        let body = modern_body(id, method, params);
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), "application/json, text/event-stream".to_owned()),
            ("mcp-protocol-version".to_owned(), "2026-07-28".to_owned()),
            ("mcp-method".to_owned(), method.to_owned()),
        ];
        headers.extend(mirrored_name(&body, method).map(|name| ("mcp-name".to_owned(), name)));
        Self {
            verb: "POST",
            path: "/mcp",
            headers,
            body: body.into_bytes(),
        }
    }

    /// With this context, beside any other.
    pub fn context(self, token: &str) -> Self {
        self.and(context::HEADER, token)
    }

    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn request(self) -> Request<Full<Bytes>> {
        let uri = format!("https://sidecar{}", self.path);
        let mut request = Request::builder().method(self.verb).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Full::new(Bytes::from(self.body))).unwrap()
    }
}

/// An answer whose body is to be read.
pub struct Opened {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Incoming,
}

impl Opened {
    /// The next piece of the body; none at its end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .expect("a piece in time")?;
            if let Ok(data) = frame.ok()?.into_data() {
                return Some(data);
            }
        }
    }

    /// The next event's data as JSON; comments are passed over.
    pub async fn event(&mut self) -> Value {
        loop {
            let piece = self.piece().await.expect("the stream goes on");
            let text = String::from_utf8(piece.to_vec()).unwrap();
            let data: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            if !data.is_empty() {
                return serde_json::from_str(&data.concat()).unwrap();
            }
        }
    }

    pub async fn whole(self) -> Result<Told, hyper::Error> {
        let body = tokio::time::timeout(PATIENCE, self.body.collect())
            .await
            .expect("a whole body in time")?;
        Ok(Told {
            status: self.status,
            headers: self.headers,
            body: body.to_bytes(),
        })
    }
}

/// A whole answer.
#[derive(Debug)]
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Told {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, or the last message of the stream.
    pub fn json(&self) -> Value {
        let text = self.text();
        let last = text.lines().filter_map(|line| line.strip_prefix("data: ")).next_back();
        serde_json::from_str(last.unwrap_or(&text)).unwrap_or_else(|_| panic!("{}: {text}", self.status))
    }

    pub fn result(&self) -> Value {
        let json = self.json();
        assert!(json.get("result").is_some(), "{} {}", self.status, self.text());
        json["result"].clone()
    }

    /// Asserts a refusal by the sidecar itself, with its reason and rule, which says that nothing ran.
    pub fn refused(&self, case: &str, reason: &str, rule: &str) {
        assert!(self.headers.contains_key("meshgate-refused"), "{case}: {}", self.text());
        let json = self.json();
        let refusal = &json["error"]["data"]["dev.meshgate/refusal"];
        let said = [
            &refusal["by"],
            &refusal["reason"],
            &refusal["executed"],
            &refusal["rule"],
        ]
        .map(|v| v.as_str());
        assert_eq!(
            said,
            [
                Some("sidecar"),
                Some(reason),
                Some("no"),
                (!rule.is_empty()).then_some(rule)
            ],
            "{case}: {}",
            self.text()
        );
    }
}
