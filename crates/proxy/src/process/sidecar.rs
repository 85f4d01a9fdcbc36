//! A sidecar that is a member of a mesh.

use std::sync::Arc;

use meshgate_identity::KeyRing;
use meshgate_model::{Reach, Role, Snapshot};
use tokio::sync::oneshot;

use super::gateway::entropy;
use super::taker::{Assembled, Bind, Control, Face, Taker};
use super::{Begun, MeshListen, ProcessParts, ProcessStartError, Running, Served, joined, records, started};
use crate::drain::{Drain, drain};
use crate::listen::Admission;
use crate::member::{Member, MemberParts};
use crate::sidecar::{Sidecar, SidecarParts};

/// What a sidecar is given by whoever starts it.
#[derive(Debug)]
pub struct SidecarStart {
    /// How it belongs to the mesh; its part is a version of a server.
    pub member: MemberParts,
    /// How it reaches its server, as typed on this machine.
    pub reach: Reach,
    /// Where gateways call it.
    pub mesh_listen: MeshListen,
}

/// A sidecar that is a member of a mesh.
#[derive(Debug)]
pub struct SidecarProcess;

impl SidecarProcess {
    /// Starts one. Must be called on the runtime that keeps. Resolves when it serves; until the control plane answers a
    /// sidecar that has never joined, that is not.
    ///
    /// # Errors
    /// When it cannot join, or its address cannot be taken.
    pub async fn start(start: SidecarStart, parts: ProcessParts) -> Result<Running, ProcessStartError> {
        let SidecarStart {
            member,
            reach,
            mesh_listen,
        } = start;
        let meshgate_model::Part::Server { server, .. } = member.part.clone() else {
            return Err(ProcessStartError::Unusable(format!("`{}` is no sidecar", member.part)));
        };
        let member = joined(member, &parts.metrics).await?;
        let (drainer, drained) = drain();
        let (ready, waits) = oneshot::channel();
        let binding = Binding {
            member: member.clone(),
            parts,
            mesh_listen,
            drain: drained,
        };
        let bind: Bind = Box::new(move |snapshot, admission| binding.bind(&snapshot, &admission));
        // Nothing is sealed here and nobody else is called; what is told of either is for gateways.
        let keys = KeyRing::from_entropy().map_err(|error| ProcessStartError::Unusable(error.to_string()))?;
        let taker = Taker::new(bind, ready, |_| Ok(()), Arc::default(), Arc::new(keys));
        let role = Role::Sidecar {
            server,
            reach: Box::new(reach),
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

/// What a sidecar is made of when its first configuration comes.
struct Binding {
    member: Arc<Member>,
    parts: ProcessParts,
    mesh_listen: MeshListen,
    drain: Drain,
}

impl Binding {
    fn bind(self, snapshot: &Snapshot, admission: &Admission) -> Result<Assembled, ProcessStartError> {
        let told = Arc::new(snapshot.mesh.clone());
        let (ring, kept) = records(&told, &self.parts.metrics, self.member.instance)?;
        let _entered = self.parts.serving.enter();
        let parts = |address| SidecarParts {
            address,
            identity: self.member.identity.clone(),
            admission: admission.clone(),
            supervisor: self.parts.supervisor.clone(),
            records: ring.clone(),
            metrics: self.parts.metrics.clone(),
            entropy: entropy(),
            drain: self.drain.clone(),
        };
        let bind = |address| Sidecar::bind(snapshot, parts(address));
        let taken = |sidecar: &Sidecar| Some(sidecar.address());
        let sidecar = self.mesh_listen.take(&self.member.directory, bind, taken)?;
        let face = Face {
            sight: sidecar.sight(),
            control: Control::Sidecar(sidecar.control()),
            catalogues: sidecar.catalogues(),
            addresses: Vec::new(),
            mesh: Some(sidecar.address()),
            told,
        };
        let served = Served::begin(&self.parts.serving, sidecar.serve());
        Ok(Assembled { face, kept, served })
    }
}
