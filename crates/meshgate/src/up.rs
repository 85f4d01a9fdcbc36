//! `meshgate up`: a gateway in this process, from a file to the last call.
//!
//! Everything that can be wrong is found before an address is taken: the file, the state directory, tokens, keys and
//! certificates. Then there are two runtimes. One serves calls with all its threads; the other, on the main thread, keeps:
//! admin, records, certificates, the file, signals. So no scrape and no slow disk ever stands in a call's way. A first signal
//! drains, a second one ends the process; servers' processes go with it either way.

mod inputs;
mod keep;
mod mesh;
mod reload;
mod summary;
mod tls;
#[cfg(test)]
mod tests;
mod tokens;
mod watch;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::{KeyRing, ServiceToken};
use meshgate_model::{Config, Snapshot};
use meshgate_proxy::admin::Sight;
use meshgate_proxy::catalogue::Catalogues;
use meshgate_proxy::drain::{Drainer, drain};
use meshgate_proxy::gateway::{Gateway, GatewayParts};
use meshgate_proxy::process::ProcessParts;
use meshgate_proxy::supervise::SupervisorProgram;
use meshgate_telemetry::{Metrics, Records, Spans};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::cli::UpArgs;
use crate::exit::{FORCED, Failure, SYSTEM};
use crate::source::Source;
use crate::state::{StateDirectory, StatePath};
use crate::{log, out};

pub(crate) use self::keep::Signals;
pub(crate) use self::mesh::{Mesh, MeshOptions};
use self::reload::{Reloader, Target};

/// Where gateways and sidecars reach the control plane that runs here.
const CONTROL_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7310);
/// Where operators reach its API.
const API_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7311);
/// File descriptors beside those of clients: servers, records, the admin listeners.
const FILES_BESIDE: u64 = 256;
/// How long a drained gateway may take to end its servers.
const LET_GO_TIME: Duration = Duration::from_secs(15);

/// Starts what the file says and serves until a signal.
pub(crate) fn run(args: &UpArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let source = Source::find(args.file.as_deref())?.with_sidecars(args.mesh);
    source.snapshot()?;
    // What is wrong is said in the words that were typed; what is served has paths from the root, so that the same file
    // means the same when it is read again.
    let source = source.under_root();
    source.snapshot_quietly()?;
    let state = StateDirectory::open(StatePath::find(state)?)?;
    let _log = log::start();
    let options = MeshOptions {
        control: args.control_address.unwrap_or(CONTROL_ADDRESS),
        api: args.api_address.unwrap_or(API_ADDRESS),
    };
    let mut assembly = Assembly::prepare(source, state, options)?;
    assembly.workers = args.workers.map(usize::from);
    assembly.follows = Some(!args.no_watch);
    assembly.run(async |running, signals| {
        out::note(&summary::started(&running));
        signals.next().await;
        out::note("draining; once more ends at once");
        ExitCode::SUCCESS
    })
}

/// What is ready to take its addresses.
#[derive(Debug)]
pub(crate) struct Assembly {
    source: Source,
    config: Config,
    snapshot: Snapshot,
    state: Arc<StateDirectory>,
    token: Option<(ServiceToken, bool)>,
    kind: Kind,
    /// Whether the file is followed, and watched.
    follows: Option<bool>,
    workers: Option<usize>,
}

/// What is assembled.
#[derive(Debug)]
enum Kind {
    /// A gateway that reaches every server itself.
    Alone { keys: Arc<KeyRing>, tls: tls::Certificates },
    /// A control plane, a gateway and sidecars.
    Mesh(MeshOptions),
}

/// What serves, as its starter sees it.
pub(crate) struct Running {
    /// What the admin interface sees.
    pub(crate) sight: Arc<dyn Sight>,
    /// The servers' catalogues, for whoever wants to wait for them.
    pub(crate) catalogues: Arc<Catalogues>,
    /// The token of local callers, where there is one, and whether it is new.
    pub(crate) token: Option<(ServiceToken, bool)>,
    /// Where the state is.
    pub(crate) state: StatePath,
    /// The scrape address, where there is one.
    pub(crate) metrics: Option<std::net::SocketAddr>,
    /// The mesh around the gateway, where there is one.
    pub(crate) mesh: Option<Arc<Mesh>>,
}

impl Running {
    /// Waits until every server has been asked once, at most so long.
    pub(crate) async fn asked_all(&self, time_max: Duration) {
        match &self.mesh {
            Some(mesh) => mesh.ready(time_max).await,
            None => self.catalogues.asked_all(time_max).await,
        }
    }
}

/// What both kinds run on.
struct Ground {
    serving: Runtime,
    metrics: Arc<Metrics>,
    /// Where a hang-up goes, and where it is heard.
    reload: (Option<mpsc::Sender<()>>, mpsc::Receiver<()>),
}

