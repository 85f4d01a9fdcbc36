//! A listener inside the mesh: whoever comes has a certificate of it, and stays as long as it is welcome.
//!
//! TLS proves here what a token proves at the edge, so there is nobody to be wary of before the handshake is over and nothing
//! is granted after it by address. In exchange a proof is not for ever: a peer that is denied is cut off at once, whatever is
//! in flight, and one that is no longer named is refused from then on and cut off when what it had under way has had its time.
//! A connection ends in peace before either certificate does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_identity::svid::connection_life;
use meshgate_identity::{Admit, Identity, Peer};
use meshgate_model::SpiffeId;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::sync::watch;

use self::shown::ShownTokens;
pub use self::shown::Told;
use crate::limits::Limits;
use crate::simulated;

mod shown;

/// How long a peer that is no longer named may finish what it has under way. New requests are refused meanwhile.
const FAREWELL: Duration = Duration::from_secs(30);

/// Who may call. Empty names nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission(Arc<HashSet<SpiffeId>>);

impl Admission {
    /// Whether a part is named, byte for byte.
    pub fn names(&self, id: &SpiffeId) -> bool {
        self.0.contains(id)
    }

    /// How many are named.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<SpiffeId> for Admission {
    fn from_iter<T: IntoIterator<Item = SpiffeId>>(all: T) -> Self {
        Self(Arc::new(all.into_iter().collect()))
    }
}

/// What a listener inside the mesh asks of those who connect.
pub struct MeshDoor {
    identity: Arc<Identity>,
    tls: Arc<ServerConfig>,
    named: watch::Receiver<Admission>,
}

impl MeshDoor {
    /// A door with the certificate of `identity`. Who is not of `admit` does not get through the handshake; who is not
    /// `named` gets through it, so that its operator is told why, and no further.
    pub fn new(identity: Arc<Identity>, admit: Admit, named: watch::Receiver<Admission>) -> Self {
        Self {
            tls: identity.acceptor_config(admit),
            identity,
            named,
        }
    }

    pub(super) fn tls(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.tls)
    }

    /// How long a connection that begins now may live.
    pub(super) fn life(&self, peer: &Peer) -> Duration {
        let ends = [self.identity.current().not_after(), peer.not_after()];
        connection_life(SystemTime::now(), ends, simulated::random())
    }

    pub(super) fn is_named(&self, peer: &Peer) -> bool {
        self.named.borrow().names(peer.id())
    }

    /// Resolves when a connection must end, with what is in flight on it; says why.
    pub(super) async fn sends_away(&self, peer: &Peer) -> Arc<str> {
        tokio::select! {
            biased;
            reason = self.identity.until_denied(peer) => reason,
            () = self.until_unnamed(peer) => "it is not named as one that may call".into(),
        }
    }

    async fn until_unnamed(&self, peer: &Peer) {
        let mut named = self.named.clone();
        loop {
            if named.wait_for(|all| !all.names(peer.id())).await.is_err() {
                // Nobody changes it any more.
                return std::future::pending().await;
            }
            let again = async {
                if named.wait_for(|all| all.names(peer.id())).await.is_err() {
                    std::future::pending().await
                }
            };
            if tokio::time::timeout(FAREWELL, again).await.is_err() {
                return;
            }
        }
    }
}

/// The other end of a connection inside the mesh.
pub struct MeshPeer {
    peer: Peer,
    text: Arc<str>,
    /// What tokens that came on this connection say, so that each is verified once.
    shown: Mutex<ShownTokens>,
}

impl MeshPeer {
    pub(super) fn new(peer: Peer, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            text: peer.id().as_str().into(),
            shown: Mutex::new(ShownTokens::new(limits.contexts_per_connection)),
            peer,
        })
    }

    /// Who it is, as its certificate says.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Its SPIFFE ID.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// What a token says that has been verified on this connection and is good at `now` (Unix seconds).
    pub fn shown(&self, token: &[u8], now: u64) -> Option<Arc<Told>> {
        self.shown.lock().get(token, now)
    }

    /// Remembers what a token says.
    pub fn show(&self, token: &[u8], told: Arc<Told>, now: u64) {
        self.shown.lock().insert(token, told, now);
    }
}

impl std::fmt::Debug for MeshPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("MeshPeer").field(&self.text).finish()
    }
}
