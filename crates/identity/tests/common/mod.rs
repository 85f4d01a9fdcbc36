//! A door of the mesh on loopback, and those who come to it with what they have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(dead_code, reason = "each file of tests uses its own part of this")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use meshgate_identity::identity::server_name;
use meshgate_identity::{Admit, Identity, Peer, Svid, SvidKey, TrustBundle};
use meshgate_model::SpiffeId;
use meshgate_testkit::ca::{Issued, TestCa, Wish};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub(crate) const DOMAIN: &str = "corp.example";
/// No step of a handshake on loopback takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn id(path: &str) -> SpiffeId {
    format!("spiffe://{DOMAIN}{path}").parse().unwrap()
}

pub(crate) fn wish(path: &str) -> Wish {
    Wish::of(&format!("spiffe://{DOMAIN}{path}"))
}

pub(crate) fn svid(issued: &Issued) -> Svid {
    Svid::new(SvidKey::from_pkcs8(&issued.key).unwrap(), issued.chain.clone()).unwrap()
}

pub(crate) fn bundle(ca: &TestCa) -> TrustBundle {
    TrustBundle::new(ca.domain().parse().unwrap(), vec![ca.root()], Vec::new()).unwrap()
}

pub(crate) fn identity(ca: &TestCa, path: &str) -> Arc<Identity> {
    Arc::new(Identity::new(svid(&ca.issue(path)), bundle(ca)).unwrap())
}

/// A listener that answers each byte of those who got through the handshake, and counts them.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) reached: Arc<AtomicUsize>,
    /// Connections that a handshake was asked for and refused.
    pub(crate) refused: watch::Receiver<usize>,
    _tasks: JoinSet<()>,
}

impl Door {
    pub(crate) async fn open(config: Arc<ServerConfig>) -> Self {
        Self::watched(config, None).await
    }

    /// A door that cuts the connections of those who are denied, as every listener of the mesh does.
    pub(crate) async fn guarded(identity: &Arc<Identity>, admit: Admit) -> Self {
        Self::watched(identity.acceptor_config(admit), Some(Arc::clone(identity))).await
    }

    /// The door of the control plane.
    pub(crate) async fn guarded_enrolment(identity: &Arc<Identity>) -> Self {
        Self::watched(identity.enrolment_acceptor_config(), Some(Arc::clone(identity))).await
    }

    async fn watched(config: Arc<ServerConfig>, identity: Option<Arc<Identity>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reached = Arc::new(AtomicUsize::new(0));
        let (refusals, refused) = watch::channel(0);
        let count = Arc::clone(&reached);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (config, count) = (Arc::clone(&config), Arc::clone(&count));
                let (identity, refusals) = (identity.clone(), refusals.clone());
                connections.spawn(async move {
                    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
                        refusals.send_modify(|count| *count += 1);
                        return;
                    };
                    serve(stream, &count, identity).await;
                });
            }
        });
        Self {
            address,
            reached,
            refused,
            _tasks: tasks,
        }
    }

    pub(crate) fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Waits until so many handshakes have been refused.
    pub(crate) async fn has_refused(&self, count: usize) {
        let mut refused = self.refused.clone();
        let waiting = refused.wait_for(|refused| *refused >= count);
        tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    }
}

async fn serve(mut stream: server::TlsStream<TcpStream>, reached: &AtomicUsize, identity: Option<Arc<Identity>>) {
    let peer = Peer::of(stream.get_ref().1.peer_certificates());
    let denied = async {
        match (&identity, &peer) {
            (Some(identity), Ok(peer)) => drop(identity.until_denied(peer).await),
            _ => std::future::pending().await,
        }
    };
    let echo = async {
        let mut byte = [0];
        while stream.read_exact(&mut byte).await.is_ok() {
            reached.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(&byte).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = denied => {}
        () = echo => {}
    }
}

/// Connects and shakes hands; the result says nothing about the other side's view yet (TLS 1.3).
pub(crate) async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    tokio::time::timeout(PATIENCE, TlsConnector::from(config).connect(server_name(), stream))
        .await
        .expect("the handshake ends")
}

/// One byte there and back.
pub(crate) async fn ping(stream: &mut client::TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.write_all(b"!").await?;
    let mut byte = [0];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut byte))
        .await
        .expect("an answer or an end")?;
    assert_eq!(&byte, b"!");
    Ok(())
}

/// Connects and gets one byte through.
pub(crate) async fn knock(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<client::TlsStream<TcpStream>> {
    let mut stream = connect(address, config).await?;
    ping(&mut stream).await?;
    Ok(stream)
}

/// A clock that stands at one time.
#[derive(Debug)]
pub(crate) struct StandsAt(pub(crate) SystemTime);

impl TimeProvider for StandsAt {
    fn current_time(&self) -> Option<UnixTime> {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since))
    }
}
