//! A process of its own: what was typed becomes a gateway or sidecars, from the first line of the log to the last call.
//!
//! Everything that can be wrong with what was typed is found before anything is joined or started. Then there are two
//! runtimes: one serves calls with all its threads, the other, on the main thread, keeps. A first signal drains, a second one
//! ends the process; servers' processes go with it either way.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use meshgate_model::Part;
use meshgate_telemetry::Metrics;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::gateway::{GatewayProcess, GatewayStart};
use super::sidecar::{SidecarProcess, SidecarStart};
use super::typed::{GatewayArgs, MemberArgs, SidecarArgs, Typed, TypedError, TypedServer};
use super::{MeshListen, ProcessParts, ProcessStartError, Running, log};
use crate::admin::{AdminSocket, MetricsListener};
use crate::member::{
    ADMIN_SOCKET, Directory, DirectoryError, JoinError, JoinTokenError, MemberParts, join_token, state_folder,
};
use crate::supervise::SupervisorProgram;

/// What was typed is refused; nothing was started (as `EX_USAGE` of sysexits.h).
const CONFIGURATION: u8 = 64;
/// The system refused something: an address in use, no more threads (`EX_OSERR`).
const SYSTEM: u8 = 71;
/// The state directory cannot be used (`EX_CANTCREAT`).
const STATE: u8 = 73;
/// Another process uses the state directory (`EX_TEMPFAIL`).
const IN_USE: u8 = 75;
/// The control plane does not let it join (`EX_NOPERM`).
const FORBIDDEN: u8 = 77;
/// Ended by a second signal, before every call had finished.
const FORCED: u8 = 130;

/// Port of sidecars that gateways call.
const SIDECAR_PORT: u16 = 7320;
/// Port of gateways that their replicas call.
const GATEWAY_PORT: u16 = 7321;
/// File descriptors beside those of clients.
const FILES_BESIDE: u64 = 256;
/// Sidecars of one process. Each is a listener and a stream of its own; a host with more servers has another process.
const SIDECARS_MAX: usize = 64;

