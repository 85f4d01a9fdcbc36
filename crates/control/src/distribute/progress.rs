//! How far the proxies are, and what they are asked to do together.

use std::time::Duration;

use meshgate_sync::server::Progress;
use tokio::time::Instant;

use super::Distributor;

/// How far apart renewals are that were asked for: fifty a second cost little beside everything else.
const RENEWED_EVERY: Duration = Duration::from_millis(20);

impl Distributor {
    /// Waits until every connected proxy has answered a configuration, or for `most`. Answers how far they are.
    pub async fn wait_for(&self, number: u64, most: Duration) -> Progress {
        let mut answers = self.answers.subscribe();
        let until = Instant::now() + most;
        loop {
            answers.borrow_and_update();
            let progress = self.state.lock().server.progress(number);
            let reached = self.state.lock().server.position().revision >= number;
            if reached && progress.waiting.is_empty() {
                return progress;
            }
            // What waits for the pace of changes rings no bell, so it is looked at again soon.
            let soon = Instant::now() + Duration::from_millis(50);
            tokio::select! {
                _ = answers.changed() => {}
                () = tokio::time::sleep_until(soon.min(until)) => {}
            }
            if Instant::now() >= until {
                return self.state.lock().server.progress(number);
            }
        }
    }

    /// Whether these roots, and the keys and the ring that there are now, are what proxies are told.
    pub fn tells(&self, roots: &[Vec<u8>]) -> bool {
        self.state.lock().shared.as_ref().is_some_and(|shared| {
            // A bundle may have an order of its own.
            shared.roots.len() == roots.len()
                && roots.iter().all(|root| shared.roots.contains(root))
                && shared.snapshot_keys == self.parts.keys.snapshot_keys()
                && *shared.ring == **self.parts.keys.ring()
        })
    }

    /// Whether every connected proxy holds these roots, the keys and the ring that there are now, and all else that is for it.
    pub fn all_current(&self, roots: &[Vec<u8>]) -> bool {
        let tells = self.tells(roots);
        let state = self.state.lock();
        tells && state.server.due().is_none() && state.server.statuses().all(|(_, status)| status.current)
    }

    /// Tells every connected proxy to renew its certificate soon, not all at once.
    pub fn renew_all(&self) {
        let mut state = self.state.lock();
        let connected = u32::try_from(state.server.statuses().count()).unwrap_or(u32::MAX);
        let within = (RENEWED_EVERY * connected).min(meshgate_sync::limits::RENEW_MAX);
        for id in state.server.renew(within) {
            if let Some(waker) = state.wakers.get(&id) {
                waker.notify_one();
            }
        }
    }
}
