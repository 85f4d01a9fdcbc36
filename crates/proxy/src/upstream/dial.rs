//! Opening a way to a server, as its definition says: the first one, and one more for each session of a caller's own.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use meshgate_model::{EnvValue, Reach, Server};
use parking_lot::Mutex;

use super::UpstreamOptions;
use super::http::{Allowance, HttpLink};
use super::stdio::{StdioCommand, StdioLink, read_value};
use crate::hop::{HopLimits, HopOptions, Sidecars};
use crate::lift::{Dial, Link};
use crate::refusal::{Reason, Refusal};

/// What a sidecar adds to a message.
const ENVELOPE_BYTES: usize = 64 << 10;

/// Opens ways to one server.
pub(super) struct Dialler {
    server: Arc<Server>,
    options: UpstreamOptions,
    /// The link that all own sessions over HTTP share: what tells them apart is in their headers.
    sessions: Mutex<Option<Arc<HttpLink>>>,
    /// Events of calls on all links over HTTP.
    allowance: Arc<Allowance>,
    /// The way to the server's sidecars, from the first time that it is asked for.
    sidecars: Mutex<Option<Arc<Sidecars>>>,
}

impl Dialler {
    pub(super) fn new(server: Arc<Server>, options: UpstreamOptions) -> Self {
        Self {
            server,
            options,
            sessions: Mutex::default(),
            allowance: Arc::default(),
            sidecars: Mutex::default(),
        }
    }

    /// The number of this part of the mesh, by which what waits here is found again.
    pub(super) fn owner(&self) -> u64 {
        self.options.owner
    }

    /// The way to the server's sidecars.
    pub(super) fn sidecars(&self) -> Result<Arc<Sidecars>, Refusal> {
        let Reach::Sidecar { version, .. } = &self.server.reach else {
            return Err(elsewhere());
        };
        let Some(hop) = &self.options.hop else {
            return Err(Refusal::new(
                Reason::ServerAway,
                "server is behind a sidecar, and this gateway has not joined a mesh; start it with `meshgate up` or `meshgate gateway`",
            ));
        };
        let mut sidecars = self.sidecars.lock();
        if let Some(sidecars) = &*sidecars {
            return Ok(Arc::clone(sidecars));
        }
        // Whatever a server may say at once, its sidecar may pass on in one piece, or as the last event of a stream, with a
        // little of its own around it.
        let sizes = &self.options.limits;
        let largest = sizes
            .response_bytes_max
            .max(sizes.line_bytes_max)
            .max(sizes.event_bytes_max);
        let limits = HopLimits {
            response_bytes: largest + ENVELOPE_BYTES,
            event_bytes: largest + ENVELOPE_BYTES,
            stream_buffer_bytes: sizes.stream_buffer_bytes_max,
            ..hop.limits
        };
        let hop = HopOptions { limits, ..hop.clone() };
        let started = Arc::new(Sidecars::start(hop, &self.server.name, version)?);
        Ok(Arc::clone(sidecars.insert(started)))
    }

    /// The same, if it has been asked for.
    pub(super) fn known_sidecars(&self) -> Option<Arc<Sidecars>> {
        self.sidecars.lock().clone()
    }

    /// A link over HTTP.
    pub(super) fn http(&self) -> Result<Arc<HttpLink>, Refusal> {
        let (Reach::Http { url, headers } | Reach::Sse { url, headers }) = &self.server.reach else {
            return Err(elsewhere());
        };
        let headers = extra_headers(headers)?;
        let link = HttpLink::new(url, headers, self.options.limits, self.options.tls.clone())?;
        Ok(Arc::new(link.sharing(&self.allowance)))
    }

    /// A child, or the event stream of HTTP+SSE.
    pub(super) async fn pipe(&self) -> Result<Arc<StdioLink>, Refusal> {
        let options = &self.options;
        match &self.server.reach {
            Reach::Stdio {
                command,
                args,
                env,
                cwd,
            } => {
                let command = StdioCommand {
                    server: Arc::clone(&self.server.name),
                    program: command.clone(),
                    args: args.clone(),
                    env: env.clone(),
                    cwd: cwd.clone(),
                };
                StdioLink::spawn(&command, &options.supervisor, options.limits).await
            }
            Reach::Sse { url, headers } => {
                StdioLink::over_events(url, extra_headers(headers)?, options.limits, options.tls.clone()).await
            }
            Reach::Http { .. } | Reach::Sidecar { .. } => Err(elsewhere()),
        }
    }

