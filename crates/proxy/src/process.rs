//! Parts of a mesh, started: a gateway or a sidecar with its membership, several times in one process if need be.
//!
//! The same code runs when each part is a process of its own (`meshgate gateway`, `meshgate sidecar`, `meshgate-proxy`) and
//! when all of them share one (`meshgate up`): a part is given two runtimes, a state directory and the address of its control
//! plane, and everything else it is told. It counts as started once it has its certificate and its first configuration, from
//! the control plane or from its disk, and has taken its addresses.
//!
//! What ends a part is whoever started it: [`Running::drain`] tells the control plane first, so that gateways go elsewhere,
//! lets calls end, and then lets go of everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use meshgate_model::{MeshSpec, Reach, Role, SpiffeId};
use meshgate_telemetry::{AccessLog, Metrics, Records, Spans};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::Sight;
use crate::assembly::{self, StartError};
use crate::catalogue::Catalogues;
use crate::drain::{Drained, Drainer};
use crate::member::{Directory, Follow, JoinError, Member, MemberParts, rotate};
use crate::supervise::SupervisorProgram;

mod certificates;
mod gateway;
pub mod log;
mod sidecar;
mod sight;
mod standalone;
mod taker;
mod typed;

pub use self::certificates::Certificates;
pub use self::gateway::{GatewayProcess, GatewayStart};
pub use self::sidecar::{SidecarProcess, SidecarStart};
use self::sight::MemberSight;
pub use self::standalone::{ProcessError, run_gateway, run_sidecar};
use self::taker::{Assembled, Control, Face, Taker};
pub use self::typed::{GatewayArgs, MemberArgs, SidecarArgs, Typed, TypedError, TypedServer};

/// How long others are given to hear that this part drains, once the control plane knows.
const HEARD_TIME: Duration = Duration::from_millis(300);
/// How long the control plane may take to be told.
const TELL_TIME: Duration = Duration::from_secs(1);
/// How long a drained part may take to end its servers.
const LET_GO_TIME: Duration = Duration::from_secs(15);
/// How long the rest may take to end.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// What all parts in one process share.
#[derive(Clone, Debug)]
pub struct ProcessParts {
    /// The runtime that serves calls. A part is started on another one, which keeps.
    pub serving: Handle,
    /// Takes the figures of all parts.
    pub metrics: Arc<Metrics>,
    /// How children are started.
    pub supervisor: SupervisorProgram,
}

/// Where a part listens for other parts of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshListen {
    /// The address; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whether a free port is taken when that one is in use: nobody has asked for it.
    pub or_free: bool,
}

/// The file with the port that was taken last.
const MESH_PORT: &str = "mesh-port";
/// The longest such file that is read.
const MESH_PORT_BYTES_MAX: u64 = 16;

impl MeshListen {
    /// Takes the address. Where nobody has asked for a port, the one of the last start comes first: the others know this part
    /// by it, and while the control plane is away nobody could tell them of another. Then the usual one, then a free one.
    fn take<T>(
        self,
        directory: &Directory,
        bind: impl Fn(SocketAddr) -> Result<T, StartError>,
        taken: impl Fn(&T) -> Option<SocketAddr>,
    ) -> Result<T, StartError> {
        let free = SocketAddr::new(self.address.ip(), 0);
        let anywhere = self.or_free || self.address == free;
        let before = directory.read(MESH_PORT, MESH_PORT_BYTES_MAX).ok().flatten();
        let before = before.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.trim().parse().ok());
        let before = before
            .filter(|_| anywhere)
            .map(|port| SocketAddr::new(self.address.ip(), port));
        let mut wanted: Vec<SocketAddr> = before.into_iter().chain([self.address]).collect();
        if anywhere && self.address != free {
            wanted.push(free);
        }
        let last = wanted.pop().unwrap_or(self.address);
        let in_use = |error: &StartError, wanted: SocketAddr| match error {
            StartError::Bind { address, source } => {
                *address == wanted && source.kind() == std::io::ErrorKind::AddrInUse
            }
            StartError::Identity { .. } => false,
        };
        let mut bound = None;
        for address in wanted {
            match bind(address) {
                Err(error) if in_use(&error, address) => {}
                other => {
                    bound = Some(other);
                    break;
                }
            }
        }
        let bound = bound.unwrap_or_else(|| bind(last))?;
        if let Some(address) = taken(&bound) {
            // What is lost is that the next start may have another port.
            if let Err(error) = directory.write(MESH_PORT, format!("{}\n", address.port()).as_bytes()) {
                tracing::warn!(%error, "the mesh port cannot be written down");
            }
        }
        Ok(bound)
    }
}

