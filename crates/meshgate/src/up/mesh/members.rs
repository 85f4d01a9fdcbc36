//! The proxies of this process: who they are, what they count, and whether they all still run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meshgate_control::Plane;
use meshgate_model::{Reach, SpiffeId};
use meshgate_proxy::admin::Sight;
use meshgate_proxy::admin::shape::{Status, Tools};
use meshgate_proxy::process::Running;
use meshgate_telemetry::metrics::merged;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::beside::Beside;

/// The proxies of this process.
pub(super) struct Members {
    pub(super) gateway: Running,
    sidecars: BTreeMap<Beside, (Reach, Running)>,
    seen: Seen,
    /// Sidecars that end their calls, and whoever waits for the end of each part.
    tasks: JoinSet<()>,
    ended: watch::Sender<Option<SpiffeId>>,
}

/// What the sidecars show of themselves, for whoever looks while one of them is started or ended.
type Seen = Arc<Mutex<BTreeMap<Beside, Arc<dyn Sight>>>>;

impl Members {
    /// A gateway, without sidecars yet.
    pub(super) fn new(gateway: Running) -> Self {
        let mut members = Self {
            gateway,
            sidecars: BTreeMap::new(),
            seen: Seen::default(),
            tasks: JoinSet::new(),
            ended: watch::Sender::new(None),
        };
        members.watch(members.gateway.id(), members.gateway.ended());
        members
    }

    /// How each sidecar reaches its server.
    pub(super) fn reaches(&self) -> BTreeMap<Beside, Reach> {
        let running = self.sidecars.iter();
        running
            .map(|(beside, (reach, _))| (beside.clone(), reach.clone()))
            .collect()
    }

    /// The sidecars.
    pub(super) fn sidecars(&self) -> impl Iterator<Item = &Running> {
        self.sidecars.values().map(|(_, running)| running)
    }

    /// The sidecar of a server.
    pub(super) fn sidecar(&self, beside: &Beside) -> Option<&Running> {
        self.sidecars.get(beside).map(|(_, running)| running)
    }

    /// A sidecar has started.
    pub(super) fn join(&mut self, beside: Beside, reach: Reach, running: Running) {
        self.watch(running.id(), running.ended());
        self.seen.lock().insert(beside.clone(), running.sight());
        self.sidecars.insert(beside, (reach, running));
    }

    /// A sidecar reaches its server in another way from now on.
    pub(super) fn set_reach(&mut self, beside: &Beside, reach: Reach) {
        if let Some((before, running)) = self.sidecars.get_mut(beside) {
            running.set_reach(reach.clone());
            *before = reach;
        }
    }

    /// A sidecar ends its calls, and goes.
    pub(super) fn leave(&mut self, beside: &Beside, time_max: Duration) {
        self.seen.lock().remove(beside);
        if let Some((_, running)) = self.sidecars.remove(beside) {
            self.tasks.spawn(async move {
                running.drain(time_max).await;
            });
        }
    }

    /// Lets all calls end. The gateway goes first, so that no call it still has finds its sidecar gone.
    pub(super) async fn drain(mut self, time_max: Duration) {
        self.gateway.drain(time_max).await;
        for (_, (_, running)) in self.sidecars {
            self.tasks.spawn(async move {
                running.drain(time_max).await;
            });
        }
        while self.tasks.join_next().await.is_some() {}
    }

    /// Who has ended by itself, once somebody has.
    pub(super) fn ended(&self) -> watch::Receiver<Option<SpiffeId>> {
        self.ended.subscribe()
    }

    /// The gateway as it is seen, with the figures of the sidecars and of the control plane beside its own.
    pub(super) fn sight(&self, plane: &Arc<Plane>) -> Arc<dyn Sight> {
        Arc::new(WholeSight {
            plane: plane.clone(),
            gateway: self.gateway.sight(),
            sidecars: self.seen.clone(),
        })
    }

    fn watch(&mut self, id: SpiffeId, ended: impl Future<Output = bool> + Send + 'static) {
        // Those that have been told to go have nobody to tell.
        while self.tasks.try_join_next().is_some() {}
        let first = self.ended.clone();
        self.tasks.spawn(async move {
            if ended.await {
                tracing::error!(part = %id, "a part has ended by itself");
                first.send_if_modified(|first| first.is_none() && first.replace(id).is_none());
            }
        });
    }
}

/// What the admin interface sees of a mesh in one process.
struct WholeSight {
    plane: Arc<Plane>,
    gateway: Arc<dyn Sight>,
    sidecars: Seen,
}

impl Sight for WholeSight {
    fn status(&self) -> Status {
        self.gateway.status()
    }

    fn tools(&self, view: Option<&str>) -> Option<Tools> {
        self.gateway.tools(view)
    }

    fn metrics(&self) -> String {
        let sidecars = self.sidecars.lock().clone();
        let named: Vec<_> = sidecars
            .iter()
            .map(|(beside, sight)| (format!("{}/{}", beside.server, beside.version), sight.metrics()))
            .collect();
        let control = self.plane.metrics();
        let texts: Vec<_> = named
            .iter()
            .map(|(name, text)| (("sidecar", name.as_str()), text.as_str()))
            .chain([(("part", "control"), control.as_str())])
            .collect();
        merged(&self.gateway.metrics(), &texts)
    }

    fn unready(&self) -> Option<String> {
        self.gateway.unready()
    }
}