/// Why a process ends without success, for the person who typed the command.
#[derive(Debug, Error)]
pub enum ProcessError {
    /// What was typed means nothing.
    #[error(transparent)]
    Typed(#[from] TypedError),
    /// The join token cannot be used.
    #[error(transparent)]
    Token(#[from] JoinTokenError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A part did not start.
    #[error(transparent)]
    Start(#[from] ProcessStartError),
    /// There is no folder for state.
    #[error("there is no folder for state: neither `XDG_STATE_HOME` nor `HOME` is set")]
    NoFolder,
    /// More sidecars than one process runs.
    #[error("{0} sidecars are more than the {SIDECARS_MAX} that one process runs; start them in several")]
    Many(usize),
    /// The advertised address is none.
    #[error("`--advertise {0}` is no address with a port, such as `10.0.0.7:7320`, and does not resolve to one")]
    Advertise(String),
    /// The system refused something.
    #[error("{0}")]
    System(String),
}

impl ProcessError {
    /// The code that the process ends with.
    pub fn code(&self) -> u8 {
        match self {
            Self::Typed(_) | Self::Token(_) | Self::Many(_) | Self::Advertise(_) => CONFIGURATION,
            Self::NoFolder => STATE,
            Self::Directory(error) => of_directory(error),
            Self::Start(ProcessStartError::Join(error)) => match error {
                JoinError::NoToken(_) | JoinError::Another { .. } => CONFIGURATION,
                JoinError::Refused(_) => FORBIDDEN,
                JoinError::Directory(error) => of_directory(error),
                JoinError::Stored(_) | JoinError::Identity(_) => STATE,
                JoinError::Entropy => SYSTEM,
            },
            Self::Start(_) | Self::System(_) => SYSTEM,
        }
    }

    /// What to do about it, where that is known.
    pub fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Directory(error) => return error.remedy.clone(),
            Self::NoFolder => "name a directory with `--state DIR`",
            Self::Start(ProcessStartError::Join(error)) => match error {
                JoinError::NoToken(_) => {
                    "make one where the control plane runs (`meshgate join-token`) and name its file with `--join-token-file`"
                }
                JoinError::Another { .. } => "name another directory with `--state DIR`",
                JoinError::Refused(_) => {
                    "a join token is good once, for ten minutes and for one identity; make another. If nobody of yours used \
                     it, somebody else did"
                }
                JoinError::Directory(error) => return error.remedy.clone(),
                JoinError::Identity(_) => "delete the state directory and join again",
                JoinError::Stored(_) | JoinError::Entropy => return None,
            },
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn of_directory(error: &DirectoryError) -> u8 {
    if error.in_use { IN_USE } else { STATE }
}

/// Runs a gateway until a signal.
///
/// # Errors
/// When it does not start.
pub fn run_gateway(args: &GatewayArgs, state: Option<&Path>) -> Result<ExitCode, ProcessError> {
    let directory = own_directory(state, &format!("gateway-{}", args.name))?;
    let part = Part::Gateway(args.name.as_str().into());
    let start = GatewayStart {
        member: member(&args.member, part, directory)?,
        listen: args.listen,
        mesh_listen: mesh_listen(&args.member, GATEWAY_PORT, 0),
        started: BTreeMap::new(),
    };
    run(args.member.workers, async |parts| {
        let running = GatewayProcess::start(start, parts).await?;
        Ok(vec![running])
    })
}

/// Runs one sidecar, or several, until a signal.
///
/// # Errors
/// When one of them does not start.
pub fn run_sidecar(args: &SidecarArgs, state: Option<&Path>) -> Result<ExitCode, ProcessError> {
    let Typed { servers, warnings } = args.servers()?;
    if servers.len() > SIDECARS_MAX {
        return Err(ProcessError::Many(servers.len()));
    }
    let alone = servers.len() == 1;
    let mut starts = Vec::new();
    for (index, TypedServer { server, version, reach }) in servers.into_iter().enumerate() {
        let name = format!("sidecar-{server}-{version}");
        let directory = match state {
            Some(state) if !alone => Directory::open(&state.join(&name))?,
            state => own_directory(state, &name)?,
        };
        let part = Part::Server { server, version };
        starts.push(SidecarStart {
            member: member(&args.member, part, directory)?,
            reach,
            mesh_listen: mesh_listen(&args.member, SIDECAR_PORT, index),
        });
    }
    run(args.member.workers, async |parts| {
        for warning in warnings {
            tracing::warn!(code = warning.code, remedy = warning.remedy, "{}", warning.message);
        }
        // Side by side: one that waits for its control plane does not hold up another that starts from its disk.
        let starting = starts
            .into_iter()
            .map(|start| SidecarProcess::start(start, parts.clone()));
        futures_util::future::try_join_all(starting).await
    })
}

/// The directory that was named, or one for this part in the user's folder.
fn own_directory(named: Option<&Path>, part: &str) -> Result<Directory, ProcessError> {
    let path: PathBuf = match named {
        Some(named) => named.to_owned(),
        None => state_folder().ok_or(ProcessError::NoFolder)?.join(part),
    };
    Ok(Directory::open(&path)?)
}

fn member(args: &MemberArgs, part: Part, directory: Directory) -> Result<MemberParts, ProcessError> {
    Ok(MemberParts {
        control: args.control.clone(),
        part,
        join: join_token(args.join_token_file.as_deref())?,
        directory,
        advertise: args.advertise.as_deref().map(advertised).transpose()?,
    })
}

/// A name that is advertised is resolved once, here: the other parts are told an address.
fn advertised(text: &str) -> Result<SocketAddr, ProcessError> {
    use std::net::ToSocketAddrs as _;
    let found = text.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| ProcessError::Advertise(text.to_owned()))
}

/// Several parts of one process have consecutive ports.
fn mesh_listen(args: &MemberArgs, port: u16, index: usize) -> MeshListen {
    let next = |port: u16| match port {
        0 => 0,
        port => u16::try_from(index)
            .ok()
            .and_then(|index| port.checked_add(index))
            .unwrap_or(0),
    };
    match args.mesh_listen {
        Some(address) => MeshListen {
            address: SocketAddr::new(address.ip(), next(address.port())),
            or_free: false,
        },
        None => MeshListen {
            address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, next(port))),
            or_free: true,
        },
    }
}

/// Starts what `start` starts, and ends it with the process.
fn run<S>(workers: Option<u16>, start: S) -> Result<ExitCode, ProcessError>
where
    S: AsyncFnOnce(ProcessParts) -> Result<Vec<Running>, ProcessStartError>,
{
    let _log = log::start();
    // Before anything secret is read, and before a server is started that could look.
    if let Err(error) = crate::supervise::close_to_children() {
        tracing::warn!(%error, "servers that run here may read this process's environment");
    }
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::debug!(%error, "memory goes back to the system only while it is used");
    }
    let serving = serving(workers)?;
    let keeping = Builder::new_current_thread()
        .thread_name("meshgate-keep")
        .enable_all()
        .build()
        .map_err(system)?;
    let parts = ProcessParts {
        serving: serving.handle().clone(),
        metrics: Arc::new(Metrics::new()),
        supervisor: SupervisorProgram::default(),
    };
    let code = keeping.block_on(async {
        let mut signals = Signals::listen()?;
        let running = tokio::select! {
            started = start(parts) => started?,
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        whole(running, &mut signals).await
    });
    serving.shutdown_timeout(Duration::from_millis(500));
    code
}

/// From the moment all parts serve until they have ended.
async fn whole(running: Vec<Running>, signals: &mut Signals) -> Result<ExitCode, ProcessError> {
    let closing = CancellationToken::new();
    let mut doors = JoinSet::new();
    let mut connections = 0;
    for part in &running {
        connections += part.mesh().limits.connections_max;
        open_doors(part, &mut doors, &closing).await?;
        for address in part.addresses() {
            tracing::info!(identity = %part.id(), %address, "applications are served");
        }
        if let Some(address) = part.mesh_address() {
            tracing::info!(identity = %part.id(), %address, "the mesh is served");
        }
    }
    enough_files(connections);
    let ended = {
        let ends: Vec<_> = running.iter().map(|part| Box::pin(part.ended())).collect();
        tokio::select! {
            () = signals.next() => false,
            _ = futures_util::future::select_all(ends) => true,
        }
    };
    if ended {
        return Err(ProcessError::System(
            "a part has ended by itself; its log says why".to_owned(),
        ));
    }
    tracing::info!("draining; a second signal ends at once");
    let drains = running.into_iter().map(|part| {
        let deadline = part.drain_time();
        part.drain(deadline)
    });
    let code = tokio::select! {
        _ = futures_util::future::join_all(drains) => ExitCode::SUCCESS,
        () = signals.next() => ExitCode::from(FORCED),
    };
    closing.cancel();
    while doors.join_next().await.is_some() {}
    Ok(code)
}

/// The admin socket in the state directory, and the listener for scrapes where the mesh names one.
async fn open_doors(part: &Running, doors: &mut JoinSet<()>, closing: &CancellationToken) -> Result<(), ProcessError> {
    let path = part.directory().path().join(ADMIN_SOCKET);
    let socket = AdminSocket::bind(&path).map_err(|cause| {
        ProcessError::System(format!("admin socket `{}` cannot be opened: {cause}", path.display()))
    })?;
    doors.spawn(socket.serve(part.sight(), None, closing.clone()));
    let gateways = part.gateway_control().and(part.mesh().admin);
    let Some(address) = gateways else {
        return Ok(());
    };
    match MetricsListener::bind(address).await {
        Ok(listener) => {
            doors.spawn(listener.serve(part.sight(), closing.clone()));
        }
        // The address is the mesh's and the machine is this one: no reason to take no calls.
        Err(error) => {
            tracing::error!(%address, %error, "the admin listener cannot be opened; `/metrics` is on the socket")
        }
    }
    Ok(())
}

/// Takes as many file descriptors as there are, and says so when they are fewer than the connections that are allowed.
fn enough_files(connections: usize) {
    let needed = connections as u64 + FILES_BESIDE;
    if let Some(files) = crate::listen::raise_descriptors().filter(|files| *files < needed) {
        tracing::warn!(
            files,
            needed,
            "this process may open fewer files than its connections need; raise its limit (`LimitNOFILE`, `ulimit -n`)"
        );
    }
}

/// The runtime of the calls.
fn serving(workers: Option<u16>) -> Result<Runtime, ProcessError> {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(usize::from(workers));
    }
    builder
        .thread_name("meshgate-serve")
        .enable_all()
        .build()
        .map_err(system)
}

fn system(cause: std::io::Error) -> ProcessError {
    ProcessError::System(format!("the system gives no threads: {cause}"))
}

/// The signals that end a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes them over from their default, which is to end at once.
    fn listen() -> Result<Self, ProcessError> {
        let take =
            |kind| signal(kind).map_err(|cause| ProcessError::System(format!("signals cannot be received: {cause}")));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
