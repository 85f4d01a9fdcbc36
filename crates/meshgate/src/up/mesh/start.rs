//! Starting the control plane and the parts.
//!
//! A part that has its certificate from an earlier start goes on with it. One that has none, or one of another mesh (the
//! control plane's state was lost, or replaced), begins anew with a token that is made and used here.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use meshgate_control::{Addresses, Control, ControlParts, Plane, StartError};
use meshgate_identity::bundle::root_digest;
use meshgate_identity::stored::Stored;
use meshgate_model::{Part, Reach, Snapshot};
use meshgate_proxy::member::{Directory, MemberParts};
use meshgate_proxy::process::{
    GatewayProcess, GatewayStart, MeshListen, ProcessParts, ProcessStartError, Running, SidecarProcess, SidecarStart,
};
use meshgate_telemetry::Metrics;
use tokio::task::JoinSet;

use super::MeshOptions;
use super::beside::{Beside, programs, sidecars};
use super::members::Members;
use crate::api::ApiAddress;
use crate::exit::{CONFIGURATION, Failure, STATE, SYSTEM};

/// How long a join token of this process is good: it is used at once.
const JOIN_TIME: Duration = Duration::from_secs(60);
/// The folders of the parts, in the state directory.
const CONTROL: &str = "control";
const GATEWAY: &str = "gateway";
const SIDECARS: &str = "sidecars";
/// Others of this process are reached on this machine, at whatever port is free.
const LOOPBACK: MeshListen = MeshListen {
    address: SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
    or_free: false,
};

/// Starts the control plane and leaves its address for other commands.
pub(super) async fn control(
    options: MeshOptions,
    snapshot: &Snapshot,
    folder: &Path,
) -> Result<(meshgate_control::Running, ApiAddress), Failure> {
    let folder = folder.join(CONTROL);
    let parts = ControlParts {
        sync: options.control,
        api: options.api,
        trust_domain: Some(snapshot.mesh.trust_domain.clone()),
        ..ControlParts::new(&folder)
    };
    let control = Control::start(parts).await.map_err(|error| not_started(&error))?;
    let address = ApiAddress::leave(&folder, control.addresses().api, false)?;
    Ok((control, address))
}

fn not_started(error: &StartError) -> Failure {
    let failure = |code| Failure::new(code, format!("the control plane cannot be started: {error}"));
    match error {
        StartError::Listen { .. } => failure(SYSTEM).remedy(
            "free the address, or choose others with `--control-address` and `--api-address`; port 0 is any free one",
        ),
        StartError::Open(_) => failure(CONFIGURATION).remedy("choose a loopback address with `--api-address`"),
        _ => failure(STATE),
    }
}

/// What starts parts.
pub(super) struct Starter {
    plane: Arc<Plane>,
    addresses: Addresses,
    parts: ProcessParts,
    folder: PathBuf,
}

impl Starter {
    /// Parts of this control plane, with their state in `folder`.
    pub(super) fn new(control: &meshgate_control::Running, parts: ProcessParts, folder: &Path) -> Self {
        Self {
            plane: control.plane().clone(),
            addresses: control.addresses(),
            parts,
            folder: folder.to_owned(),
        }
    }

    /// The gateway and every sidecar of a configuration, started at once; returns when all serve.
    pub(super) async fn all(&self, snapshot: &Snapshot) -> Result<Members, Failure> {
        let mut starting = JoinSet::new();
        for (beside, reach) in sidecars(snapshot) {
            let (start, parts) = self.sidecar_start(&beside, reach.clone()).await?;
            starting.spawn(async move { (beside, reach, SidecarProcess::start(start, parts).await) });
        }
        let part = Part::Gateway(snapshot.gateway.name.clone());
        let start = GatewayStart {
            member: self.member(part, self.folder.join(GATEWAY)).await?,
            listen: None,
            mesh_listen: LOOPBACK,
            started: programs(snapshot),
        };
        let gateway = GatewayProcess::start(start, self.parts.clone())
            .await
            .map_err(|error| part_failed(&error))?;
        let mut members = Members::new(gateway);
        while let Some(started) = starting.join_next().await {
            let (beside, reach, started) = started.map_err(|error| Failure::new(SYSTEM, error.to_string()))?;
            let running = started.map_err(|error| part_failed(&error))?;
            members.join(beside, reach, running);
        }
        Ok(members)
    }

    /// One sidecar; returns when it serves.
    pub(super) async fn sidecar(&self, beside: &Beside, reach: Reach) -> Result<Running, Failure> {
        let (start, parts) = self.sidecar_start(beside, reach).await?;
        SidecarProcess::start(start, parts)
            .await
            .map_err(|error| part_failed(&error))
    }

    async fn sidecar_start(&self, beside: &Beside, reach: Reach) -> Result<(SidecarStart, ProcessParts), Failure> {
        let folder = self.folder.join(SIDECARS).join(beside.folder());
        let start = SidecarStart {
            member: self.member(beside.part(), folder).await?,
            reach,
            mesh_listen: LOOPBACK,
        };
        // Figures of its own: what passes two hops would count twice in those of the gateway.
        let parts = ProcessParts {
            metrics: Arc::new(Metrics::new()),
            ..self.parts.clone()
        };
        Ok((start, parts))
    }

    /// What a part keeps, or a token where it keeps nothing of this mesh.
    async fn member(&self, part: Part, folder: PathBuf) -> Result<MemberParts, Failure> {
        let is_kept = self.is_kept(&part, &folder);
        if !is_kept && folder.exists() {
            let cannot = |cause| Failure::new(STATE, format!("`{}` cannot be removed: {cause}", folder.display()));
            std::fs::remove_dir_all(&folder).map_err(cannot)?;
        }
        let directory = Directory::open(&folder)?;
        let join = match is_kept {
            true => None,
            false => {
                let made = self.plane.join_token(part.clone(), JOIN_TIME).await;
                Some(made.map_err(|error| Failure::new(SYSTEM, error.to_string()))?.token)
            }
        };
        Ok(MemberParts {
            control: self.addresses.sync.to_string(),
            part,
            join,
            directory,
            advertise: None,
        })
    }

    /// Whether a folder holds a certificate of this mesh for that part that has not ended.
    fn is_kept(&self, part: &Part, folder: &Path) -> bool {
        let stored = Stored::at(folder);
        let (Ok(Some(svid)), Ok(Some(bundle))) = (stored.svid(), stored.bundle()) else {
            return false;
        };
        let ours = self.plane.certificates();
        let is_ours = |der: &[u8]| {
            let digest: String = root_digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
            ours.roots.iter().any(|root| root.sha256 == digest)
        };
        svid.id().part() == part
            && svid.id().trust_domain().as_str() == ours.trust_domain
            && svid.not_after() > SystemTime::now()
            && bundle.roots().iter().any(|root| is_ours(root))
    }
}

fn part_failed(error: &ProcessStartError) -> Failure {
    let code = match error {
        ProcessStartError::Unusable(_) => CONFIGURATION,
        _ => SYSTEM,
    };
    Failure::new(code, error.to_string())
}
