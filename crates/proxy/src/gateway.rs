//! The assembly: a snapshot and the parts of the outside become a running gateway.
//!
//! Addresses are taken before anything runs, so that a bad one stops the start. Then the servers are reached for, each in
//! its own time, and calls are served from the first moment; what is not known yet is missing from lists and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use futures_core::future::BoxFuture;
use meshgate_identity::KeyRing;
use meshgate_model::{Server, Snapshot};
use meshgate_telemetry::{Hop, Metrics, Records};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::shape::ListenerStatus;
use crate::admit::Authorities;
use crate::assembly::{limits, wire_limits};
use crate::catalogue::Catalogues;
use crate::drain::Drain;
use crate::limits::Limits;
use crate::listen::{Bound, Caps, Door, Listen, TlsSource};
use crate::lower::{Lower, Seams, SessionLimits};
use crate::observe::Observer;
use crate::serve::{Core, CoreParts, Edge, EdgeDoor, PAGE_ITEMS};
use crate::supervise::SupervisorProgram;
use crate::upstream::{Upstream, UpstreamOptions, new_owner};

mod peers;

pub use self::peers::MeshParts;
use self::peers::MeshPort;
pub use crate::assembly::{Comparison, Control, Sight as GatewaySight, StartError};

/// How often legacy sessions are looked through for idle ones, and gauges are set.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a gateway of a mesh may look for its servers before the first connection is taken from the queue of the system.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// What the gateway is given by whoever starts it.
pub struct GatewayParts {
    /// Seals cursors, states, task ids and sessions.
    pub keys: Arc<KeyRing>,
    /// Takes the access records.
    pub records: Arc<Records>,
    /// Takes the figures.
    pub metrics: Arc<Metrics>,
    /// How children are started.
    pub supervisor: SupervisorProgram,
    /// TLS of the listeners that have it, in their order.
    pub tls: Vec<Option<TlsSource>>,
    /// Seeds the span ids.
    pub entropy: [u8; 16],
    /// Says when to finish.
    pub drain: Drain,
    /// Its place in a mesh; none for a gateway that reaches its servers by itself.
    pub mesh: Option<MeshParts>,
}

/// A gateway whose addresses are taken.
pub struct Gateway {
    core: Arc<Core>,
    lower: Arc<Lower>,
    listeners: Vec<(Bound, Arc<Authorities>)>,
    sight: Arc<GatewaySight>,
    control: Arc<Control>,
    mesh: Option<MeshPort>,
}

impl Gateway {
    /// Takes the addresses, then begins to reach for the servers. Must be called on the runtime that serves calls.
    pub fn bind(snapshot: Snapshot, parts: GatewayParts) -> Result<Self, StartError> {
        let snapshot = Arc::new(snapshot);
        let limits = Arc::new(limits(&snapshot));
        let caps = Caps::new(&limits);
        let listeners = bind_all(&snapshot, &parts.tls, &limits, &caps)?;
        let mesh = parts
            .mesh
            .as_ref()
            .map(|mesh| MeshPort::bind(mesh, &limits))
            .transpose()?;
        let hop = parts.mesh.map(|mesh| mesh.hop);
        let instance = hop.as_ref().map_or_else(new_owner, |hop| hop.instance);
        let observer = Observer::new(parts.records.clone(), parts.entropy);
        let observer = match &hop {
            Some(hop) => observer.of(Hop::Gateway, hop.identity.id().as_str().into()),
            None => observer,
        };
        let options = UpstreamOptions {
            supervisor: parts.supervisor,
            limits: wire_limits(&limits),
            owner: instance,
            hop,
            tls: None,
        };
        let start = |server: &Arc<Server>| Upstream::start(server.clone(), options.clone());
        let ids = Arc::new(AtomicU64::new(1));
        let catalogues = Catalogues::new(snapshot.clone(), start, ids.clone(), PAGE_ITEMS);
        let model = &snapshot.mesh.limits;
        let sessions = SessionLimits {
            sessions_per_caller_max: model.sessions_per_caller_max,
            ..SessionLimits::default()
        };
        let lower = Arc::new(Lower::at(instance, parts.keys.clone(), sessions, Seams::system()));
        let core = CoreParts {
            hop: Hop::Gateway,
            catalogues,
            keys: Some(parts.keys),
            observer,
            ids,
            calls_in_flight_max: model.calls_in_flight_max,
            drain: parts.drain,
        };
        let core = Core::new(core, limits);
        let sight = Arc::new(GatewaySight {
            core: core.clone(),
            lower: Some(lower.clone()),
            records: parts.records,
            metrics: parts.metrics,
            caps: caps.clone(),
            listeners: listener_status(&listeners, &snapshot),
            started: Instant::now(),
        });
        let control = Arc::new(Control::new(core.clone(), Some(lower.clone()), caps, options, snapshot));
        Ok(Self {
            core,
            lower,
            listeners,
            sight,
            control,
            mesh,
        })
    }

    /// The address of the mesh port, in a mesh.
    pub fn mesh_address(&self) -> Option<SocketAddr> {
        self.mesh.as_ref().map(|mesh| mesh.bound.local_address())
    }

