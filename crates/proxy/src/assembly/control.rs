//! Changing the configuration of an assembly that serves.
//!
//! What is given here has been read, checked and compiled as a whole; taking it over is one swap that the next call sees.
//! Nothing of it waits: servers that are new are connected to by themselves, and what is left behind is closed when its
//! last call has ended. Then everything long-lived is looked at again: sessions of callers who may no longer be here end
//! now, and streams end themselves ([`crate::authorize::Standing`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meshgate_model::{Server, Snapshot, View, diff};
use tokio::runtime::Handle;

use crate::admin::shape::ToolChange;
use crate::authorize::may_use;
use crate::catalogue::{Applied, ViewState};
use crate::listen::Caps;
use crate::lower::Lower;
use crate::serve::Core;
use crate::upstream::{Upstream, UpstreamOptions};

/// The way to change the configuration of what serves.
pub struct Control {
    core: Arc<Core>,
    /// The sessions of legacy clients, at an edge.
    lower: Option<Arc<Lower>>,
    caps: Arc<Caps>,
    /// Calls are served on it, and so are the ways to servers.
    runtime: Handle,
    options: UpstreamOptions,
    started: Arc<Snapshot>,
}

/// What a configuration would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Object by object.
    pub changes: Vec<diff::Change>,
    /// Who would gain or lose which tools, as far as the servers are known.
    pub tools: Vec<ToolChange>,
    /// Servers whose tools are not known.
    pub unknown: Vec<Arc<str>>,
}

impl Control {
    /// Must be called on the runtime that serves calls.
    pub(crate) fn new(
        core: Arc<Core>,
        lower: Option<Arc<Lower>>,
        caps: Arc<Caps>,
        options: UpstreamOptions,
        started: Arc<Snapshot>,
    ) -> Self {
        Self {
            core,
            lower,
            caps,
            runtime: Handle::current(),
            options,
            started,
        }
    }

    /// What the process was started with.
    pub fn started(&self) -> &Arc<Snapshot> {
        &self.started
    }

    /// What is served now.
    pub fn running(&self) -> Arc<Snapshot> {
        self.core.catalogues.routing().load().snapshot.clone()
    }

