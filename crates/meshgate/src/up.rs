//! `meshgate up`: a gateway in this process, from a file to the last call.
//!
//! Everything that can be wrong is found before an address is taken: the file, the state directory, tokens, keys and
//! certificates. Then there are two runtimes. One serves calls with all its threads; the other, on the main thread, keeps:
//! admin, records, certificates, the file, signals. So no scrape and no slow disk ever stands in a call's way. A first signal
//! drains, a second one ends the process; servers' processes go with it either way.

mod inputs;
mod keep;
mod reload;
mod summary;
mod tls;
mod tokens;
mod watch;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::{KeyRing, ServiceToken};
use meshgate_model::Snapshot;
use meshgate_proxy::admin::Sight;
use meshgate_proxy::catalogue::Catalogues;
use meshgate_proxy::drain::{Drainer, drain};
use meshgate_proxy::gateway::{Gateway, GatewayParts};
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
use self::reload::Reloader;

/// File descriptors beside those of clients: servers, records, the admin listeners.
const FILES_BESIDE: u64 = 256;
/// How long a drained gateway may take to end its servers.
const LET_GO_TIME: Duration = Duration::from_secs(15);

/// Starts what the file says and serves until a signal.
pub(crate) fn run(args: &UpArgs, state: Option<&Path>) -> Result<ExitCode, Failure> {
    let source = Source::find(args.file.as_deref())?;
    source.snapshot()?;
    // What is wrong is said in the words that were typed; what is served has paths from the root, so that the same file
    // means the same when it is read again.
    let source = source.under_root();
    let snapshot = source.snapshot_quietly()?;
    let state = StateDirectory::open(StatePath::find(state)?)?;
    let _log = log::start();
    let mut assembly = Assembly::prepare(snapshot, state, args.workers.map(usize::from))?;
    assembly.source = Some((source, !args.no_watch));
    assembly.run(async |running, signals| {
        out::note(&summary::started(&running));
        signals.next().await;
        out::note("draining; once more ends at once");
        ExitCode::SUCCESS
    })
}

/// A gateway that is ready to take its addresses.
#[derive(Debug)]
pub(crate) struct Assembly {
    snapshot: Snapshot,
    state: Arc<StateDirectory>,
    token: Option<(ServiceToken, bool)>,
    /// The file that is followed, and whether it is watched.
    source: Option<(Source, bool)>,
    keys: KeyRing,
    tls: tls::Certificates,
    workers: Option<usize>,
}

/// A gateway that serves, as its starter sees it.
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
}

impl Assembly {
    /// Reads everything the configuration refers to.
    pub(crate) fn prepare(
        mut snapshot: Snapshot,
        state: StateDirectory,
        workers: Option<usize>,
    ) -> Result<Self, Failure> {
        // Before anything secret is read, and before a server is started that could look.
        if let Err(error) = meshgate_proxy::supervise::close_to_children() {
            tracing::warn!(%error, "servers that run here may read the gateway's environment");
        }
        snapshot.revision = 1;
        let token = tokens::register(&mut snapshot, &state)?;
        let keys = state.keys()?;
        let tls = tls::load(&snapshot)?;
        Ok(Self {
            snapshot,
            state: Arc::new(state),
            token,
            source: None,
            keys,
            tls,
            workers,
        })
    }

    /// Takes the addresses and serves while `work` runs, then drains. The code of `work` is the code of the process.
    pub(crate) fn run<W>(self, work: W) -> Result<ExitCode, Failure>
    where
        W: AsyncFnOnce(Running, &mut Signals) -> ExitCode,
    {
        let Self {
            snapshot,
            state,
            token,
            source,
            keys,
            tls,
            workers,
        } = self;
        enough_files(snapshot.mesh.limits.connections_max);
        give_memory_back();
        let serving = serve_runtime(workers)?;
        let keeping = keep_runtime()?;
        let (drainer, watch) = drain();
        let (records, metrics) = (Arc::new(ring(&snapshot)?), Arc::new(Metrics::new()));
        let parts = GatewayParts {
            mesh: None,
            keys: Arc::new(keys),
            records: records.clone(),
            metrics: metrics.clone(),
            supervisor: SupervisorProgram::default(),
            tls: tls.sources(),
            entropy: entropy()?,
            drain: watch,
        };
        let mesh = snapshot.mesh.clone();
        let gateway = {
            let _entered = serving.enter();
            Gateway::bind(snapshot, parts).map_err(|error| Failure::new(SYSTEM, error.to_string()))?
        };
        let code = keeping.block_on(async {
            let sight = gateway.sight();
            let control = gateway.control();
            let (reload, asked) = mpsc::channel(1);
            let reload = source.is_some().then_some(reload);
            let followed = source.map(|(source, watched)| {
                let (state, metrics) = (state.clone(), metrics.clone());
                (Reloader::new(&source, watched, state, control.clone(), metrics), asked)
            });
            let keep = keep::Keep::start(&mesh, &state, sight.clone(), records, metrics, tls, followed).await?;
            let mut signals = Signals::listen(reload)?;
            let running = Running {
                sight,
                catalogues: gateway.catalogues(),
                token,
                state: state.path().clone(),
                metrics: keep.metrics_address(),
            };
            let mut served = serving.spawn(gateway.serve());
            let code = tokio::select! {
                code = work(running, &mut signals) => code,
                ended = &mut served => return Err(ended_early(ended)),
            };
            let drain_time_max = control.running().mesh.limits.drain;
            let code = finish(code, drainer, served, &mut signals, drain_time_max).await;
            keep.close().await;
            Ok(code)
        });
        serving.shutdown_timeout(Duration::from_millis(500));
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
        () = signals.next() => {
            out::note("ending at once; calls in flight are broken off");
            ExitCode::from(FORCED)
        }
    }
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
