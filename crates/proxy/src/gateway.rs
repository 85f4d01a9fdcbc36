//! The assembly: a snapshot and the parts of the outside become a running gateway.
//!
//! Addresses are taken before anything runs, so that a bad one stops the start. Then the servers are reached for, each in
//! its own time, and calls are served from the first moment; what is not known yet is missing from lists and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use meshgate_identity::KeyRing;
use meshgate_mcp::Era;
use meshgate_model::{Reach, Snapshot};
use meshgate_telemetry::{Metrics, Records};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::admin::Sight;
use crate::admin::shape::{ListenerStatus, Load, ServerStatus, Status, Tool, Tools, ViewStatus};
use crate::admit::Authorities;
use crate::catalogue::{Catalogues, ListKind};
use crate::drain::Drain;
use crate::limit::{Rate, Room, Seats};
use crate::limits::Limits;
use crate::listen::{Bound, Caps, Listen, TlsSource};
use crate::listen_hub::Hub;
use crate::lower::{Lower, Seams, SessionLimits};
use crate::observe::Observer;
use crate::serve::{Core, Edge, PAGE_ITEMS};
use crate::supervise::SupervisorProgram;
use crate::upstream::limits::WireLimits;
use crate::upstream::{State, Upstream, UpstreamOptions};

/// How often legacy sessions are looked through for idle ones, and gauges are set.
const SWEEP: Duration = Duration::from_secs(5);

/// What the gateway is given by whoever starts it.
pub struct GatewayParts {
    /// Seals cursors, states, task ids and sessions.
    pub keys: Arc<KeyRing>,
    /// Takes the access records.
    pub records: Arc<Records>,
    /// Takes the figures.
    pub metrics: Arc<Metrics>,
    /// How children are started.
    pub supervisor: SupervisorProgram,
    /// TLS of the listeners that have it, in their order.
    pub tls: Vec<Option<TlsSource>>,
    /// Seeds the span ids.
    pub entropy: [u8; 16],
    /// Says when to finish.
    pub drain: Drain,
}

/// Why a gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be taken.
    #[error("listener {address} cannot be opened: {source}; free the address or choose another")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A gateway whose addresses are taken.
pub struct Gateway {
    core: Arc<Core>,
    listeners: Vec<(Bound, Arc<Authorities>)>,
    sight: Arc<GatewaySight>,
}

/// What the admin interface sees of a gateway.
pub struct GatewaySight {
    core: Arc<Core>,
    records: Arc<Records>,
    metrics: Arc<Metrics>,
    caps: Arc<Caps>,
    listeners: Vec<ListenerStatus>,
    started: Instant,
}

impl Gateway {
    /// Takes the addresses, then begins to reach for the servers. Must be called on the runtime that serves calls.
    pub fn bind(snapshot: Snapshot, parts: GatewayParts) -> Result<Self, StartError> {
        let snapshot = Arc::new(snapshot);
        let limits = Arc::new(limits(&snapshot));
        let caps = Caps::new(&limits);
        let listeners = bind_all(&snapshot, &parts.tls, &limits, &caps)?;
        let wire = wire_limits(&limits);
        let mut upstreams = BTreeMap::new();
        for (name, server) in &snapshot.servers {
            let options = UpstreamOptions {
                supervisor: parts.supervisor.clone(),
                limits: wire,
                tls: None,
            };
            upstreams.insert(name.clone(), Upstream::start(server.clone(), options));
        }
        let ids = Arc::new(AtomicU64::new(1));
        let catalogues = Catalogues::new(snapshot.clone(), upstreams, ids.clone(), PAGE_ITEMS);
        let model = &snapshot.mesh.limits;
        let sessions = SessionLimits {
            sessions_per_caller_max: model.sessions_per_caller_max,
            ..SessionLimits::default()
        };
        let core = Arc::new(Core {
            catalogues,
            lower: Arc::new(Lower::new(parts.keys.clone(), sessions, Seams::system())),
            keys: parts.keys,
            hub: Hub::new(ids.clone(), limits.stream_buffer_bytes),
            observer: Observer::new(parts.records.clone(), parts.entropy),
            ids,
            rate: Rate::new(model.calls_per_second, model.call_burst),
            unproven_rate: Rate::new(model.unauthenticated_per_second, model.unauthenticated_per_second),
            calls: Room::new(model.calls_in_flight_max),
            streams: Seats::new(limits.streams_per_caller),
            limits,
            drain: parts.drain,
        });
        let sight = Arc::new(GatewaySight {
            core: core.clone(),
            records: parts.records,
            metrics: parts.metrics,
            caps,
            listeners: listener_status(&listeners, &snapshot),
            started: Instant::now(),
        });
        Ok(Self { core, listeners, sight })
    }

