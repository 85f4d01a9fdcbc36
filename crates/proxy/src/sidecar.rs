//! The assembly beside a server: calls come from gateways over the mesh, and go to one server.
//!
//! It has the parts of a gateway, so that a call is treated alike at both ends of the hop, and takes nothing on trust from the
//! other end but who it is: the certificate of the connection and the caller context are verified, the configuration of this
//! sidecar decides once more, limits are counted here too. The server's own session, the era bridge, parked calls and the
//! check of arguments live here, beside the process that owns them. Several sidecars may run in one process; they share nothing
//! but the address space.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use meshgate_identity::{Admit, Identity};
use meshgate_model::{Part, Server, Snapshot};
use meshgate_telemetry::{Hop, Metrics, Records};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::shape::ListenerStatus;
pub use crate::assembly::StartError;
use crate::assembly::{self, Sight, limits, wire_limits};
use crate::authenticate::Trusted;
use crate::catalogue::Catalogues;
use crate::drain::Drain;
pub use crate::listen::Admission;
use crate::listen::{Bound, Caps, Cover, Listen, MeshDoor};
use crate::observe::Observer;
use crate::serve::{Core, CoreParts, Inside, PAGE_ITEMS};
use crate::supervise::SupervisorProgram;
use crate::upstream::{Upstream, UpstreamOptions};

mod control;
mod report;

pub use control::Control;
pub use report::{Report, Standing};

/// How often gauges are set.
const GAUGES: Duration = Duration::from_secs(5);

/// What a sidecar is given by whoever starts it.
pub struct SidecarParts {
    /// The address of the mesh port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Who it is: `/server/<name>/<version>`, which also says whose sidecar it is.
    pub identity: Arc<Identity>,
    /// The gateways that may call. Empty names nobody.
    pub admission: Admission,
    /// How children are started.
    pub supervisor: SupervisorProgram,
    /// Takes the access records.
    pub records: Arc<Records>,
    /// Takes the figures.
    pub metrics: Arc<Metrics>,
    /// Seeds the span ids.
    pub entropy: [u8; 16],
    /// Says when to finish.
    pub drain: Drain,
}

/// A sidecar whose address is taken.
pub struct Sidecar {
    core: Arc<Core>,
    bound: Bound,
    inside: Arc<Inside>,
    sight: Arc<Sight>,
    control: Arc<Control>,
}

impl Sidecar {
    /// Takes the address, then begins to reach for the server as the snapshot says it is reached. Must be called on the
    /// runtime that serves calls.
    ///
    /// # Errors
    /// When the identity is no server's, or the address cannot be taken.
    pub fn bind(snapshot: &Snapshot, parts: SidecarParts) -> Result<Self, StartError> {
        let id = parts.identity.id();
        let Part::Server { server, .. } = id.part() else {
            return Err(StartError::Identity {
                id: id.to_string(),
                wanted: "/server/<name>/<version>",
            });
        };
        let snapshot = Arc::new(snapshot.beside(server));
        let limits = Arc::new(limits(&snapshot).inside());
        let caps = Caps::new(&limits);
        let (named, names) = watch::channel(parts.admission);
        let door = MeshDoor::new(parts.identity.clone(), Admit::Gateways, names.clone());
        let listen = Listen {
            address: parts.address,
            cover: Cover::Mesh(Arc::new(door)),
        };
        let address = parts.address;
        let bound =
            Bound::bind(listen, limits.clone(), caps.clone()).map_err(|source| StartError::Bind { address, source })?;
        let options = UpstreamOptions {
            supervisor: parts.supervisor,
            limits: wire_limits(&limits),
            ..UpstreamOptions::default()
        };
        let start = |server: &Arc<Server>| Upstream::start(server.clone(), options.clone());
        let ids = Arc::new(AtomicU64::new(1));
        let core = CoreParts {
            hop: Hop::Sidecar,
            catalogues: Catalogues::new(snapshot.clone(), start, ids.clone(), PAGE_ITEMS),
            keys: None,
            observer: Observer::new(parts.records.clone(), parts.entropy).of(Hop::Sidecar, id.as_str().into()),
            ids,
            calls_in_flight_max: snapshot.mesh.limits.calls_in_flight_max,
            drain: parts.drain,
        };
        let core = Core::new(core, limits);
        let inside = Arc::new(Inside {
            core: core.clone(),
            trusted: Trusted::new(id.clone(), names),
        });
        let sight = Arc::new(Sight {
            core: core.clone(),
            lower: None,
            records: parts.records,
            metrics: parts.metrics,
            caps: caps.clone(),
            listeners: vec![listener(bound.local_address())],
            started: Instant::now(),
        });
        let inner = assembly::Control::new(core.clone(), None, caps, options, snapshot);
        let control = Arc::new(Control::new(inner, core.clone(), server.clone(), named));
        Ok(Self {
            core,
            bound,
            inside,
            sight,
            control,
        })
    }

    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.bound.local_address()
    }

    /// Changes the configuration while it serves, and says how it stands.
    pub fn control(&self) -> Arc<Control> {
        self.control.clone()
    }

    /// What the admin interface sees of it.
    pub fn sight(&self) -> Arc<Sight> {
        self.sight.clone()
    }

    /// The catalogues, for whoever wants to wait for the server's first answer.
    pub fn catalogues(&self) -> Arc<Catalogues> {
        self.core.catalogues.clone()
    }

    /// Serves until the drain has asked to finish and every call has ended or was broken off, then ends the server.
    pub async fn serve(self) {
        let core = self.core;
        let address = self.bound.local_address();
        let mut servers = JoinSet::new();
        let mut keeping = JoinSet::new();
        let over = CancellationToken::new();
        servers.spawn(core.catalogues.clone().run(over.clone().cancelled_owned()));
        keeping.spawn(core.hub.clone().run(core.catalogues.events()));
        keeping.spawn(gauges(self.sight.clone()));
        let inside = self.inside;
        let service = move |request, connection| inside.clone().answer(request, connection);
        if let Err(error) = self.bound.serve(service, core.drain.clone()).await {
            tracing::error!(%address, %error, "the sidecar ends, because its mesh port has");
        }
        keeping.shutdown().await;
        core.hub.close().await;
        over.cancel();
        while servers.join_next().await.is_some() {}
    }
}

async fn gauges(sight: Arc<Sight>) {
    let mut tick = tokio::time::interval(GAUGES);
    loop {
        tick.tick().await;
        sight.gauges();
    }
}

fn listener(address: SocketAddr) -> ListenerStatus {
    ListenerStatus {
        address: address.to_string(),
        tls: true,
        url: format!("https://{address}"),
    }
}
