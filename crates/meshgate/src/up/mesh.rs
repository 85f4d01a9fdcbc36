//! `meshgate up` as a mesh: a control plane, a gateway and sidecars in this process, over real mTLS on loopback.
//!
//! Nothing here is a short cut but one: a join token goes from the control plane to the part that uses it without a person in
//! between. The parts are those that run apart, each with a folder of its own in the state directory, a certificate of
//! its own and a number of its own. The file is the source of truth: what it says is applied to the control plane as a whole,
//! and how a sidecar reaches its server goes past the control plane to the sidecar, as it would be typed beside it.

mod beside;
mod members;
mod start;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meshgate_control::shapes::{MeshStatus, ProxyShape};
use meshgate_control::{Addresses, Outcome, Plane, Terms};
use meshgate_model::diff::{self, Change, FieldChange, How};
use meshgate_model::finding::codes;
use meshgate_model::{Config, Finding, Severity, Snapshot, SpiffeId};
use meshgate_proxy::admin::Sight;
use meshgate_proxy::admin::shape::PartReloaded;
use meshgate_proxy::assembly::{Comparison, Control as GatewayControl};
use meshgate_proxy::catalogue::{Applied, Catalogues};
use meshgate_proxy::process::ProcessParts;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use self::beside::{Beside, Step, programs, sidecars, steps};
use self::members::Members;
use self::start::Starter;
use super::reload::{Taken, Wanted};
use crate::api::ApiAddress;
use crate::exit::{CONFIGURATION, Failure};
use crate::findings::named;
use crate::state::StateDirectory;

/// How long the parts may take to acknowledge a change before the answer names those that have not.
const TAKE_TIME: Duration = Duration::from_secs(10);

/// How often the gateway is looked at while somebody waits for the first answers.
const LOOK: Duration = Duration::from_millis(10);

/// What was typed about the mesh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeshOptions {
    /// Where proxies reach the control plane.
    pub(crate) control: SocketAddr,
    /// Where operators reach its API.
    pub(crate) api: SocketAddr,
}

/// A control plane with the parts that this process runs.
pub(crate) struct Mesh {
    plane: Arc<Plane>,
    addresses: Addresses,
    starter: Starter,
    /// The file that the mesh follows, as findings name it.
    source: String,
    started: Arc<Snapshot>,
    running: Mutex<Arc<Snapshot>>,
    gateway: Arc<GatewayControl>,
    sight: Arc<dyn Sight>,
    /// Who of the proxies has ended by itself.
    ended: watch::Receiver<Option<SpiffeId>>,
    catalogues: Arc<Catalogues>,
    /// What runs, until it ends. The lock is held by the one change, or the end, that is under way.
    runs: tokio::sync::Mutex<Option<Runs>>,
}

/// What runs.
struct Runs {
    members: Members,
    control: meshgate_control::Running,
    _address: ApiAddress,
}

impl Mesh {
    /// Starts the control plane, applies the documents, and starts a gateway and sidecars; returns when all of them serve.
    /// Must be called on the runtime that keeps.
    pub(crate) async fn start(
        options: MeshOptions,
        (source, config): (&str, &Config),
        snapshot: Snapshot,
        state: &StateDirectory,
        parts: ProcessParts,
    ) -> Result<Self, Failure> {
        let folder = state.path().as_path();
        let (control, address) = start::control(options, &snapshot, folder).await?;
        let applied = apply(control.plane(), told(config, &snapshot), source).await;
        applied.map_err(|found| refused(source, &found))?;
        let starter = Starter::new(&control, parts, folder);
        let members = starter.all(&snapshot).await?;
        let snapshot = Arc::new(snapshot);
        let gateway = members.gateway.gateway_control().ok_or_else(|| {
            Failure::new(CONFIGURATION, "the gateway of the mesh has no listener").remedy("give its document one")
        })?;
        Ok(Self {
            plane: control.plane().clone(),
            addresses: control.addresses(),
            starter,
            source: source.to_owned(),
            started: snapshot.clone(),
            running: Mutex::new(snapshot),
            gateway,
            sight: members.sight(control.plane()),
            ended: members.ended(),
            catalogues: members.gateway.catalogues().clone(),
            runs: tokio::sync::Mutex::new(Some(Runs {
                members,
                control,
                _address: address,
            })),
        })
    }

    /// What the admin interface sees: the gateway.
    pub(crate) fn sight(&self) -> Arc<dyn Sight> {
        self.sight.clone()
    }

