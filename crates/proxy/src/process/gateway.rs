//! A gateway that is a member of a mesh.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use meshgate_identity::KeyRing;
use meshgate_model::{Reach, Role, Snapshot};
use tokio::sync::oneshot;

use super::taker::{Assembled, Bind, Control, Face, Taker};
use super::{
    Begun, Certificates, Kept, MeshListen, ProcessParts, ProcessStartError, Running, Served, joined, records, started,
};
use crate::drain::{Drain, drain};
use crate::gateway::{Gateway, GatewayParts, MeshParts};
use crate::hop::{Endpoints, HopLimits, HopOptions};
use crate::member::{Member, MemberParts};
use crate::simulated;

/// What a gateway is given by whoever starts it.
#[derive(Debug)]
pub struct GatewayStart {
    /// How it belongs to the mesh; its part is a gateway.
    pub member: MemberParts,
    /// Where applications call it, in place of the address of its first listener.
    pub listen: Option<SocketAddr>,
    /// Where the other replicas of it call it.
    pub mesh_listen: MeshListen,
    /// Programs that it starts itself, by server, as they were typed on this machine.
    pub started: BTreeMap<Arc<str>, Reach>,
}

/// A gateway that is a member of a mesh.
#[derive(Debug)]
pub struct GatewayProcess;

impl GatewayProcess {
    /// Starts one. Must be called on the runtime that keeps. Resolves when it serves; until the control plane answers a
    /// gateway that has never joined, that is not.
    ///
    /// # Errors
    /// When it cannot join, or its addresses cannot be taken.
    pub async fn start(start: GatewayStart, parts: ProcessParts) -> Result<Running, ProcessStartError> {
        let GatewayStart {
            member,
            listen,
            mesh_listen,
            started: programs,
        } = start;
        let meshgate_model::Part::Gateway(name) = member.part.clone() else {
            return Err(ProcessStartError::Unusable(format!("`{}` is no gateway", member.part)));
        };
        let member = joined(member, &parts.metrics).await?;
        // Until the control plane says what all gateways seal with, this one seals for itself.
        let keys = KeyRing::from_entropy().map_err(|error| ProcessStartError::Unusable(error.to_string()))?;
        let keys = Arc::new(keys);
        let endpoints = Arc::new(Endpoints::default());
        let (drainer, drained) = drain();
        let (ready, waits) = oneshot::channel();
        let binding = Binding {
            member: member.clone(),
            parts,
            keys: keys.clone(),
            endpoints: endpoints.clone(),
            mesh_listen,
            drain: drained,
        };
        let bind: Bind = Box::new(move |snapshot, _| binding.bind(&snapshot));
        let typed = move |snapshot: &mut Snapshot| relisten(snapshot, listen);
        let taker = Taker::new(bind, ready, typed, endpoints, keys);
        let role = Role::Gateway {
            name,
            started: Arc::new(programs),
        };
        started(Begun {
            member,
            role,
            taker,
            ready: waits,
            drainer,
        })
        .await
    }
}

/// What a gateway is made of when its first configuration comes.
struct Binding {
    member: Arc<Member>,
    parts: ProcessParts,
    keys: Arc<KeyRing>,
    endpoints: Arc<Endpoints>,
    mesh_listen: MeshListen,
    drain: Drain,
}

impl Binding {
    fn bind(self, snapshot: &Snapshot) -> Result<Assembled, ProcessStartError> {
        let told = Arc::new(snapshot.mesh.clone());
        let tls = Certificates::load(snapshot)
            .map_err(|(address, error)| ProcessStartError::Unusable(format!("listener {address}: {error}")))?;
        let (ring, mut kept) = records(&told, &self.parts.metrics, self.member.instance)?;
        let parts = |address| GatewayParts {
            keys: self.keys.clone(),
            records: ring.clone(),
            metrics: self.parts.metrics.clone(),
            supervisor: self.parts.supervisor.clone(),
            tls: tls.sources(),
            entropy: entropy(),
            drain: self.drain.clone(),
            mesh: Some(MeshParts {
                hop: HopOptions {
                    identity: self.member.identity.clone(),
                    endpoints: self.endpoints.clone(),
                    instance: self.member.instance.get(),
                    limits: HopLimits::default(),
                },
                address,
            }),
        };
        let _entered = self.parts.serving.enter();
        let wanted = self.mesh_listen;
        let bind = |address| Gateway::bind(snapshot.clone(), parts(address));
        let gateway = wanted.take(&self.member.directory, bind, Gateway::mesh_address)?;
        let follow: Kept = Box::new(move |closing| Box::pin(tls.follow(closing)));
        kept.push(follow);
        let face = Face {
            sight: gateway.sight(),
            control: Control::Gateway(gateway.control()),
            catalogues: gateway.catalogues(),
            addresses: gateway.addresses(),
            mesh: gateway.mesh_address(),
            told,
        };
        let served = Served::begin(&self.parts.serving, gateway.serve());
        Ok(Assembled { face, kept, served })
    }
}

/// Sixteen random bytes; they seed ids that nothing depends on but their being different.
pub(super) fn entropy() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&simulated::random().to_be_bytes());
    bytes[8..].copy_from_slice(&simulated::random().to_be_bytes());
    bytes
}

/// Puts the address that was typed in the place of the first listener's. What else the listener is stays as the
/// control plane says, so an address that other machines reach needs the TLS, the hosts and somebody to let in all the same.
fn relisten(snapshot: &mut Snapshot, listen: Option<SocketAddr>) -> Result<(), String> {
    let Some(address) = listen else {
        return Ok(());
    };
    let listeners = &mut snapshot.gateway.listeners;
    listeners.truncate(1);
    let Some(listener) = listeners.first_mut() else {
        return Ok(());
    };
    listener.address = address;
    let open = !listener.is_loopback()
        && (listener.tls.is_none() || listener.hosts.is_none() || snapshot.views.iter().any(|view| view.anonymous));
    if open {
        return Err(format!(
            "`--listen {address}` can be reached from other machines; the listener of the `Gateway` document needs `tls` and \
             `hosts` for that, and no view may be anonymous"
        ));
    }
    Ok(())
}
