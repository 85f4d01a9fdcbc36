//! Who is calling inside the mesh: the certificate of the connection, and the caller context that its holder signed.
//!
//! The certificate says which gateway it is, and the configuration of this sidecar names the gateways that may call. What
//! such a gateway says of a caller is believed when it is signed by the key of that very connection, for this server, for now;
//! what the caller may do is not its to say, and decided again by [`crate::authorize`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use meshgate_identity::context;
use meshgate_identity::limits::CONTEXT_SKEW;
use meshgate_model::{Snapshot, SpiffeId};
use tokio::sync::watch;

use crate::call::Caller;
use crate::listen::{Admission, MeshPeer, Told};
use crate::refusal::{Reason, Refusal};

/// Whom a sidecar believes.
pub struct Trusted {
    /// Its own SPIFFE ID: what is said to others is not said to it.
    own: SpiffeId,
    /// The gateways that may call.
    named: watch::Receiver<Admission>,
}

impl Trusted {
    /// Calls for `own`, of the gateways that are named.
    pub fn new(own: SpiffeId, named: watch::Receiver<Admission>) -> Self {
        Self { own, named }
    }

    /// Whether the other end of a connection may call at all.
    ///
    /// # Errors
    /// It is not named.
    pub fn admit(&self, peer: &MeshPeer) -> Result<(), Refusal> {
        if self.named.borrow().names(peer.peer().id()) {
            return Ok(());
        }
        let text = "this gateway is not named as one that may call the server; a view of it must show the server";
        Err(Refusal::new(Reason::Forbidden, text).rule("mesh/gateway"))
    }

    /// Who calls, from the one context of a request.
    ///
    /// # Errors
    /// There is none, more than one, or it is not to be believed.
    pub fn caller(&self, headers: &HeaderMap, peer: &MeshPeer) -> Result<Arc<Told>, Refusal> {
        let mut values = headers.get_all(context::HEADER).iter();
        let token = values
            .next()
            .ok_or(context::ContextError::Missing)
            .map_err(disbelieved)?;
        if values.next().is_some() {
            return Err(disbelieved(context::ContextError::Malformed));
        }
        let now = SystemTime::now();
        let unix = unix_s(now);
        if let Some(told) = peer.shown(token.as_bytes(), unix) {
            return Ok(told);
        }
        let text = token
            .to_str()
            .map_err(|_| disbelieved(context::ContextError::Malformed))?;
        let claims = context::verify(text, peer.peer(), &self.own, now).map_err(disbelieved)?;
        let until = claims.expires_at + CONTEXT_SKEW - Duration::from_secs(1);
        let (caller, view) = Caller::of_context(claims.caller, peer.peer().id());
        let told = Arc::new(Told {
            caller: Arc::new(caller),
            path: view.map_or_else(
                || Snapshot::whole_beside().into(),
                |view| Snapshot::path_beside(&view).into(),
            ),
            until: unix_s(until),
        });
        peer.show(token.as_bytes(), Arc::clone(&told), unix);
        Ok(told)
    }
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn disbelieved(why: context::ContextError) -> Refusal {
    Refusal::new(Reason::Unauthenticated, why.to_string()).rule("mesh/context")
}