impl Assembly {
    /// Reads everything the configuration refers to. Where a server has a sidecar it becomes a mesh.
    pub(crate) fn prepare(source: Source, state: StateDirectory, options: MeshOptions) -> Result<Self, Failure> {
        // Before anything secret is read, and before a server is started that could look.
        if let Err(error) = meshgate_proxy::supervise::close_to_children() {
            tracing::warn!(%error, "servers that run here may read the gateway's environment");
        }
        let mut snapshot = source.snapshot_quietly()?;
        let (config, ..) = source.read_whole();
        snapshot.revision = 1;
        let token = tokens::register(&mut snapshot, &state)?;
        let tls = tls::load(&snapshot)?;
        let kind = if config.has_sidecars() {
            Kind::Mesh(options)
        } else {
            let keys = Arc::new(state.keys()?);
            Kind::Alone { keys, tls }
        };
        Ok(Self {
            source,
            config,
            snapshot,
            state: Arc::new(state),
            token,
            kind,
            follows: None,
            workers: None,
        })
    }

    /// Takes the addresses and serves while `work` runs, then drains. The code of `work` is the code of the process.
    pub(crate) fn run<W>(self, work: W) -> Result<ExitCode, Failure>
    where
        W: AsyncFnOnce(Running, &mut Signals) -> ExitCode,
    {
        enough_files(self.snapshot.mesh.limits.connections_max);
        give_memory_back();
        let serving = serve_runtime(self.workers)?;
        let keeping = keep_runtime()?;
        let (heard, hears) = mpsc::channel(1);
        let mut ground = Ground {
            serving,
            metrics: Arc::new(Metrics::new()),
            reload: (self.follows.map(|_| heard), hears),
        };
        let code = match self.kind {
            Kind::Alone { .. } => keeping.block_on(self.alone(&mut ground, work)),
            Kind::Mesh(options) => keeping.block_on(self.mesh(options, &mut ground, work)),
        };
        ground.serving.shutdown_timeout(Duration::from_millis(500));
        code
    }

    /// A gateway and nothing else.
    async fn alone<W>(self, ground: &mut Ground, work: W) -> Result<ExitCode, Failure>
    where
        W: AsyncFnOnce(Running, &mut Signals) -> ExitCode,
    {
        let Kind::Alone { keys, tls } = self.kind else {
            return Err(Failure::new(SYSTEM, "a mesh was started as a gateway"));
        };
        let (drainer, watch) = drain();
        let (records, metrics) = (Arc::new(ring(&self.snapshot)?), ground.metrics.clone());
        let mesh = self.snapshot.mesh.clone();
        let parts = GatewayParts {
            mesh: None,
            keys,
            records: records.clone(),
            metrics: metrics.clone(),
            supervisor: SupervisorProgram::default(),
            tls: tls.sources(),
            entropy: entropy()?,
            drain: watch,
        };
        let gateway = {
            let _entered = ground.serving.enter();
            Gateway::bind(self.snapshot, parts).map_err(|error| Failure::new(SYSTEM, error.to_string()))?
        };
        let (sight, control) = (gateway.sight(), gateway.control());
        let target = Target::Gateway(control.clone());
        let followed = followed(&self.source, self.follows, &self.state, target, ground);
        let mut keep = keep::Keep::start(&mesh, &self.state, sight.clone(), metrics.clone(), followed).await?;
        keep.alone(&mesh, records, metrics, tls)?;
        let mut signals = Signals::listen(ground.reload.0.clone())?;
        let running = Running {
            sight,
            catalogues: gateway.catalogues(),
            token: self.token,
            state: self.state.path().clone(),
            metrics: keep.metrics_address(),
            mesh: None,
        };
        let mut served = ground.serving.spawn(gateway.serve());
        let code = tokio::select! {
            code = work(running, &mut signals) => code,
            ended = &mut served => return Err(ended_early(ended)),
        };
        let drain_time_max = control.running().mesh.limits.drain;
        let code = finish(code, drainer, served, &mut signals, drain_time_max).await;
        keep.close().await;
        Ok(code)
    }

