//! Following one server: its catalogue is read, then read again whenever it may have changed.
//!
//! The subscription to the server's list changes is opened before the lists are read, so that no change falls between
//! the two; it is read again when one comes, when the subscription is lost, or when the configured time has passed. A
//! server that cannot be read is tried again with growing pauses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use meshgate_mcp::{Method, Rules, scan};
use meshgate_model::Server;
use tokio::sync::watch;

use super::sync::{Catalogues, now};
use super::{Capabilities, ListKind, ServerCatalogue, read};
use crate::call::{Messages, Reply};
use crate::refusal::Refusal;
use crate::upstream::{State, Upstream};

/// The first pause after a server could not be read; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long changes are gathered before a catalogue is read again.
const GATHER: Duration = Duration::from_millis(20);
/// The shortest time between two readings of one catalogue for changes that its server announces.
const SPACING: Duration = Duration::from_millis(250);
/// The first pause before a server that was read is read from the start again; it doubles up to [`PAUSE_MAX`].
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// How long the catalogue waits for a subscription to be acknowledged before it is read without one.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(2);
/// How often a server without subscriptions is looked at for having gone away.
const LOOK: Duration = Duration::from_secs(1);

/// One server as it is followed.
pub(super) struct Follower {
    pub(super) all: Arc<Catalogues>,
    pub(super) server: Arc<Server>,
    pub(super) upstream: Arc<Upstream>,
    /// Which follower of the server this is; what an earlier one still says counts no longer.
    pub(super) number: u64,
}

impl Follower {
    /// Which server, and which follower of it.
    pub(super) fn key(&self) -> (Arc<str>, u64) {
        (self.server.name.clone(), self.number)
    }

    /// Follows without end.
    pub(super) async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut again = AGAIN_MIN;
        loop {
            let mut connections = self.upstream.connections();
            match self.begin(&mut connections).await {
                Ok((catalogue, changes)) => {
                    pause = PAUSE_MIN;
                    self.publish(Ok(catalogue), &[]);
                    let began = tokio::time::Instant::now();
                    self.watch(changes, connections).await;
                    // A server that ends each subscription at once would be read without end.
                    if began.elapsed() >= PAUSE_MAX {
                        again = AGAIN_MIN;
                    }
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(PAUSE_MAX);
                }
                Err(refusal) => {
                    self.publish(Err(refusal.to_string()), &[]);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn publish(&self, outcome: Result<ServerCatalogue, String>, announced: &[ListKind]) {
        self.all.publish(&self.server.name, self.number, outcome, announced);
    }

    /// Reads a server from the start. The subscription is opened before the lists are read, so that no change falls
    /// between the two.
    async fn begin(
        &self,
        connections: &mut watch::Receiver<u64>,
    ) -> Result<(ServerCatalogue, Option<Messages>), Refusal> {
        let discover = self.upstream.discover().await?;
        // Asking may itself have made the connection; one made after that is another server.
        connections.mark_unchanged();
        let changes = self.subscribe(read::capabilities(&discover)).await;
        Ok((self.read().await?, changes))
    }

    async fn read(&self) -> Result<ServerCatalogue, Refusal> {
        let ids = self.all.ids().clone();
        let next_id = move || ids.fetch_add(1, Ordering::Relaxed);
        read::catalogue(&self.upstream, &self.server, &read::Reader::default(), &next_id, &now).await
    }

    /// Follows a server that has been read until it should be read from the start.
    async fn watch(&self, mut changes: Option<Messages>, mut connections: watch::Receiver<u64>) {
        let mut read_at = tokio::time::Instant::now();
        let mut refresh = tokio::time::interval(self.server.catalogue_refresh);
        refresh.tick().await;
        let mut stale = self.upstream.stale();
        loop {
            let mut kinds = Vec::new();
            tokio::select! {
                next = next_change(&mut changes) => match next {
                    Some(Some(kind)) => kinds.push(kind),
                    Some(None) => continue,
                    None => return,
                },
                _ = refresh.tick() => {}
                // The server itself has said that it is not the one that was read.
                Ok(()) = stale.changed() => {}
                () = gone(&self.upstream, &mut connections) => return,
            }
            if !kinds.is_empty() {
                // Whoever announces changes without end is read from time to time.
                let until = (read_at + SPACING).max(tokio::time::Instant::now() + GATHER);
                let gather = tokio::time::sleep_until(until);
                tokio::pin!(gather);
                loop {
                    tokio::select! {
                        () = &mut gather => break,
                        next = next_change(&mut changes) => match next {
                            Some(Some(kind)) if !kinds.contains(&kind) => kinds.push(kind),
                            Some(_) => {}
                            None => break,
                        },
                    }
                }
            }
            read_at = tokio::time::Instant::now();
            match self.read().await {
                Ok(catalogue) => self.publish(Ok(catalogue), &kinds),
                Err(refusal) => {
                    tracing::info!(server = %self.server.name, why = %refusal, "the catalogue could not be read again");
                    return;
                }
            }
        }
    }

    /// Opens a subscription to the list changes that the server announces; `None` where it announces none.
    async fn subscribe(&self, capabilities: Capabilities) -> Option<Messages> {
        let [tools, resources, prompts] = capabilities.list_changed;
        if !(tools || resources || prompts) {
            return None;
        }
        let mut wanted = Vec::new();
        for (on, member) in [
            (tools, "toolsListChanged"),
            (resources, "resourcesListChanged"),
            (prompts, "promptsListChanged"),
        ] {
            if on {
                wanted.push(format!("\"{member}\":true"));
            }
        }
        let params = format!("\"notifications\":{{{}}}", wanted.join(","));
        let id = self.all.ids().fetch_add(1, Ordering::Relaxed);
        // A subscription has no end of its own: the deadline of calls does not apply to it.
        let forever = now() + Duration::from_secs(365 * 24 * 3600);
        let out = read::internal_request(id, Method::Listen, params.as_bytes(), forever);
        let server = &self.server.name;
        match tokio::time::timeout(SUBSCRIBE_MAX, self.upstream.call(out)).await {
            Ok(Ok(Reply::Stream(messages))) => Some(messages),
            Ok(Ok(Reply::One(_))) => None,
            Err(_) => {
                tracing::info!(%server, "a subscription is not acknowledged; the catalogue is read by the clock");
                None
            }
            Ok(Err(refusal)) => {
                tracing::info!(%server, why = %refusal, "no subscription; the catalogue is read by the clock");
                None
            }
        }
    }
}

/// Waits for the next change: `None` when the subscription is lost, `Some(None)` for what is not a list change.
async fn next_change(changes: &mut Option<Messages>) -> Option<Option<ListKind>> {
    let Some(messages) = changes else {
        return std::future::pending().await;
    };
    let body = messages.next().await?.ok()?;
    let message = scan(&body, &Rules::SERVER).ok()?;
    let method = Method::parse(&message.method?.str(&body)?);
    Some(match method {
        Method::ToolsChanged => Some(ListKind::Tools),
        Method::ResourcesChanged => Some(ListKind::Resources),
        Method::PromptsChanged => Some(ListKind::Prompts),
        _ => None,
    })
}

/// Ends when the server is seen to be away, or has been connected to again since its catalogue was read.
async fn gone(upstream: &Upstream, connections: &mut watch::Receiver<u64>) {
    loop {
        tokio::select! {
            changed = connections.changed() => if changed.is_ok() { return },
            () = tokio::time::sleep(LOOK) => {}
        }
        if matches!(upstream.status().state, State::Away { .. }) {
            return;
        }
    }
}