    /// The gateway's view of the servers.
    pub(crate) fn catalogues(&self) -> Arc<Catalogues> {
        self.catalogues.clone()
    }

    /// Waits until the sidecars of this process have asked their servers, and the gateway knows those that answered.
    pub(crate) async fn ready(&self, time_max: Duration) {
        let ready = async {
            let answered = self.asked(time_max).await;
            let mut look = interval(LOOK);
            loop {
                look.tick().await;
                let servers = self.sight.status().servers;
                let knows = |name: &String| {
                    servers
                        .iter()
                        .any(|server| server.name == *name && server.tools.is_some())
                };
                if answered.iter().all(knows) {
                    return;
                }
            }
        };
        // Who has not answered by then is away, and is said to be.
        let _ = timeout(time_max, ready).await;
    }

    /// The servers that have answered their sidecars of this process.
    async fn asked(&self, time_max: Duration) -> Vec<String> {
        let runs = self.runs.lock().await;
        let sidecars = runs.iter().flat_map(|runs| runs.members.sidecars());
        let sidecars: Vec<_> = sidecars
            .map(|running| (running.catalogues().clone(), running.sight()))
            .collect();
        drop(runs);
        let mut answered = Vec::new();
        for (catalogues, sight) in sidecars {
            catalogues.asked_all(time_max).await;
            let servers = sight.status().servers;
            answered.extend(
                servers
                    .into_iter()
                    .filter(|server| server.state == "up")
                    .map(|server| server.name),
            );
        }
        answered
    }

    /// How the whole mesh is.
    pub(crate) fn status(&self) -> MeshStatus {
        self.plane.status()
    }

    /// The sidecars of this process, as `server/version`: also those that are not up yet.
    pub(crate) fn sidecars(&self) -> Vec<String> {
        let sidecars = beside::sidecars(&self.running.lock());
        let name = |beside: Beside| format!("{}/{}", beside.server, beside.version);
        sidecars.into_keys().map(name).collect()
    }

    /// Where the control plane listens.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the file said at the start.
    pub(crate) fn started(&self) -> &Arc<Snapshot> {
        &self.started
    }

    /// What the file says that was taken over last.
    pub(crate) fn running(&self) -> Arc<Snapshot> {
        self.running.lock().clone()
    }

