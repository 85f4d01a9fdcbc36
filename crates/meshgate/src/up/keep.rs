//! What runs beside the calls: admin, records, certificates, signals and an eye on the servers.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshgate_model::MeshSpec;
use meshgate_proxy::admin::shape::{Load, ServerStatus};
use meshgate_proxy::admin::{AdminSocket, MetricsListener, Sight, Steer};
use meshgate_telemetry::{AccessLog, Metrics, Records};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::reload::Reloader;
use super::{summary, tls};
use crate::exit::{CONFIGURATION, Failure, SYSTEM};
use crate::out;
use crate::state::StateDirectory;

/// How often the servers are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long everything here may take to end.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// The tasks of the keep runtime; they end when this is closed or dropped.
pub(super) struct Keep {
    tasks: JoinSet<()>,
    closing: CancellationToken,
    metrics: Option<SocketAddr>,
}

impl Keep {
    /// Opens the doors and starts the tasks.
    pub(super) async fn start(
        mesh: &MeshSpec,
        state: &StateDirectory,
        sight: Arc<dyn Sight>,
        metrics: Arc<Metrics>,
        followed: Option<(Reloader, mpsc::Receiver<()>)>,
    ) -> Result<Self, Failure> {
        let mut keep = Self {
            tasks: JoinSet::new(),
            closing: CancellationToken::new(),
            metrics: None,
        };
        let closing = &keep.closing;
        let path = state.path().admin_socket();
        let socket = AdminSocket::bind(&path).map_err(|cause| {
            Failure::new(
                SYSTEM,
                format!("admin socket `{}` cannot be opened: {cause}", path.display()),
            )
        })?;
        let steer = followed
            .as_ref()
            .map(|(reloader, _)| Arc::new(reloader.clone()) as Arc<dyn Steer>);
        keep.tasks.spawn(socket.serve(sight.clone(), steer, closing.clone()));
        if let Some(address) = mesh.admin {
            let listener = MetricsListener::bind(address).await.map_err(|cause| {
                Failure::new(SYSTEM, format!("admin listener {address} cannot be opened: {cause}"))
                    .remedy("free the address or choose another")
            })?;
            keep.metrics = Some(listener.local_address());
            keep.tasks.spawn(listener.serve(sight.clone(), closing.clone()));
        }
        if let Some((reloader, asked)) = followed {
            keep.tasks.spawn(super::watch::follow(reloader, asked, closing.clone()));
        }
        keep.tasks.spawn(watch(sight, metrics, closing.clone()));
        Ok(keep)
    }

    /// Writes the access records, and follows the certificates of the listeners: what a gateway alone keeps itself.
    pub(super) fn alone(
        &mut self,
        mesh: &MeshSpec,
        records: Arc<Records>,
        metrics: Arc<Metrics>,
        certificates: tls::Certificates,
    ) -> Result<(), Failure> {
        let log = access_log(mesh);
        let sink = log.open().map_err(|cause| {
            Failure::new(
                CONFIGURATION,
                format!("the access log {log:?} cannot be opened: {cause}"),
            )
        })?;
        let closing = &self.closing;
        if let Some(spans) = records.spans().cloned() {
            let closing = closing.clone().cancelled_owned();
            self.tasks.spawn(spans.run(metrics.clone(), closing));
        }
        self.tasks
            .spawn(records.run(metrics, sink, closing.clone().cancelled_owned()));
        self.tasks.spawn(certificates.follow(closing.clone()));
        Ok(())
    }

    /// The scrape address, where there is one.
    pub(super) fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Ends the tasks; the last records are written.
    pub(super) async fn close(mut self) {
        self.closing.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(CLOSE_TIME, all).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
    }
}

fn access_log(mesh: &MeshSpec) -> AccessLog {
    match &mesh.access_log {
        meshgate_model::AccessLog::Stderr => AccessLog::Stderr,
        meshgate_model::AccessLog::File(path) => AccessLog::File(path.clone()),
        meshgate_model::AccessLog::Off => AccessLog::Off,
    }
}

/// Tells a person when a server comes or goes (the log tells programs), and keeps the levels of the metrics.
async fn watch(sight: Arc<dyn Sight>, metrics: Arc<Metrics>, closing: CancellationToken) {
    let person = std::io::stderr().is_terminal();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while closing.run_until_cancelled(tick.tick()).await.is_some() {
        let status = sight.status();
        levels(&metrics, &status.load);
        for server in &status.servers {
            if person && changed(&mut seen, server) {
                out::note(&summary::server(server));
            }
        }
    }
}

/// Whether a server's state is news. That one is starting is not.
fn changed(seen: &mut BTreeMap<String, String>, server: &ServerStatus) -> bool {
    if server.state == "starting" {
        return false;
    }
    seen.insert(server.name.clone(), server.state.clone())
        .is_none_or(|before| before != server.state)
}

fn levels(metrics: &Metrics, load: &Load) {
    metrics.connections.set(load.connections);
    metrics.calls_in_flight.set(load.calls_in_flight);
    metrics.sessions.set(load.sessions);
    metrics.streams.set(load.streams);
    metrics.children.set(load.children);
}

/// The signals that end a gateway, and the one that lets it read its file again.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    reload: Option<mpsc::Sender<()>>,
    /// Whether a person is at a terminal. When that is gone, a hang-up means what it always meant there.
    person: bool,
}

impl Signals {
    /// Takes the signals over from their default, which is to end at once. A hang-up goes to `reload`.
    pub(super) fn listen(reload: Option<mpsc::Sender<()>>) -> Result<Self, Failure> {
        let take =
            |kind| signal(kind).map_err(|cause| Failure::new(SYSTEM, format!("signals cannot be received: {cause}")));
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
            hang_up: take(SignalKind::hangup())?,
            reload,
            person: std::io::stderr().is_terminal(),
        })
    }

    /// The next that asks to end.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
            let terminal_gone = self.person && !std::io::stderr().is_terminal();
            match &self.reload {
                // Full means that a reload is due anyway.
                Some(reload) if !terminal_gone => drop(reload.try_send(())),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(state: &str) -> ServerStatus {
        ServerStatus {
            name: "ledger".into(),
            state: state.into(),
            ..ServerStatus::default()
        }
    }

    #[test]
    fn a_server_is_news_when_it_comes_and_when_it_goes() {
        let mut seen = BTreeMap::new();
        let news = ["starting", "up", "up", "away", "starting", "away", "up"].map(|s| changed(&mut seen, &server(s)));
        assert_eq!(news, [false, true, false, true, false, false, true]);
    }
}