    /// What taking over `wanted` would change, object by object. A server that is `touched` depends on something that has
    /// changed outside.
    pub fn changes(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Vec<diff::Change> {
        let mut changes = diff::diff(&self.running(), wanted);
        for name in touched {
            let told = changes.iter().any(|c| c.kind == "Server" && c.name == **name);
            if !told && wanted.servers.contains_key(name) {
                changes.push(touched_server(name));
            }
        }
        changes
    }

    /// The same, with who would gain and lose which tools. A server that is `touched` depends on something that has changed outside.
    pub fn compare(&self, wanted: &Snapshot, touched: &BTreeSet<Arc<str>>) -> Comparison {
        let routing = self.core.catalogues.routing().load_full();
        let now = &routing.snapshot;
        let changes = self.changes(wanted, touched);
        let unknown = wanted.servers.keys();
        let unknown = unknown.filter(|name| self.core.catalogues.server_state(name).0.is_none());
        let idle = |server: &Arc<Server>| Upstream::idle(server.clone(), self.options.clone());
        let after = self.core.catalogues.preview(wanted, idle);
        let before: Vec<&ViewState> = routing.views.values().map(|view| &**view).collect();
        let tools = tool_changes((now, &before), (wanted, &after.iter().collect::<Vec<_>>()));
        Comparison {
            changes,
            tools,
            unknown: unknown.cloned().collect(),
        }
    }

    /// Takes over a configuration; from now on every call sees it.
    pub fn apply(&self, wanted: Snapshot, touched: &BTreeSet<Arc<str>>) -> Applied {
        let _entered = self.runtime.enter();
        let wanted = Arc::new(wanted);
        self.limit(&wanted);
        let start = |server: &Arc<Server>| Upstream::start(server.clone(), self.options.clone());
        let applied = self.core.catalogues.apply(wanted.clone(), touched, start);
        if let Some(lower) = &self.lower {
            lower.keep_only(|caller, view| {
                let view = wanted.view(view);
                view.is_some_and(|view| may_use(&wanted, view, caller))
            });
        }
        for (name, upstream) in self.core.catalogues.upstreams() {
            let shows = |view: &View| view.servers.iter().any(|shown| shown.server.name == name);
            let showing: Vec<_> = wanted.views.iter().filter(|view| shows(view)).collect();
            upstream.keep_parked(|caller| showing.iter().any(|view| may_use(&wanted, view, caller)));
        }
        applied
    }

    /// Limits that are looked at anew for each call.
    fn limit(&self, wanted: &Snapshot) {
        let limits = &wanted.mesh.limits;
        let core = &self.core;
        core.rate.set(limits.calls_per_second, limits.call_burst);
        core.write_rate.set(limits.writes_per_second, limits.write_burst);
        let unproven = limits.unauthenticated_per_second;
        core.unproven_rate.set(unproven, unproven);
        core.calls.set_max(limits.calls_in_flight_max);
        core.streams.set_max(limits.streams_per_caller_max);
        if let Some(lower) = &self.lower {
            lower.set_sessions_per_caller(limits.sessions_per_caller_max);
        }
        self.caps
            .set_max(limits.connections_max, limits.connections_per_address_max);
    }
}

fn touched_server(name: &Arc<str>) -> diff::Change {
    diff::Change {
        kind: "Server".to_owned(),
        name: name.to_string(),
        how: diff::How::Changed,
        fields: vec![diff::FieldChange {
            path: "fromFile".to_owned(),
            before: None,
            after: None,
            secret: true,
            at_restart: false,
        }],
    }
}

type Side<'a> = (&'a Snapshot, &'a [&'a ViewState]);

/// Who gains and loses which tools, by application and view.
fn tool_changes(before: Side<'_>, after: Side<'_>) -> Vec<ToolChange> {
    let tools = |(_, views): Side<'_>| -> BTreeMap<Arc<str>, BTreeSet<Arc<str>>> {
        let views = views.iter();
        views
            .map(|view| (view.view.name.clone(), view.tools.keys().cloned().collect()))
            .collect()
    };
    let (old, new) = (tools(before), tools(after));
    let names =
        |snapshot: &Snapshot| -> Vec<Arc<str>> { snapshot.applications.iter().map(|a| a.name.clone()).collect() };
    let applications: BTreeSet<Arc<str>> = names(before.0).into_iter().chain(names(after.0)).collect();
    let callers = std::iter::once(None).chain(applications.into_iter().map(Some));
    let views: BTreeSet<&Arc<str>> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    let nothing = BTreeSet::new();
    for application in callers {
        for name in &views {
            let seen = |snapshot: &Snapshot| {
                snapshot
                    .view(name)
                    .is_some_and(|v| sees(snapshot, v, application.as_deref()))
            };
            let had = old.get(*name).filter(|_| seen(before.0)).unwrap_or(&nothing);
            let has = new.get(*name).filter(|_| seen(after.0)).unwrap_or(&nothing);
            if had == has {
                continue;
            }
            let texts =
                |tools: std::collections::btree_set::Difference<'_, Arc<str>>| tools.map(|t| t.to_string()).collect();
            changes.push(ToolChange {
                application: application.as_deref().map(str::to_owned),
                view: name.to_string(),
                gained: texts(has.difference(had)),
                lost: texts(had.difference(has)),
            });
        }
    }
    changes
}

/// Whether a view is told of an application: what is open to everybody is told once, of callers without a token.
fn sees(snapshot: &Snapshot, view: &View, application: Option<&str>) -> bool {
    match application {
        None => view.anonymous,
        Some(application) => !view.anonymous && snapshot.may_use(application, view),
    }
}