    /// What taking over `wanted` would change, object by object.
    pub(crate) fn changes(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Vec<Change> {
        let mut changes = diff::diff(&self.running(), wanted);
        for name in touched {
            let is_told = changes
                .iter()
                .any(|change| change.kind == "Server" && change.name == **name);
            if !is_told && wanted.servers.contains_key(name) {
                changes.push(renewed(name));
            }
        }
        changes
    }

    /// The same, with who would gain and lose which tools.
    pub(crate) fn compare(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Comparison {
        Comparison {
            changes: self.changes(wanted, touched),
            ..self.gateway.compare(wanted, touched)
        }
    }

    /// Applies the documents, lets sidecars come and go, and waits until every proxy has answered.
    ///
    /// # Errors
    /// When the control plane refuses; nothing has changed then.
    pub(crate) async fn take(&self, wanted: Wanted) -> Result<Taken, Vec<Finding>> {
        let Wanted {
            config,
            snapshot,
            touched,
            changes,
            ..
        } = wanted;
        self.same_name(&snapshot)?;
        let mut runs = self.runs.lock().await;
        let revision = apply(&self.plane, told(&config, &snapshot), &self.source).await?;
        let mut parts = match runs.as_mut() {
            Some(runs) => self.follow(&mut runs.members, &snapshot, &touched).await,
            None => Vec::new(),
        };
        *self.running.lock() = Arc::new(snapshot);
        self.plane.wait_for(revision, TAKE_TIME).await;
        let proxies = self.plane.status().proxies;
        parts.extend(proxies.into_iter().filter(|proxy| proxy.connected).map(answered));
        Ok(Taken {
            servers: servers(&changes),
            parts,
        })
    }

    /// The name of the gateway is its identity, which a process has for good.
    fn same_name(&self, wanted: &Snapshot) -> Result<(), Vec<Finding>> {
        let (is, wanted) = (&self.started.gateway.name, &wanted.gateway.name);
        if is == wanted {
            return Ok(());
        }
        let message =
            format!("the gateway `{is}` cannot become `{wanted}` while it runs: its certificate has the name");
        let remedy = "start again, or keep the name";
        Err(vec![Finding::of_assembly(
            codes::RESTART,
            &self.source,
            message,
            remedy,
        )])
    }

    /// Lets the proxies of this process be those that the file wants, and says which did not start.
    async fn follow(
        &self,
        members: &mut Members,
        snapshot: &Snapshot,
        touched: &BTreeSet<Arc<str>>,
    ) -> Vec<PartReloaded> {
        members.gateway.set_started(programs(snapshot));
        let mut failed = Vec::new();
        for step in steps(&members.reaches(), &sidecars(snapshot), touched) {
            match step {
                Step::Start(beside, reach) => match self.starter.sidecar(&beside, reach.clone()).await {
                    Ok(running) => members.join(beside, reach, running),
                    Err(failure) => failed.push(away(&beside, &failure)),
                },
                Step::Reach(beside, reach) => members.set_reach(&beside, reach),
                Step::Renew(beside) => {
                    if let Some(running) = members.sidecar(&beside) {
                        running.renew();
                    }
                }
                Step::Stop(beside) => members.leave(&beside, snapshot.mesh.limits.drain),
            }
        }
        failed
    }

    /// Resolves when one of the proxies has ended by itself, and says which.
    pub(crate) async fn ended(&self) -> SpiffeId {
        let mut ended = self.ended.clone();
        // While the mesh is there somebody can tell.
        match ended.wait_for(Option::is_some).await.map(|who| (*who).clone()) {
            Ok(Some(who)) => who,
            _ => std::future::pending().await,
        }
    }

    /// Lets all calls end, then the parts, then the control plane.
    pub(crate) async fn end(&self, time_max: Duration) {
        let Some(runs) = self.runs.lock().await.take() else {
            return;
        };
        runs.members.drain(time_max).await;
        runs.control.stop().await;
    }
}

/// The documents as they are applied: nothing left to a default, and no reference to a file or variable with a token.
fn told(config: &Config, snapshot: &Snapshot) -> Config {
    config.clone().in_full().with_token_digests(snapshot)
}

/// Makes the documents all there is, and says with which revision. What a file takes away has been judged before.
async fn apply(plane: &Plane, documents: Config, source: &str) -> Result<u64, Vec<Finding>> {
    let terms = Terms {
        replace: true,
        allow_shrink: true,
        ..Terms::default()
    };
    let broken = |message: String| {
        vec![Finding::of_assembly(
            codes::UNREADABLE,
            source,
            message,
            "look at the log",
        )]
    };
    let applied = plane
        .apply(documents, &terms)
        .await
        .map_err(|error| broken(error.to_string()))?;
    match applied.outcome {
        Outcome::Refused => Err(applied.findings),
        _ => Ok(applied.number),
    }
}

/// Why the control plane does not take a file, for whoever starts it.
fn refused(source: &str, found: &[Finding]) -> Failure {
    let errors = found.iter().filter(|finding| finding.severity == Severity::Error);
    let lines: Vec<String> = errors.map(|finding| named(finding, "")).collect();
    Failure::new(
        CONFIGURATION,
        format!("`{source}` is refused by the control plane:\n  {}", lines.join("\n  ")),
    )
}

fn away(beside: &Beside, failure: &Failure) -> PartReloaded {
    PartReloaded {
        identity: beside.part().to_string(),
        state: "away".to_owned(),
        why: Some(failure.words().0.to_owned()),
    }
}

/// What a proxy made of a revision that it was given time to take.
fn answered(proxy: ProxyShape) -> PartReloaded {
    let (state, why) = match (proxy.refuses, proxy.current) {
        (Some(why), _) => ("refuses", Some(why)),
        (None, true) => ("serves", None),
        (None, false) => ("waits", Some("it has not answered yet".to_owned())),
    };
    PartReloaded {
        identity: proxy.proxy.identity,
        state: state.to_owned(),
        why,
    }
}

/// A server that is defined as before, and whose values are others.
fn renewed(name: &str) -> Change {
    Change {
        kind: "Server".to_owned(),
        name: name.to_owned(),
        how: How::Changed,
        fields: vec![FieldChange {
            path: "fromFile".to_owned(),
            before: None,
            after: None,
            secret: true,
            at_restart: false,
        }],
    }
}

/// What a change does to servers.
fn servers(changes: &[Change]) -> Applied {
    let named = |how: How| {
        let of = changes
            .iter()
            .filter(move |change| change.kind == "Server" && change.how == how);
        of.map(|change| change.name.as_str().into()).collect()
    };
    Applied {
        added: named(How::Added),
        removed: named(How::Removed),
        renewed: named(How::Changed),
    }
}
