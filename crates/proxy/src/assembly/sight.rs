//! What the admin interface sees of an assembly.

use std::sync::Arc;
use std::time::Instant;

use meshgate_mcp::Era;
use meshgate_model::Reach;
use meshgate_telemetry::{Metrics, Records};

use crate::admin;
use crate::admin::shape::{ListenerStatus, Load, ServerStatus, Status, Tool, Tools, ViewStatus};
use crate::catalogue::ListKind;
use crate::hop::EndpointStatus;
use crate::listen::Caps;
use crate::lower::Lower;
use crate::serve::Core;
use crate::upstream::State;

/// What the admin interface sees of an assembly.
pub struct Sight {
    pub(crate) core: Arc<Core>,
    /// The sessions of legacy clients, at an edge.
    pub(crate) lower: Option<Arc<Lower>>,
    pub(crate) records: Arc<Records>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) caps: Arc<Caps>,
    pub(crate) listeners: Vec<ListenerStatus>,
    pub(crate) started: Instant,
}

impl Sight {
    pub(crate) fn gauges(&self) {
        for server in self.servers() {
            let name: Arc<str> = Arc::from(server.name.as_str());
            self.metrics.server_up(&name, server.state == "up");
            self.metrics.server_tools(&name, server.tools.unwrap_or_default());
            self.metrics.server_restarts(&name, server.restarts);
        }
        for (name, upstream) in self.core.catalogues.upstreams() {
            self.metrics.parked.set(&name, upstream.parked());
        }
        for (reason, total) in self.caps.refused().counts() {
            self.metrics.wire_refusals(reason, total);
        }
    }

    fn servers(&self) -> Vec<ServerStatus> {
        let catalogues = &self.core.catalogues;
        let snapshot = &catalogues.routing().load().snapshot;
        catalogues
            .upstreams()
            .into_iter()
            .map(|(name, upstream)| {
                let (catalogue, away) = catalogues.server_state(&name);
                let status = upstream.status();
                let server = snapshot.servers.get(&name);
                ServerStatus {
                    name: name.to_string(),
                    team: server.and_then(|s| s.team.as_deref()).map(str::to_owned),
                    reach: match server.map(|s| &s.reach) {
                        Some(Reach::Http { .. }) => "http".to_owned(),
                        Some(Reach::Sse { .. }) => "sse".to_owned(),
                        Some(Reach::Sidecar { .. }) => "sidecar".to_owned(),
                        _ => "stdio".to_owned(),
                    },
                    state: match (&away, &catalogue) {
                        (Some(_), _) => "away".to_owned(),
                        (None, Some(_)) => "up".to_owned(),
                        (None, None) => "starting".to_owned(),
                    },
                    why: away.as_ref().map(|(told, _)| why_away(&status.state, told)),
                    // Rounded up, so that a pause is never shown as none.
                    next_attempt_seconds: status
                        .next_attempt
                        .map(|pause| pause.as_millis().div_ceil(1000))
                        .and_then(|seconds| u64::try_from(seconds).ok()),
                    away_seconds: away.as_ref().map(|(_, since)| since.elapsed().as_secs()),
                    era: status.era.map(|era| match era {
                        Era::Legacy => "legacy".to_owned(),
                        Era::Modern => "modern".to_owned(),
                    }),
                    revision: status.revision.map(str::to_owned),
                    tools: catalogue.map(|c| c.lists.first().map_or(0, |l| l.items.len())),
                    pid: status.pid,
                    restarts: status.restarts,
                    calls_in_flight: status.in_flight,
                    calls_waiting: status.waiting,
                    calls_parked: status.parked.parked,
                    own_sessions: status.parked.own_sessions,
                    endpoints: status.endpoints.iter().map(endpoint).collect(),
                }
            })
            .collect()
    }
}

fn endpoint(status: &EndpointStatus) -> admin::shape::EndpointStatus {
    admin::shape::EndpointStatus {
        instance: format!("{:016x}", status.instance),
        version: status.version.to_string(),
        address: status.address.to_string(),
        state: if status.works { "up" } else { "out" }.to_owned(),
        in_flight: status.in_flight,
        connections: status.connections,
        stream_connections: status.stream_connections,
    }
}