/// Why a part did not start.
#[derive(Debug, Error)]
pub enum ProcessStartError {
    /// It is no member of the mesh.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// An address cannot be taken.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Something that its configuration names cannot be used on this machine.
    #[error("{0}")]
    Unusable(String),
    /// It was stopped while it waited.
    #[error("it was stopped before it had a configuration")]
    Stopped,
}

/// A part of a mesh that serves. Dropped, it ends at once.
pub struct Running {
    member: Arc<Member>,
    face: Face,
    role: watch::Sender<Role>,
    draining: watch::Sender<bool>,
    told_draining: watch::Receiver<bool>,
    closing: CancellationToken,
    keeping: JoinSet<()>,
    drainer: Drainer,
    served: Served,
}

/// The task that serves, on the runtime of calls; it goes with this.
struct Served {
    task: JoinHandle<()>,
    over: CancellationToken,
}

impl Served {
    fn begin(serving: &Handle, work: impl Future<Output = ()> + Send + 'static) -> Self {
        let over = CancellationToken::new();
        // However it ends: by itself, by a fault, or with its runtime.
        let ends = over.clone().drop_guard();
        let task = serving.spawn(async move {
            let _ends = ends;
            work.await;
        });
        Self { task, over }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Who it is.
    pub fn id(&self) -> SpiffeId {
        self.member.id()
    }

    /// What the admin interface sees.
    pub fn sight(&self) -> Arc<dyn Sight> {
        Arc::new(MemberSight::new(self.face.sight.clone(), self.member.clone()))
    }

    /// What a gateway serves, and what a change of it would mean; `None` for a sidecar.
    pub fn gateway_control(&self) -> Option<Arc<assembly::Control>> {
        match &self.face.control {
            Control::Gateway(control) => Some(control.clone()),
            Control::Sidecar(_) => None,
        }
    }

    /// The catalogues, for whoever wants to wait for the servers' first answers.
    pub fn catalogues(&self) -> &Arc<Catalogues> {
        &self.face.catalogues
    }

    /// Where applications call it, in the order of the listeners; nowhere for a sidecar.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.face.addresses
    }

    /// Where other parts of the mesh call it.
    pub fn mesh_address(&self) -> Option<SocketAddr> {
        self.face.mesh
    }

    /// What it keeps.
    pub fn directory(&self) -> &Directory {
        &self.member.directory
    }

    /// How long calls may end in peace, as the configuration in force says.
    pub fn drain_time(&self) -> Duration {
        self.face.catalogues.routing().load().snapshot.mesh.limits.drain
    }

    /// What holds for the whole mesh, as it was told first.
    pub fn mesh(&self) -> &MeshSpec {
        &self.face.told
    }

    /// How a sidecar reaches its server from now on, as typed on this machine. For a gateway it means nothing.
    pub fn set_reach(&self, reach: Reach) {
        self.role.send_if_modified(|role| match role {
            Role::Sidecar { reach: before, .. } if **before != reach => {
                **before = reach;
                true
            }
            _ => false,
        });
    }

    /// Reaches its servers anew: something outside the configuration that they depend on has changed.
    pub fn renew(&self) {
        match &self.face.control {
            Control::Gateway(control) => {
                let running = control.running();
                let touched = running.servers.keys().cloned().collect();
                control.apply((*running).clone(), &touched);
            }
            Control::Sidecar(control) => {
                let touched = BTreeSet::from([control.server().clone()]);
                control.apply(&control.running(), &touched);
            }
        }
    }

    /// Programs that a gateway starts itself from now on, as typed on this machine. For a sidecar it means nothing.
    pub fn set_started(&self, now: BTreeMap<Arc<str>, Reach>) {
        self.role.send_if_modified(|role| match role {
            Role::Gateway { started, .. } if **started != now => {
                *started = Arc::new(now);
                true
            }
            _ => false,
        });
    }