    /// The addresses that were taken, in the order of the listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(bound, _)| bound.local_address()).collect()
    }

    /// What the admin interface sees.
    pub fn sight(&self) -> Arc<GatewaySight> {
        self.sight.clone()
    }

    /// Changes the configuration while it serves.
    pub fn control(&self) -> Arc<Control> {
        self.control.clone()
    }

    /// The catalogues, for whoever wants to wait for the servers' first answers.
    pub fn catalogues(&self) -> Arc<Catalogues> {
        self.core.catalogues.clone()
    }

    /// A way in without a socket, with the manners of the first listener: each call serves one connection.
    #[doc(hidden)]
    pub fn door(&self) -> Option<impl Fn(DuplexStream) -> BoxFuture<'static, ()> + use<>> {
        let (bound, authorities) = self.listeners.first()?;
        let edge = Arc::new(Edge {
            core: self.core.clone(),
            lower: self.lower.clone(),
            door: EdgeDoor::Clients(authorities.clone()),
            peers: None,
        });
        let address = bound.local_address();
        let service = move |request, connection| edge.clone().answer(request, connection);
        let (limits, drain) = (self.core.limits.clone(), self.core.drain.clone());
        let door = Door::new(address, service, limits, self.sight.caps.clone(), drain);
        Some(move |pipe| -> BoxFuture<'static, ()> { Box::pin(door.clone().serve(pipe, address)) })
    }

    /// Serves until the drain has asked to finish and every call has ended or was broken off, then ends the servers. Ends
    /// before it was asked when one of its listeners does.
    pub async fn serve(self) {
        let (core, lower) = (self.core, self.lower);
        let mut listening = JoinSet::new();
        let mut listeners: Vec<_> = self
            .listeners
            .into_iter()
            .map(|(bound, authorities)| (bound, EdgeDoor::Clients(authorities)))
            .collect();
        let (peers, _named) = match self.mesh {
            Some(mesh) => {
                listeners.push((mesh.bound, EdgeDoor::Peers));
                (Some(mesh.peers), Some(mesh.named))
            }
            None => (None, None),
        };
        let mut servers = JoinSet::new();
        let over = CancellationToken::new();
        servers.spawn(core.catalogues.clone().run(over.clone().cancelled_owned()));
        for (bound, door) in listeners {
            // A replica that starts again has calls at once, from clients that know its tools from the others.
            let first_look = peers.is_some() && matches!(door, EdgeDoor::Clients(_));
            let edge = Arc::new(Edge {
                core: core.clone(),
                lower: lower.clone(),
                door,
                peers: peers.clone(),
            });
            let address = bound.local_address();
            let (drain, catalogues) = (core.drain.clone(), core.catalogues.clone());
            listening.spawn(async move {
                if first_look {
                    catalogues.asked_all(FIRST_LOOK).await;
                }
                let service = move |request, connection| edge.clone().answer(request, connection);
                if let Err(error) = bound.serve(service, drain).await {
                    tracing::error!(%address, %error, "a listener has ended");
                }
            });
        }
        let mut keeping = JoinSet::new();
        keeping.spawn(core.hub.clone().run(core.catalogues.events()));
        keeping.spawn(sweep(lower.clone(), self.sight.clone()));
        tokio::select! {
            biased;
            () = core.drain.asked() => {}
            // Half a gateway would go unnoticed: one that is missing a listener ends, and whoever started it is told.
            Some(_) = listening.join_next() => {
                tracing::error!("the gateway ends, because one of its listeners has ended by itself");
                listening.abort_all();
            }
        }
        lower.drain();
        while listening.join_next().await.is_some() {}
        lower.close().await;
        keeping.shutdown().await;
        core.hub.close().await;
        over.cancel();
        while servers.join_next().await.is_some() {}
        if let Some(peers) = peers {
            peers.close().await;
        }
    }
}

async fn sweep(lower: Arc<Lower>, sight: Arc<GatewaySight>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        lower.sweep();
        sight.gauges();
    }
}

fn bind_all(
    snapshot: &Snapshot,
    tls: &[Option<TlsSource>],
    limits: &Arc<Limits>,
    caps: &Arc<Caps>,
) -> Result<Vec<(Bound, Arc<Authorities>)>, StartError> {
    let mut bound = Vec::new();
    for (index, listener) in snapshot.gateway.listeners.iter().enumerate() {
        let listen = Listen {
            address: listener.address,
            cover: tls.get(index).cloned().flatten().into(),
        };
        let socket = Bound::bind(listen, limits.clone(), caps.clone()).map_err(|source| StartError::Bind {
            address: listener.address,
            source,
        })?;
        let port = socket.local_address().port();
        bound.push((socket, Arc::new(Authorities::of(listener, port))));
    }
    Ok(bound)
}

fn listener_status(listeners: &[(Bound, Arc<Authorities>)], snapshot: &Snapshot) -> Vec<ListenerStatus> {
    let listed = listeners.iter().zip(&snapshot.gateway.listeners);
    listed
        .map(|((bound, _), listener)| {
            let address = bound.local_address();
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            ListenerStatus {
                address: address.to_string(),
                tls: listener.tls.is_some(),
                url: format!("{scheme}://{address}"),
            }
        })
        .collect()
}