    /// The way for a session of a caller's own.
    async fn session(&self) -> Result<Link, Refusal> {
        if !matches!(self.server.reach, Reach::Http { .. }) {
            return self.pipe().await.map(Link::Stdio);
        }
        let mut sessions = self.sessions.lock();
        let link = match &*sessions {
            Some(link) => Arc::clone(link),
            None => Arc::clone(sessions.insert(self.http()?)),
        };
        Ok(Link::Http(link))
    }

    /// The same, for whoever opens sessions.
    pub(super) fn for_sessions(self: &Arc<Self>) -> Dial {
        let this = Arc::clone(self);
        Box::new(move || {
            let this = Arc::clone(&this);
            Box::pin(async move { this.session().await })
        })
    }

    /// Drops idle connections of own sessions that are closed or too old.
    pub(super) fn sweep(&self) {
        if let Some(link) = &*self.sessions.lock() {
            link.sweep();
        }
    }
}

fn elsewhere() -> Refusal {
    Refusal::new(Reason::Internal, "the server is not reached in this way")
}

/// The operator's own headers for a server.
fn extra_headers(configured: &[(String, EnvValue)]) -> Result<HeaderMap, Refusal> {
    let mut all = HeaderMap::with_capacity(configured.len());
    for (name, value) in configured {
        let wrong = |what: &str| {
            Refusal::new(
                Reason::ServerAway,
                format!("header `{name}` of the server: its {what} is malformed"),
            )
        };
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("name"))?;
        let mut value = HeaderValue::from_str(&read_value(name, value)?).map_err(|_| wrong("value"))?;
        value.set_sensitive(true);
        all.append(header, value);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use meshgate_model::{Check, EraChoice};
    use meshgate_testkit::{Answer, ScriptedServer, Step};
    use tokio::time::Instant;

    use super::*;
    use crate::upstream::http::{Events, HttpAnswer};
    use crate::upstream::limits::{CALL_EVENTS_BURST, SERVER_EVENTS_BURST};

    fn dialler(url: String) -> Dialler {
        let server = Server {
            name: Arc::from("floods"),
            team: None,
            alias: Arc::from("floods"),
            reach: Reach::Http { url, headers: vec![] },
            era: EraChoice::Auto,
            deadline: Duration::from_secs(60),
            hard_deadline: Duration::from_secs(600),
            tools: Default::default(),
            concurrency: Default::default(),
            validate_arguments: Check::Off,
            validate_results: Check::Off,
            duplicate_arguments: false,
            catalogue_per_caller: false,
            catalogue_refresh: Duration::from_secs(60),
            per_caller: false,
            questions: Default::default(),
        };
        Dialler::new(Arc::new(server), UpstreamOptions::default())
    }

    async fn call(link: &HttpLink) -> Events {
        let body = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#);
        let deadline = Instant::now() + Duration::from_secs(10);
        match link.post(HeaderMap::new(), body, deadline.into_std()).await.unwrap() {
            HttpAnswer::Stream { events, .. } => events,
            other => panic!("{other:?}"),
        }
    }

    async fn read(events: &mut Events, count: u32) {
        for _ in 0..count {
            events.next().await.unwrap().unwrap();
        }
    }

    /// The first link and that of the sessions of single callers.
    #[tokio::test]
    async fn calls_on_all_links_to_a_server_share_one_allowance_of_events() {
        let flood = Step::Bytes("data: {}\n\n".repeat(3000).into());
        let server = ScriptedServer::modern()
            .on("tools/call", move |_| Answer::stream([flood.clone(), Step::Hold]))
            .start()
            .await;
        let dialler = dialler(server.url());
        let link = dialler.http().unwrap();
        let Ok(Link::Http(sessions)) = dialler.session().await else {
            panic!("no link")
        };
        let mut opened = [call(&link).await, call(&link).await, call(&sessions).await];
        // From here on only timers move the clock.
        tokio::time::pause();
        let began = Instant::now();
        let [first, second, third] = &mut opened;
        read(first, SERVER_EVENTS_BURST).await;
        read(second, 2 * CALL_EVENTS_BURST).await;
        read(third, CALL_EVENTS_BURST).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        read(third, 1).await;
        assert!(began.elapsed() > Duration::ZERO);
    }
}
