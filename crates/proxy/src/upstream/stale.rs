//! When a server says that its catalogue is not the one that was read.
//!
//! A modern server refuses a call whose mirrored headers do not fit the schema that it publishes now (-32020). The call is
//! not repeated, because only its server's word says that it did not run; but the catalogue is read again, so that the
//! next call fits. A caller may know how to bring such a refusal about, so it counts once in a while only.

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::limits::STALE_PAUSE;

/// Counts those occasions.
#[derive(Debug, Default)]
pub(super) struct Stale {
    count: watch::Sender<u64>,
    last: Mutex<Option<Instant>>,
}

impl Stale {
    /// The server has said so just now.
    pub(super) fn tell(&self) {
        let mut last = self.last.lock();
        if last.is_none_or(|last| last.elapsed() >= STALE_PAUSE) {
            *last = Some(Instant::now());
            self.count.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_is_believed_once_in_a_pause() {
        let stale = Stale::default();
        let count = stale.subscribe();
        stale.tell();
        stale.tell();
        assert_eq!(*count.borrow(), 1);
        tokio::time::advance(STALE_PAUSE - Duration::from_millis(1)).await;
        stale.tell();
        assert_eq!(*count.borrow(), 1, "one below the limit");
        tokio::time::advance(Duration::from_millis(1)).await;
        stale.tell();
        assert_eq!(*count.borrow(), 2);
    }
}