    /// Resolves when it serves no longer, and says whether that was by itself, which it should not: why is in the log, and
    /// whoever waits here ends the process, or starts it again.
    pub fn ended(&self) -> impl Future<Output = bool> + Send + use<> {
        let (over, draining) = (self.served.over.clone(), self.draining.subscribe());
        async move {
            over.cancelled().await;
            !*draining.borrow()
        }
    }

    /// Tells that it drains, lets calls end until `deadline`, ends its servers, and lets go of the control plane.
    pub async fn drain(mut self, deadline: Duration) -> Drained {
        self.draining.send_replace(true);
        if self.member.standing().connected {
            let told = self.told_draining.wait_for(|told| *told);
            if tokio::time::timeout(TELL_TIME, told).await.is_ok() {
                tokio::time::sleep(HEARD_TIME).await;
            }
        }
        let drained = self.drainer.drain(deadline).await;
        if drained.forced > 0 {
            tracing::warn!(
                forced = drained.forced,
                finished = drained.finished,
                "calls were broken off at the deadline"
            );
        }
        if tokio::time::timeout(LET_GO_TIME, &mut self.served.task).await.is_err() {
            tracing::warn!("servers did not end in time; their processes are killed");
        }
        self.closing.cancel();
        let all = async { while self.keeping.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIME, all).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        drained
    }
}

/// What a part is made of once it has joined.
struct Begun {
    member: Arc<Member>,
    role: Role,
    taker: Taker,
    ready: oneshot::Receiver<Result<Assembled, ProcessStartError>>,
    drainer: Drainer,
}

/// A task of the runtime that keeps, until the token says to end.
type Kept = Box<dyn FnOnce(CancellationToken) -> futures_core::future::BoxFuture<'static, ()> + Send>;

/// Keeps a part told and its certificate fresh, and waits until it serves.
async fn started(begun: Begun) -> Result<Running, ProcessStartError> {
    let Begun {
        member,
        role,
        taker,
        ready,
        drainer,
    } = begun;
    let (role, roles) = watch::channel(role);
    let (draining, drains) = watch::channel(false);
    let (tell, told_draining) = watch::channel(false);
    let closing = CancellationToken::new();
    let mut keeping = JoinSet::new();
    keeping.spawn(rotate(member.clone(), closing.clone()));
    let follow = Follow::begin(member.clone(), taker, roles, drains, tell).await;
    keeping.spawn(follow.run(closing.clone()));
    let Assembled { face, kept, served } = ready.await.unwrap_or(Err(ProcessStartError::Stopped))?;
    for task in kept {
        keeping.spawn(task(closing.clone()));
    }
    Ok(Running {
        member,
        face,
        role,
        draining,
        told_draining,
        closing,
        keeping,
        drainer,
        served,
    })
}

/// Joins as a part.
async fn joined(parts: MemberParts, metrics: &Arc<Metrics>) -> Result<Arc<Member>, ProcessStartError> {
    Ok(Member::join(parts, metrics.clone()).await?)
}

/// The ring of the access records, which become spans as well where the mesh names a receiver, and the tasks that empty it.
fn records(
    mesh: &MeshSpec,
    metrics: &Arc<Metrics>,
    instance: NonZeroU64,
) -> Result<(Arc<Records>, Vec<Kept>), ProcessStartError> {
    let log = match &mesh.access_log {
        meshgate_model::AccessLog::Stderr => AccessLog::Stderr,
        meshgate_model::AccessLog::File(path) => AccessLog::File(path.clone()),
        meshgate_model::AccessLog::Off => AccessLog::Off,
    };
    let sink = log
        .open()
        .map_err(|cause| ProcessStartError::Unusable(format!("the access log {log:?} cannot be opened: {cause}")))?;
    let mut records = Records::default();
    let mut kept: Vec<Kept> = Vec::new();
    if let Some(receiver) = &mesh.traces {
        let spans = Arc::new(Spans::new(receiver.clone(), &format!("{instance:032x}")));
        records = records.with_spans(spans.clone());
        let metrics = metrics.clone();
        kept.push(Box::new(move |closing| {
            Box::pin(spans.run(metrics, closing.cancelled_owned()))
        }));
    }
    let records = Arc::new(records);
    let (ring, metrics) = (records.clone(), metrics.clone());
    kept.push(Box::new(move |closing| {
        Box::pin(ring.run(metrics, sink, closing.cancelled_owned()))
    }));
    Ok((records, kept))
}