/// Why a server is away: what its connection met is nearer to the cause than what the reader of its catalogue was told
/// while it waited for one.
fn why_away(state: &State, told: &str) -> String {
    match state {
        State::Away { why, .. } => why.clone(),
        State::Up | State::Starting => told.to_owned(),
    }
}

impl admin::Sight for Sight {
    fn status(&self) -> Status {
        let routing = self.core.catalogues.routing().load_full();
        let views = routing
            .snapshot
            .views
            .iter()
            .filter_map(|view| routing.views.get(&view.path))
            .map(|state| ViewStatus {
                name: state.view.name.to_string(),
                path: state.view.path.to_string(),
                servers: state.servers.iter().map(|s| s.server.name.to_string()).collect(),
                away: state
                    .servers
                    .iter()
                    .filter(|s| s.away)
                    .map(|s| s.server.name.to_string())
                    .collect(),
                tools: state.list(ListKind::Tools).items.len(),
                anonymous: state.view.anonymous,
            });
        let servers = self.servers();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mesh: routing.snapshot.mesh.name.to_string(),
            revision: routing.revision,
            uptime_seconds: self.started.elapsed().as_secs(),
            unready: self.unready(),
            listeners: self.listeners.clone(),
            views: views.collect(),
            load: Load {
                connections: i64::try_from(self.caps.open()).unwrap_or(i64::MAX),
                calls_in_flight: i64::try_from(self.core.calls.inside()).unwrap_or(i64::MAX),
                sessions: i64::try_from(self.lower.as_ref().map_or(0, |lower| lower.sessions())).unwrap_or(i64::MAX),
                streams: i64::try_from(self.core.streams.taken()).unwrap_or(i64::MAX),
                children: servers
                    .iter()
                    .filter(|s| s.pid.is_some())
                    .count()
                    .try_into()
                    .unwrap_or(i64::MAX),
                records_dropped: self.records.dropped(),
            },
            servers,
            configuration: None,
            member: None,
        }
    }

    fn tools(&self, view: Option<&str>) -> Option<Tools> {
        let routing = self.core.catalogues.routing().load_full();
        let wanted = match view {
            Some(name) => routing.snapshot.view(name)?,
            None => routing.snapshot.views.first()?,
        };
        let state = routing.views.get(&wanted.path)?;
        let tools = state.list(ListKind::Tools).items.iter().filter_map(|item| {
            let name = meshgate_mcp::lookup(item, whole(item)?, &["name"])?
                .str(item)?
                .into_owned();
            let entry = state.tools.get(&*name)?;
            let server = state.servers.get(entry.server)?.server.name.to_string();
            let definition = serde_json::value::RawValue::from_string(String::from_utf8(item.to_vec()).ok()?).ok()?;
            Some(Tool {
                name,
                server,
                definition,
            })
        });
        Some(Tools {
            view: wanted.name.to_string(),
            path: wanted.path.to_string(),
            tools: tools.collect(),
            away: state
                .servers
                .iter()
                .filter(|s| s.away)
                .map(|s| s.server.name.to_string())
                .collect(),
        })
    }

    fn metrics(&self) -> String {
        self.gauges();
        self.metrics.encode()
    }

    fn unready(&self) -> Option<String> {
        self.core.drain.is_asked().then(|| "draining".to_owned())
    }
}

fn whole(item: &[u8]) -> Option<meshgate_mcp::Span> {
    Some(meshgate_mcp::Span {
        start: 0,
        end: u32::try_from(item.len()).ok()?,
    })
}

impl Sight {
    /// What is still held for calls: nothing when none is under way. For simulations.
    #[doc(hidden)]
    pub fn left_over(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (name, upstream) in self.core.catalogues.upstreams() {
            let status = upstream.status();
            let counts = [
                ("calls in flight", upstream.calls_in_flight()),
                ("calls waiting", status.waiting),
                ("parked calls", status.parked.parked),
                ("sessions of callers", status.parked.own_sessions),
            ];
            let held = counts.iter().filter(|(_, count)| *count > 0);
            left.extend(held.map(|(what, count)| format!("{count} {what} at {name}")));
        }
        left
    }
}
