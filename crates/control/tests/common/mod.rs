//! A whole control plane on loopback, and proxies that are no more than their end of the contract.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of this")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use meshgate_control::{Control, ControlParts, Running, Terms};
use meshgate_identity::bundle::root_digest;
use meshgate_identity::enrolment::{Trusted, client_config, prove_held};
use meshgate_identity::identity::server_name;
use meshgate_identity::manifest::SnapshotPublicKey;
use meshgate_identity::{Expect, Identity, JoinToken, Svid, SvidKey, TrustBundle};
use meshgate_model::Part;
use meshgate_sync::proto::enrolment_client::EnrolmentClient;
use meshgate_sync::proto::sync_client::SyncClient;
use meshgate_sync::proto::{self, enrol_request, from_control, from_proxy};
use meshgate_sync::{Body, Resource};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// A mesh with two servers that have sidecars, two views, and an application for each.
pub const MESH: &str = r#"
apiVersion: meshgate.dev/v1alpha1
kind: Mesh
metadata: {name: corp}
spec: {}
---
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: documents}
spec: {sidecar: {}, stdio: {command: /bin/documents, env: {KEY: {fromFile: /secret}}}}
---
apiVersion: meshgate.dev/v1alpha1
kind: Server
metadata: {name: projects}
spec: {sidecar: {version: v2}}
---
apiVersion: meshgate.dev/v1alpha1
kind: View
metadata: {name: papers}
spec: {servers: [{name: documents}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: View
metadata: {name: plans}
spec: {servers: [{name: projects}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: Application
metadata: {name: assistant}
spec: {views: [papers], tokens: [{sha256: "0000000000000000000000000000000000000000000000000000000000000001"}]}
---
apiVersion: meshgate.dev/v1alpha1
kind: Application
metadata: {name: planner}
spec: {views: [plans], tokens: [{sha256: "0000000000000000000000000000000000000000000000000000000000000002"}]}
"#;

/// A control plane that runs, and the clock it goes by.
pub struct Mesh {
    pub directory: tempfile::TempDir,
    pub running: Running,
    ahead_ms: Arc<AtomicU64>,
}

impl Mesh {
    /// With [`MESH`] applied.
    pub async fn start() -> Self {
        let mesh = Self::bare().await;
        mesh.apply(MESH).await;
        mesh
    }

    /// With nothing applied.
    pub async fn bare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ahead_ms = Arc::new(AtomicU64::new(0));
        let running = Control::start(parts(&directory, &ahead_ms)).await.unwrap();
        Self {
            directory,
            running,
            ahead_ms,
        }
    }

    /// Stops it and starts it again from its state directory.
    pub async fn restart(self) -> Self {
        self.restart_after(|_| ()).await
    }

    /// The same, with something done to its state directory while it is away.
    pub async fn restart_after(self, done: impl FnOnce(&std::path::Path)) -> Self {
        let Self {
            directory,
            running,
            ahead_ms,
        } = self;
        running.stop().await;
        done(&parts(&directory, &ahead_ms).state);
        let running = Control::start(parts(&directory, &ahead_ms)).await.unwrap();
        Self {
            directory,
            running,
            ahead_ms,
        }
    }

    pub async fn apply(&self, text: &str) -> meshgate_control::Applied {
        let documents = meshgate_model::parse("/etc/mesh.yaml", text).unwrap();
        let applied = self.running.plane().apply(documents, &Terms::default()).await.unwrap();
        assert_eq!(
            applied.outcome,
            meshgate_control::Outcome::Applied,
            "{:?}",
            applied.findings
        );
        applied
    }

    /// The clock goes on by so much at once.
    pub fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub async fn token(&self, part: Part) -> JoinToken {
        let made = self.running.plane().join_token(part, Duration::from_secs(600)).await;
        made.unwrap().token
    }

    pub fn sync(&self) -> SocketAddr {
        self.running.addresses().sync
    }

    /// Joins with a new token.
    pub async fn member(&self, part: Part) -> Member {
        let token = self.token(part).await;
        Member::join(self.sync(), &token).await.unwrap()
    }
}

fn parts(directory: &tempfile::TempDir, ahead_ms: &Arc<AtomicU64>) -> ControlParts {
    let ahead = ahead_ms.clone();
    ControlParts {
        clock: Arc::new(move || SystemTime::now() + Duration::from_millis(ahead.load(Ordering::SeqCst))),
        metrics: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        ..ControlParts::new(directory.path().join("control"))
    }
}

pub fn server(name: &str, version: &str) -> Part {
    Part::Server {
        server: name.into(),
        version: version.into(),
    }
}

pub fn gateway(name: &str) -> Part {
    Part::Gateway(name.into())
}

async fn connect(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_: http::Uri| {
        let config = config.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = TlsConnector::from(config).connect(server_name(), stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    Endpoint::from_static("http://control")
        .connect_with_connector(connector)
        .await
}

/// A connection without a certificate, to the control plane under the root that a token names.
pub async fn channel_of_stranger(address: SocketAddr, token: &JoinToken, root: &[u8]) -> Channel {
    assert_eq!(*token.root(), root_digest(root));
    let config = client_config(&Trusted::Root(root_digest(root))).unwrap();
    connect(address, config).await.unwrap()
}

/// The way in, for somebody who has no certificate.
pub async fn stranger(address: SocketAddr, token: &JoinToken, root: &[u8]) -> EnrolmentClient<Channel> {
    EnrolmentClient::new(channel_of_stranger(address, token, root).await)
}

/// What a part sends that has a token.
pub fn by_token(token: &str, csr: Vec<u8>) -> proto::EnrolRequest {
    proto::EnrolRequest {
        csr: csr.into(),
        program: "test".to_owned(),
        proof: Some(enrol_request::Proof::JoinToken(token.to_owned())),
    }
}

/// A part of the mesh, as far as the control plane sees one.
pub struct Member {
    pub address: SocketAddr,
    pub identity: Arc<Identity>,
    pub epoch: u64,
}

impl Member {
    pub async fn join(address: SocketAddr, token: &JoinToken) -> Result<Self, Status> {
        let any = "spiffe://corp.mesh/gateway/whatever".parse().unwrap();
        let key = SvidKey::generate().unwrap();
        let csr = key.csr(&any).unwrap();
        Self::join_with(address, token, key, csr).await
    }

    pub async fn join_with(address: SocketAddr, token: &JoinToken, key: SvidKey, csr: Vec<u8>) -> Result<Self, Status> {
        let config = client_config(&Trusted::Root(pin(token))).unwrap();
        let mut desk = EnrolmentClient::new(connect(address, config).await.unwrap());
        let reply = desk.enrol(by_token(&token.expose(), csr)).await?.into_inner();
        let (svid, bundle) = taken(key, &reply);
        Ok(Self {
            address,
            identity: Arc::new(Identity::new(svid, bundle).unwrap()),
            epoch: reply.epoch,
        })
    }

    /// A new certificate for the key of the old one.
    pub async fn renew(&self) -> Result<Self, Status> {
        let old = self.identity.current();
        let key = SvidKey::generate().unwrap();
        let csr = key.csr(old.id()).unwrap();
        let held = proto::HeldIdentity {
            chain: old.chain().iter().map(|one| Bytes::copy_from_slice(one)).collect(),
            signature: prove_held(&old, &csr).unwrap().into(),
        };
        let config = client_config(&Trusted::Bundle(self.identity.bundle())).unwrap();
        let channel = connect(self.address, config).await;
        let channel = channel.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        let request = proto::EnrolRequest {
            csr: csr.into(),
            program: "test".to_owned(),
            proof: Some(enrol_request::Proof::Held(held)),
        };
        let reply = EnrolmentClient::new(channel).enrol(request).await?.into_inner();
        let (svid, bundle) = taken(key, &reply);
        Ok(Self {
            address: self.address,
            identity: Arc::new(Identity::new(svid, bundle).unwrap()),
            epoch: reply.epoch,
        })
    }

    pub async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let (config, _) = self.identity.client_config(&Expect::Control);
        connect(self.address, config).await
    }

    /// Opens a stream and holds nothing yet.
    pub async fn stream(&self, instance: u64) -> Result<Stream, Status> {
        self.stream_at(instance, "127.0.0.1:7320").await
    }

    pub async fn stream_at(&self, instance: u64, address: &str) -> Result<Stream, Status> {
        let channel = self
            .channel()
            .await
            .map_err(|error| Status::unavailable(format!("{error:?}")))?;
        Stream::open(channel, instance, address).await
    }
}

fn pin(token: &JoinToken) -> [u8; 32] {
    use base64::Engine as _;
    let text = token.expose();
    let root = &text[text.len() - 43..];
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(root).unwrap();
    bytes.try_into().unwrap()
}

fn taken(key: SvidKey, reply: &proto::EnrolReply) -> (Svid, TrustBundle) {
    let chain = reply.chain.iter().map(|one| one.to_vec().into()).collect();
    (
        Svid::new(key, chain).unwrap(),
        bundle(reply.trust_bundle.as_ref().unwrap()),
    )
}

fn bundle(bundle: &proto::TrustBundle) -> TrustBundle {
    let keys = bundle
        .snapshot_keys
        .iter()
        .map(|key| SnapshotPublicKey::from_bytes(key).unwrap());
    let roots = bundle.roots.iter().map(|root| root.to_vec().into()).collect();
    TrustBundle::new(bundle.trust_domain.parse().unwrap(), roots, keys.collect()).unwrap()
}

/// What a proxy holds, by name.
pub type Held = BTreeMap<String, Arc<Resource>>;

/// One stream, whose proxy takes whatever it is sent as it comes.
pub struct Stream {
    said: mpsc::Sender<proto::FromProxy>,
    seen: watch::Receiver<Seen>,
    _taking: tokio::task::JoinSet<()>,
}

/// What came over a stream.
#[derive(Clone, Default)]
pub struct Seen {
    pub held: Held,
    pub changes: usize,
    pub renewals: usize,
    pub later: bool,
    pub ended: bool,
}

impl Stream {
    pub async fn open(channel: Channel, instance: u64, address: &str) -> Result<Self, Status> {
        let (said, messages) = mpsc::channel(16);
        let hello = proto::Hello {
            instance: NonZeroU64::new(instance).unwrap().get(),
            address: address.to_owned(),
            program: "test".to_owned(),
            contract: 1,
            ..proto::Hello::default()
        };
        said.send(message(from_proxy::Message::Hello(hello))).await.unwrap();
        let messages = futures_util::stream::unfold(messages, |mut messages| async move {
            messages.recv().await.map(|message| (message, messages))
        });
        let heard = SyncClient::new(channel)
            .max_decoding_message_size(8 << 20)
            .stream(messages)
            .await?
            .into_inner();
        let (seen, watching) = watch::channel(Seen::default());
        let mut taking = tokio::task::JoinSet::new();
        taking.spawn(take_all(heard, said.clone(), seen));
        Ok(Self {
            said,
            seen: watching,
            _taking: taking,
        })
    }

    /// Waits until what it holds is as `done` says; `false` when the stream ended before.
    pub async fn until(&mut self, done: impl Fn(&Held) -> bool) -> bool {
        let seen = self.seen.wait_for(|seen| seen.ended || done(&seen.held));
        let seen = tokio::time::timeout(Duration::from_secs(20), seen)
            .await
            .expect("nothing of it came for 20 s");
        let seen = seen.unwrap();
        done(&seen.held)
    }

    /// Waits for the first thing that comes.
    pub async fn first(&mut self) -> Seen {
        let came = self.seen.wait_for(|seen| seen.ended || seen.later || seen.changes > 0);
        tokio::time::timeout(Duration::from_secs(20), came)
            .await
            .unwrap()
            .unwrap()
            .clone()
    }

    /// Waits until it was told so often to renew its certificate.
    pub async fn renewals(&mut self, count: usize) {
        let told = self.seen.wait_for(|seen| seen.renewals >= count);
        tokio::time::timeout(Duration::from_secs(20), told)
            .await
            .unwrap()
            .unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) {
        self.seen.wait_for(|seen| seen.ended).await.unwrap();
    }

    /// What it holds now.
    pub fn held(&self) -> Held {
        self.seen.borrow().held.clone()
    }

    pub async fn say(&self, said: from_proxy::Message) {
        // A stream that was ended takes no more; the test sees that by what it hears.
        let _ = self.said.send(message(said)).await;
    }

    pub async fn up(&self) {
        self.say(from_proxy::Message::Report(proto::Report {
            state: proto::State::Up.into(),
            era: "modern".to_owned(),
            tools: 3,
            ..proto::Report::default()
        }))
        .await;
    }
}

/// Takes every change and says so.
async fn take_all(
    mut heard: Streaming<proto::FromControl>,
    said: mpsc::Sender<proto::FromProxy>,
    seen: watch::Sender<Seen>,
) {
    let mut now = Seen::default();
    while let Ok(Some(message)) = heard.message().await {
        match message.message {
            Some(from_control::Message::Part(part)) => {
                let nonce = part.nonce;
                let last = part.manifest.is_some();
                take(&mut now.held, part);
                if last {
                    now.changes += 1;
                    let ack = self::message(from_proxy::Message::Ack(proto::Ack { nonce }));
                    if said.send(ack).await.is_err() {
                        break;
                    }
                }
            }
            Some(from_control::Message::Later(_)) => now.later = true,
            Some(from_control::Message::Renew(_)) => now.renewals += 1,
            Some(from_control::Message::Beat(_)) | None => {}
        }
        seen.send_replace(now.clone());
    }
    now.ended = true;
    seen.send_replace(now);
}

fn take(held: &mut Held, part: proto::Part) {
    if part.whole {
        held.clear();
    }
    for gone in &part.gone {
        let kind = usize::try_from(gone.kind).unwrap() - 1;
        let kind = meshgate_sync::Kind::ALL[kind];
        held.remove(&format!("{kind} {}", gone.name));
    }
    for bytes in part.put {
        let resource = Resource::read(bytes).unwrap();
        held.insert(resource.key().to_string(), Arc::new(resource));
    }
}

/// What a resource says.
pub fn body<'a>(held: &'a Held, name: &str) -> Option<&'a Body> {
    held.get(name).map(|resource| resource.body())
}

/// The trust bundle, as an identity takes it.
pub fn bundle_of(held: &Held) -> Option<TrustBundle> {
    let told = held.values().find_map(|resource| match resource.body() {
        Body::TrustBundle(bundle) => Some(bundle.clone()),
        _ => None,
    })?;
    let keys = told.snapshot_keys.iter().map(|key| Bytes::copy_from_slice(key));
    Some(bundle(&proto::TrustBundle {
        trust_domain: told.trust_domain.to_string(),
        roots: told.roots.into_iter().map(Bytes::from).collect(),
        snapshot_keys: keys.collect(),
    }))
}

fn message(message: from_proxy::Message) -> proto::FromProxy {
    proto::FromProxy { message: Some(message) }
}

/// An answer of the admin API.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// Asks the admin API; headers as they are given.
pub async fn ask(
    api: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let stream = TcpStream::connect(api).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let request = headers.iter().fold(
        http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", api.to_string()),
        |request, (name, value)| request.header(*name, *value),
    );
    let request = request.body(Full::new(body.into())).unwrap();
    let answer = async {
        let answer = sender.send_request(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(text.to_vec()).unwrap(),
        }
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => panic!("the connection ended before the answer: {ended:?}"),
    }
}

impl Mesh {
    pub fn api(&self) -> SocketAddr {
        self.running.addresses().api
    }

    /// As the operator, with JSON.
    pub async fn operator(&self, method: &str, path: &str, body: &serde_json::Value) -> Answer {
        let bearer = format!("Bearer {}", self.running.operator_token().expose());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        ask(self.api(), method, path, &headers, body).await
    }
}