    /// The addresses that were taken, in the order of the listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(bound, _)| bound.local_address()).collect()
    }

    /// What the admin interface sees.
    pub fn sight(&self) -> Arc<GatewaySight> {
        self.sight.clone()
    }

    /// The catalogues, for whoever wants to wait for the servers' first answers.
    pub fn catalogues(&self) -> Arc<Catalogues> {
        self.core.catalogues.clone()
    }

    /// Serves until the drain has asked to finish and every call has ended or was broken off, then ends the servers.
    pub async fn serve(self) {
        let core = self.core;
        let mut listening = JoinSet::new();
        for (bound, authorities) in self.listeners {
            let edge = Edge {
                core: core.clone(),
                authorities,
            };
            let address = bound.local_address();
            let drain = core.drain.clone();
            listening.spawn(async move {
                let service = move |request, connection| edge.clone().answer(request, connection);
                if let Err(error) = bound.serve(service, drain).await {
                    tracing::error!(%address, %error, "a listener has ended");
                }
            });
        }
        let mut keeping = JoinSet::new();
        let stop = core.drain.clone();
        keeping.spawn(core.catalogues.clone().run(async move { stop.forced().await }));
        keeping.spawn(core.hub.clone().run(core.catalogues.events()));
        keeping.spawn(sweep(core.clone(), self.sight.clone()));
        core.drain.asked().await;
        core.lower.drain();
        while listening.join_next().await.is_some() {}
        core.lower.close().await;
        keeping.shutdown().await;
        core.hub.close().await;
        let closing = core.catalogues.upstreams().values().map(|upstream| upstream.close());
        futures_util::future::join_all(closing).await;
    }
}

async fn sweep(core: Arc<Core>, sight: Arc<GatewaySight>) {
    let mut tick = tokio::time::interval(SWEEP);
    loop {
        tick.tick().await;
        core.lower.sweep();
        sight.gauges();
    }
}

fn bind_all(
    snapshot: &Snapshot,
    tls: &[Option<TlsSource>],
    limits: &Arc<Limits>,
    caps: &Arc<Caps>,
) -> Result<Vec<(Bound, Arc<Authorities>)>, StartError> {
    let mut bound = Vec::new();
    for (index, listener) in snapshot.gateway.listeners.iter().enumerate() {
        let listen = Listen {
            address: listener.address,
            tls: tls.get(index).cloned().flatten(),
        };
        let socket = Bound::bind(listen, limits.clone(), caps.clone()).map_err(|source| StartError::Bind {
            address: listener.address,
            source,
        })?;
        let port = socket.local_address().port();
        bound.push((socket, Arc::new(Authorities::of(listener, port))));
    }
    Ok(bound)
}

fn listener_status(listeners: &[(Bound, Arc<Authorities>)], snapshot: &Snapshot) -> Vec<ListenerStatus> {
    let listed = listeners.iter().zip(&snapshot.gateway.listeners);
    listed
        .map(|((bound, _), listener)| {
            let address = bound.local_address();
            let scheme = if listener.tls.is_some() { "https" } else { "http" };
            ListenerStatus {
                address: address.to_string(),
                tls: listener.tls.is_some(),
                url: format!("{scheme}://{address}"),
            }
        })
        .collect()
}

/// The proxy's limits with what the configuration says in their place.
fn limits(snapshot: &Snapshot) -> Limits {
    let said = &snapshot.mesh.limits;
    Limits {
        connections: said.connections_max,
        connections_per_address: said.connections_per_address_max,
        drain_time: said.drain,
        body_bytes: said.body_bytes_max,
        json_depth: said.json_depth_max,
        json_nodes: said.json_nodes_max,
        response_bytes: said.response_bytes_max,
        stdio_line_bytes: said.line_bytes_max,
        sse_event_bytes: said.event_bytes_max,
        stream_buffer_bytes: said.stream_buffer_bytes_max,
        streams_per_caller: said.streams_per_caller_max,
        calls_per_second: said.calls_per_second as usize,
        calls_burst: said.call_burst as usize,
        unproven_calls_per_second: said.unauthenticated_per_second as usize,
        ..Limits::default()
    }
}

fn wire_limits(limits: &Limits) -> WireLimits {
    WireLimits {
        response_bytes_max: limits.response_bytes,
        event_bytes_max: limits.sse_event_bytes,
        line_bytes_max: limits.stdio_line_bytes,
        stream_buffer_bytes_max: limits.stream_buffer_bytes,
    }
}

impl GatewaySight {
    fn gauges(&self) {
        for server in self.servers() {
            let name: Arc<str> = Arc::from(server.name.as_str());
            self.metrics.server_up(&name, server.state == "up");
            self.metrics.server_tools(&name, server.tools.unwrap_or_default());
            self.metrics.server_restarts(&name, server.restarts);
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
            .iter()
            .map(|(name, upstream)| {
                let (catalogue, away) = catalogues.server_state(name);
                let status = upstream.status();
                let server = snapshot.servers.get(name);
                ServerStatus {
                    name: name.to_string(),
                    team: server.and_then(|s| s.team.as_deref()).map(str::to_owned),
                    reach: match server.map(|s| &s.reach) {
                        Some(Reach::Http { .. }) => "http".to_owned(),
                        _ => "stdio".to_owned(),
                    },
                    state: match (&away, &catalogue) {
                        (Some(_), _) => "away".to_owned(),
                        (None, Some(_)) => "up".to_owned(),
                        (None, None) => "starting".to_owned(),
                    },
                    why: away.as_ref().map(|(told, _)| why_away(&status.state, told)),
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
                }
            })
            .collect()
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

impl Sight for GatewaySight {
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
                sessions: i64::try_from(self.core.lower.sessions()).unwrap_or(i64::MAX),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_the_connection_met_rather_than_that_nobody_answered() {
        let away = State::Away {
            why: "server process ended with exit code 1: no such file".to_owned(),
            since: Duration::from_secs(3),
        };
        let told = "server did not answer before the deadline";
        assert_eq!(
            why_away(&away, told),
            "server process ended with exit code 1: no such file"
        );
        assert_eq!(why_away(&State::Starting, told), told);
    }
}
