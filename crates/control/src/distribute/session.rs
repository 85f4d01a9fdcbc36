//! One stream: the loop that is the body of its response.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use meshgate_identity::Peer;
use meshgate_sync::proto::{FromControl, FromProxy};
use meshgate_sync::server::{Next, SessionId};
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Streaming;

use super::Distributor;

/// How long a stream lives: about an hour, not all the same, and no longer than the certificate it was opened with.
fn life(peer: &Peer) -> Duration {
    let mut random = [0; 2];
    // Without entropy all end at the same age, which is no fault.
    let _ = getrandom::fill(&mut random);
    let age = meshgate_identity::limits::CONNECTION_AGE;
    let spread = age / 5 * u32::from(u16::from_be_bytes(random)) / u32::from(u16::MAX);
    let left = peer
        .not_after()
        .duration_since(std::time::SystemTime::now())
        .unwrap_or_default();
    (age - age / 10 + spread).min(left)
}

/// One stream.
pub(super) struct Session {
    distributor: Arc<Distributor>,
    generation: u64,
    id: SessionId,
    peer: Arc<Peer>,
    inbound: Streaming<FromProxy>,
    woken: Arc<Notify>,
    ends: Instant,
    queue: VecDeque<FromControl>,
}

impl Session {
    /// A stream that was opened, in this life of the server.
    pub(super) fn new(
        distributor: Arc<Distributor>,
        (generation, id): (u64, SessionId),
        peer: Arc<Peer>,
        inbound: Streaming<FromProxy>,
        woken: Arc<Notify>,
    ) -> Self {
        Self {
            distributor,
            generation,
            id,
            ends: Instant::now() + life(&peer),
            peer,
            inbound,
            woken,
            queue: VecDeque::new(),
        }
    }

    /// What to send next; `None` ends the stream.
    pub(super) async fn next(&mut self) -> Option<FromControl> {
        let identity = self.distributor.parts.own.identity();
        loop {
            if let Some(message) = self.queue.pop_front() {
                return Some(message);
            }
            let until = match self.distributor.next(self.id, self.generation) {
                Next::Send(messages) => {
                    self.queue.extend(messages);
                    continue;
                }
                Next::Wait(until) => self.distributor.started + until,
                Next::Close(_) => return None,
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = self.woken.notified() => {}
                () = self.distributor.closing.cancelled() => return None,
                () = tokio::time::sleep_until(self.ends) => return None,
                _ = identity.until_denied(&self.peer) => return None,
                message = self.inbound.message() => {
                    let message = message.ok().flatten()?;
                    if !self.distributor.received(self.id, self.generation, &message) {
                        return None;
                    }
                }
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut state = self.distributor.state.lock();
        if state.generation == self.generation {
            self.distributor.close(&mut state, self.id);
        }
    }
}
