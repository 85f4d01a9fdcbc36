//! What takes over what a part is told: the first time it begins to serve, every other time it changes what is served.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use meshgate_identity::KeyRing;
use meshgate_mcp::Era;
use meshgate_model::{MeshSpec, Snapshot};
use meshgate_sync::Digest;
use meshgate_sync::message::{Report, State};
use tokio::sync::{oneshot, watch};

use super::{Kept, ProcessStartError, Served};
use crate::admin::Sight;
use crate::assembly;
use crate::catalogue::Catalogues;
use crate::hop::Endpoints;
use crate::listen::Admission;
use crate::member::{Take, Told};
use crate::sidecar;

/// The way to change an assembly that serves.
#[derive(Clone)]
pub(super) enum Control {
    Gateway(Arc<assembly::Control>),
    Sidecar(Arc<sidecar::Control>),
}

/// What of an assembly that serves is seen from outside.
#[derive(Clone)]
pub(super) struct Face {
    pub(super) sight: Arc<dyn Sight>,
    pub(super) control: Control,
    pub(super) catalogues: Arc<Catalogues>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) mesh: Option<SocketAddr>,
    pub(super) told: Arc<MeshSpec>,
}

/// An assembly whose addresses are taken and that serves.
pub(super) struct Assembled {
    pub(super) face: Face,
    pub(super) kept: Vec<Kept>,
    pub(super) served: Served,
}

/// Begins to serve, with the gateways that may call where it is a sidecar.
pub(super) type Bind = Box<dyn FnOnce(Snapshot, Admission) -> Result<Assembled, ProcessStartError> + Send>;

/// Puts what was typed on this machine into a configuration, or refuses it.
type Typed = Box<dyn Fn(&mut Snapshot) -> Result<(), String> + Send>;

/// Says that it serves, or why it does not.
pub(super) type Ready = oneshot::Sender<Result<Assembled, ProcessStartError>>;

/// Takes over what a part is told.
pub(super) struct Taker {
    bind: Option<(Bind, Ready)>,
    serving: Option<Serving>,
    typed: Typed,
    endpoints: Arc<Endpoints>,
    keys: Arc<KeyRing>,
}

/// An assembly that serves, and its last report.
struct Serving {
    face: Face,
    reported: Option<(watch::Receiver<u64>, Report)>,
}

impl Taker {
    /// One that begins to serve with `bind`. `typed` puts what was typed on this machine into a configuration, or refuses it.
    pub(super) fn new(
        bind: Bind,
        ready: Ready,
        typed: impl Fn(&mut Snapshot) -> Result<(), String> + Send + 'static,
        endpoints: Arc<Endpoints>,
        keys: Arc<KeyRing>,
    ) -> Self {
        Self {
            bind: Some((bind, ready)),
            serving: None,
            typed: Box::new(typed),
            endpoints,
            keys,
        }
    }

    fn begin(&mut self, snapshot: Snapshot, admission: Admission) -> Result<(), String> {
        let Some((bind, ready)) = self.bind.take() else {
            return Err("this part could not begin to serve".to_owned());
        };
        let assembled = bind(snapshot, admission);
        let outcome = match &assembled {
            Ok(assembled) => {
                let face = assembled.face.clone();
                self.serving = Some(Serving { face, reported: None });
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        };
        // Nobody waits any more when the start was given up.
        drop(ready.send(assembled));
        outcome
    }
}

impl Take for Taker {
    fn take(&mut self, told: Told) -> Result<(), String> {
        let mut snapshot = told.snapshot;
        if let Some(snapshot) = &mut snapshot {
            (self.typed)(snapshot)?;
        }
        let groups: BTreeSet<&str> = told.endpoints.iter().map(|(group, ..)| group.as_str()).collect();
        self.endpoints.keep_only(|group| groups.contains(group));
        for (group, settled, endpoints) in &told.endpoints {
            self.endpoints.set(group, *settled, endpoints.clone());
        }
        if let Some(ring) = told.ring {
            self.keys.take_over(ring);
        }
        let admission: Admission = told.admitted.into_iter().collect();
        let untouched = BTreeSet::new();
        match (self.serving.as_ref().map(|serving| &serving.face.control), snapshot) {
            (Some(Control::Gateway(control)), Some(snapshot)) => {
                control.apply(snapshot, &untouched);
            }
            (Some(Control::Sidecar(control)), snapshot) => {
                // Who may call no longer is refused before anything is decided by rules that were not made for it.
                control.admit(admission);
                if let Some(snapshot) = snapshot {
                    control.apply(&snapshot, &untouched);
                }
            }
            (Some(Control::Gateway(_)), None) => {}
            (None, Some(snapshot)) => return self.begin(snapshot, admission),
            (None, None) => return Err("this part has no configuration yet".to_owned()),
        }
        Ok(())
    }

    fn mesh_port(&self) -> Option<SocketAddr> {
        self.serving.as_ref()?.face.mesh
    }

    fn report(&mut self) -> Report {
        match &mut self.serving {
            None => Report {
                state: State::Starting,
                ..Report::default()
            },
            Some(serving) => serving.report(),
        }
    }
}

impl Serving {
    fn report(&mut self) -> Report {
        let upstreams = self.face.catalogues.upstreams();
        let in_flight: usize = upstreams.iter().map(|(_, upstream)| upstream.calls_in_flight()).sum();
        let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
        let control = match &self.face.control {
            Control::Gateway(_) => {
                return Report {
                    state: State::Up,
                    in_flight,
                    ..Report::default()
                };
            }
            Control::Sidecar(control) => control,
        };
        let known = self
            .reported
            .as_mut()
            .filter(|(changes, _)| !changes.has_changed().unwrap_or(true));
        let report = match known {
            Some((_, report)) => report.clone(),
            None => {
                let mut changes = control.changes();
                changes.mark_unchanged();
                let report = of_sidecar(&control.report());
                self.reported = Some((changes, report.clone()));
                report
            }
        };
        Report { in_flight, ..report }
    }
}

fn of_sidecar(report: &sidecar::Report) -> Report {
    let (state, reason) = match &report.standing {
        sidecar::Standing::Starting => (State::Starting, String::new()),
        sidecar::Standing::Up => (State::Up, String::new()),
        sidecar::Standing::Away(why) => (State::Away, why.clone()),
    };
    Report {
        state,
        reason,
        era: report.era.map(|era| match era {
            Era::Legacy => "legacy".to_owned(),
            Era::Modern => "modern".to_owned(),
        }),
        catalogue: report.catalogue.map(Digest),
        tools: u32::try_from(report.tools).unwrap_or(u32::MAX),
        ..Report::default()
    }
}
