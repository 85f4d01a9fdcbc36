//! Keeping one server reachable.
//!
//! Connect, wait until it is over, connect again; after a failure wait, and longer after each further one. The era is
//! remembered from one connection to the next, and forgotten when a connection that built on it fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use meshgate_mcp::Era;
use meshgate_model::{Deadlines, EraChoice, Reach};
use tokio::time::{Instant, sleep_until};

use super::connected::{Connected, Way};
use super::limits::{BACKOFF_MAX, EAGER_PAUSE, GOOD_LIFE, HANDSHAKE_MAX, PROBE_MAX};
use super::patience::Patience;
use super::probe::{self, Verdict};
use super::stdio::StdioLink;
use super::{Phase, Shared};
use crate::lift::{Lifted, Link};
use crate::refusal::{Executed, Reason, Refusal};
use crate::simulated;

/// The pause after the first failure: short enough that a child that crashed once is hardly missed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Runs until the upstream is closed.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut keeper = Keeper {
        shared: Arc::clone(&shared),
        era: None,
        failures: 0,
        away_since: None,
    };
    while let Some(refusal) = keeper.attempt().await {
        if !keeper.pause(refusal).await {
            return;
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    /// What the server spoke last time.
    era: Option<Era>,
    /// Failures in a row.
    failures: u32,
    /// When it was last up, or first missed.
    away_since: Option<Instant>,
}

impl Keeper {
    /// Connects and stays until the connection is over. `None` when the upstream was closed.
    async fn attempt(&mut self) -> Option<Refusal> {
        let shared = Arc::clone(&self.shared);
        shared.phase.send_replace(Phase::Starting);
        let connected = tokio::select! {
            () = shared.shutdown.cancelled() => return None,
            connected = self.connect() => connected,
        };
        let connected = match connected {
            Ok(connected) => Arc::new(connected),
            Err(refusal) => {
                self.count(self.failures + 1);
                return Some(refusal);
            }
        };
        let began = Instant::now();
        self.era = Some(connected.era());
        tracing::info!(
            server = &*shared.server.name,
            revision = connected.revision(),
            "server is up"
        );
        shared.current.store(Some(Arc::clone(&connected)));
        shared.phase.send_replace(Phase::Up);
        shared.connections.send_modify(|count| *count += 1);
        let doubted = tokio::select! {
            doubted = connected.over() => doubted,
            () = shared.shutdown.cancelled() => {
                shared.current.store(None);
                connected.close().await;
                return None;
            }
        };
        shared.current.store(None);
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        if doubted {
            self.era = None;
        }
        self.count(if began.elapsed() >= GOOD_LIFE {
            1
        } else {
            self.failures + 1
        });
        self.away_since = None;
        let why = connected
            .close_reason()
            .map_or_else(|| "server is away: its session ended".to_owned(), |why| why.to_string());
        Some(Refusal::server(Reason::ServerAway, Executed::No, why))
    }

    fn count(&mut self, failures: u32) {
        self.failures = failures;
        self.shared.failures.store(failures, Ordering::Relaxed);
    }

    /// Waits before the next attempt; `false` when the upstream was closed meanwhile.
    async fn pause(&mut self, refusal: Refusal) -> bool {
        tracing::warn!(server = &*self.shared.server.name, why = %refusal, failures = self.failures, "server is away");
        let now = Instant::now();
        let next = now + backoff(self.failures);
        let eager_from = if self.shared.is_cheap() {
            next.min(now + EAGER_PAUSE)
        } else {
            next
        };
        // The call that meets this refusal has not been sent, whatever ended the connection. The first pause is so short
        // that callers wait it out.
        let refusal = Box::new(Refusal {
            reason: Reason::ServerAway,
            executed: Executed::No,
            ..refusal
        });
        self.shared.phase.send_replace(if self.failures <= 1 {
            Phase::Starting
        } else {
            Phase::Away {
                refusal,
                since: *self.away_since.get_or_insert(now),
                eager_from,
                next,
            }
        });
        tokio::select! {
            () = self.shared.shutdown.cancelled() => false,
            () = sleep_until(next) => true,
            () = self.wanted(eager_from) => true,
            () = self.joined(eager_from) => true,
        }
    }

    /// Resolves when a connection to a sidecar has come to stand since `from`.
    async fn joined(&self, from: Instant) {
        let Some(sidecars) = self.shared.dialler.known_sidecars() else {
            return std::future::pending().await;
        };
        let mut opened = sidecars.opened();
        opened.borrow_and_update();
        // One that joins is asked at once; after a failure of what is behind it there is a pause, as for everybody.
        if self.failures > 1 {
            sleep_until(from).await;
        }
        if opened.changed().await.is_err() {
            std::future::pending().await
        }
    }

    async fn wanted(&self, from: Instant) {
        sleep_until(from).await;
        self.shared.wanted.notified().await;
    }

    async fn connect(&mut self) -> Result<Connected, Refusal> {
        let shared = Arc::clone(&self.shared);
        let result = match &shared.server.reach {
            Reach::Http { .. } => self.connect_http().await,
            Reach::Sse { .. } => self.connect_sse().await,
            Reach::Stdio { .. } => self.connect_stdio().await,
            Reach::Sidecar { .. } => self.connect_sidecars().await,
        };
        if result.is_err() {
            // What was believed of the server may be the reason.
            self.era = None;
        }
        result
    }

    async fn connect_http(&self) -> Result<Connected, Refusal> {
        let link = self.shared.dialler.http()?;
        if self.known_legacy() {
            return self.lifted(Link::Http(link)).await;
        }
        match self.checked(probe::ask_http(&link).await?)? {
            Verdict::Modern(discover) => Ok(self.connected(Way::Http(link), Some(discover))),
            Verdict::Legacy => self.lifted(Link::Http(link)).await,
        }
    }

    /// Sidecars keep their own connections and their own health; what is asked here is only whether there is one, and what
    /// the server behind it says of itself.
    async fn connect_sidecars(&self) -> Result<Connected, Refusal> {
        let shared = &self.shared;
        let sidecars = shared.dialler.sidecars()?;
        sidecars.ready().await?;
        let connected = self.connected(Way::Mesh(sidecars), None);
        let out = probe::discover_request(PROBE_MAX);
        let deadlines = Deadlines {
            silence: PROBE_MAX,
            hard: PROBE_MAX,
        };
        let patience = Patience::new(&out, deadlines);
        let turn = match shared.turns.take(&out) {
            Some(turn) => turn,
            None => shared.turns.wait(&out).await?,
        };
        connected.discover(&out, patience, turn).await?;
        Ok(connected)
    }

    /// A server of 2024-11-05 over HTTP: a pipe like that of a child, only longer.
    async fn connect_sse(&self) -> Result<Connected, Refusal> {
        let link = self.shared.dialler.pipe().await?;
        self.lifted(Link::Stdio(link)).await
    }

    async fn connect_stdio(&mut self) -> Result<Connected, Refusal> {
        let link = self.shared.dialler.pipe().await?;
        if !self.known_legacy() {
            match probe::ask_stdio(&link).await {
                Ok(verdict) => {
                    if let Verdict::Modern(discover) = self.checked(verdict)? {
                        return Ok(self.connected(Way::Stdio(link), Some(discover)));
                    }
                }
                Err(refusal) => return self.after_silent_end(&link, refusal).await,
            }
        }
        self.lifted(Link::Stdio(link)).await
    }

    /// A child that ended on the question for its era: some legacy servers do, so it is greeted the legacy way once.
    async fn after_silent_end(&self, link: &Arc<StdioLink>, refusal: Refusal) -> Result<Connected, Refusal> {
        let cannot_start = link.close_reason().is_none_or(|why| why.contains("cannot be started"));
        if cannot_start || self.shared.server.era == EraChoice::Modern {
            return Err(refusal);
        }
        let again = self.shared.dialler.pipe().await?;
        self.lifted(Link::Stdio(again)).await.map_err(|_| refusal)
    }

    /// Greets a legacy server.
    async fn lifted(&self, link: Link) -> Result<Connected, Refusal> {
        let own = Arc::clone(&self.shared.own);
        let lifted = Lifted::connect(link.clone(), own, (Instant::now() + HANDSHAKE_MAX).into_std()).await?;
        Ok(self.connected(Way::Lifted(lifted, link), None))
    }

    fn connected(&self, way: Way, discover: Option<Bytes>) -> Connected {
        let (stale, dialler) = (Arc::clone(&self.shared.stale), Arc::clone(&self.shared.dialler));
        Connected::new(way, discover, stale, dialler)
    }

    fn known_legacy(&self) -> bool {
        match self.shared.server.era {
            EraChoice::Legacy => true,
            EraChoice::Modern => false,
            EraChoice::Auto => self.era == Some(Era::Legacy),
        }
    }

    /// A server that is configured as modern must be it.
    fn checked(&self, verdict: Verdict) -> Result<Verdict, Refusal> {
        if verdict == Verdict::Legacy && self.shared.server.era == EraChoice::Modern {
            let message = "server is configured as `era: modern`, but does not answer `server/discover` as one";
            return Err(Refusal::server(Reason::ServerAway, Executed::No, message));
        }
        Ok(verdict)
    }
}

/// Half a second, then 1, 2, 4 … up to a minute; give or take a tenth, so that many servers do not come at once.
fn backoff(failures: u32) -> Duration {
    let pause = match failures {
        0 | 1 => FIRST_PAUSE,
        more => Duration::from_secs(1u64.checked_shl(more - 2).unwrap_or(u64::MAX)).min(BACKOFF_MAX),
    };
    let [random, ..] = simulated::random().to_ne_bytes();
    pause.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::backoff;
    use std::time::Duration;

    #[test]
    fn pauses_grow_to_a_minute_and_no_further() {
        let seconds = |failures| backoff(failures).as_secs_f64();
        assert!((0.45..=0.55).contains(&seconds(1)));
        assert!((0.9..=1.1).contains(&seconds(2)));
        assert!((3.6..=4.4).contains(&seconds(4)));
        assert!(backoff(7) <= Duration::from_secs(66));
        assert!(seconds(200) >= 54.0);
    }
}