    /// A control plane, a gateway and sidecars.
    async fn mesh<W>(self, options: MeshOptions, ground: &mut Ground, work: W) -> Result<ExitCode, Failure>
    where
        W: AsyncFnOnce(Running, &mut Signals) -> ExitCode,
    {
        let mut signals = Signals::listen(ground.reload.0.clone())?;
        let parts = ProcessParts {
            serving: ground.serving.handle().clone(),
            metrics: ground.metrics.clone(),
            supervisor: SupervisorProgram::default(),
        };
        let spec = self.snapshot.mesh.clone();
        let file = (self.source.name.as_str(), &self.config);
        let mesh = tokio::select! {
            mesh = Mesh::start(options, file, self.snapshot, &self.state, parts) => Arc::new(mesh?),
            () = signals.next() => return Ok(ExitCode::from(FORCED)),
        };
        let target = Target::Mesh(mesh.clone());
        let followed = followed(&self.source, self.follows, &self.state, target, ground);
        let metrics = ground.metrics.clone();
        let keep = keep::Keep::start(&spec, &self.state, mesh.sight(), metrics, followed).await?;
        let running = Running {
            sight: mesh.sight(),
            catalogues: mesh.catalogues(),
            token: self.token,
            state: self.state.path().clone(),
            metrics: keep.metrics_address(),
            mesh: Some(mesh.clone()),
        };
        let code = tokio::select! {
            code = work(running, &mut signals) => Ok(code),
            who = mesh.ended() => Err(Failure::new(SYSTEM, format!("`{who}` has ended by itself; the log says why"))),
        };
        let drain_time_max = mesh.running().mesh.limits.drain;
        let code = tokio::select! {
            () = mesh.end(drain_time_max) => code,
            () = signals.next() => Ok(forced()),
        };
        keep.close().await;
        code
    }
}

/// The ring of the access records, which become spans as well where the mesh names a receiver.
fn ring(snapshot: &Snapshot) -> Result<Records, Failure> {
    let Some(receiver) = &snapshot.mesh.traces else {
        return Ok(Records::default());
    };
    let instance = u128::from_ne_bytes(entropy()?);
    let spans = Spans::new(receiver.clone(), &format!("{instance:032x}"));
    Ok(Records::default().with_spans(Arc::new(spans)))
}

/// What follows the file, where it is followed.
fn followed(
    source: &Source,
    follows: Option<bool>,
    state: &Arc<StateDirectory>,
    target: Target,
    ground: &mut Ground,
) -> Option<(Reloader, mpsc::Receiver<()>)> {
    let watched = follows?;
    // Whoever follows is the only one who hears.
    let (_, unheard) = mpsc::channel(1);
    let asked = std::mem::replace(&mut ground.reload.1, unheard);
    let reloader = Reloader::new(source, watched, state.clone(), target, ground.metrics.clone());
    Some((reloader, asked))
}

/// Lets calls end, then the servers; a second signal cuts it short.
async fn finish(
    code: ExitCode,
    drainer: Drainer,
    served: JoinHandle<()>,
    signals: &mut Signals,
    drain_time_max: Duration,
) -> ExitCode {
    let ending = async {
        let drained = drainer.drain(drain_time_max).await;
        if drained.forced > 0 {
            tracing::warn!(
                forced = drained.forced,
                finished = drained.finished,
                "calls were broken off at the deadline"
            );
        }
        if tokio::time::timeout(LET_GO_TIME, served).await.is_err() {
            tracing::warn!("servers did not end in time; their processes are killed");
        }
    };
    tokio::select! {
        () = ending => code,
        () = signals.next() => forced(),
    }
}

fn forced() -> ExitCode {
    out::note("ending at once; calls in flight are broken off");
    ExitCode::from(FORCED)
}

fn ended_early(ended: Result<(), tokio::task::JoinError>) -> Failure {
    let why = match ended {
        Ok(()) => "no listener is left".to_owned(),
        Err(error) => error.to_string(),
    };
    Failure::new(SYSTEM, format!("the gateway ended: {why}"))
}

/// Takes as many file descriptors as there are, and says so when they are fewer than the connections that are allowed.
fn enough_files(connections: usize) {
    let needed = connections as u64 + FILES_BESIDE;
    if let Some(files) = meshgate_proxy::listen::raise_descriptors().filter(|files| *files < needed) {
        tracing::warn!(
            files,
            needed,
            "this process may open fewer files than its connections need; raise its limit (`LimitNOFILE`, `ulimit -n`)"
        );
    }
}

/// Memory that is free for a while goes back to the system, on a thread of the allocator's own: left to itself it would
/// look only when it is asked for more, and a gateway that ten thousand clients have left is asked for nothing.
fn give_memory_back() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        tracing::debug!(%error, "memory goes back to the system only while it is used");
    }
}

/// The runtime of the calls.
fn serve_runtime(workers: Option<usize>) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder
        .thread_name("meshgate-serve")
        .enable_all()
        .build()
        .map_err(no_runtime)
}

/// The runtime of everything else.
fn keep_runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .thread_name("meshgate-keep")
        .enable_all()
        .build()
        .map_err(no_runtime)
}

fn no_runtime(cause: std::io::Error) -> Failure {
    Failure::new(SYSTEM, format!("the system gives no threads: {cause}"))
}

fn entropy() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Failure::new(SYSTEM, format!("the system's random source failed: {cause}")))?;
    Ok(bytes)
}
