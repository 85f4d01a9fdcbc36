//! One SSE stream to a legacy client, which may break off and be taken up again.
//!
//! Legacy says that a lost connection is not a cancelled call: whoever writes goes on writing, and the client comes back
//! with the id of the last event it saw. So a stream is a small shelf of numbered events with at most one reader. A
//! reader that is slow holds the writer up; without a reader the oldest events make room, and one budget over all
//! shelves keeps clients that never come back from filling the memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use meshgate_mcp::{encode_sse, encode_sse_comment, encode_sse_priming};
use parking_lot::Mutex;
use tokio::sync::watch;

/// The bytes held by all shelves together.
#[derive(Debug)]
pub(super) struct Shelving {
    held: AtomicUsize,
    max: usize,
}

impl Shelving {
    pub(super) fn new(max: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            max,
        }
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) > self.max
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What one shelf may hold, and how its reader behaves.
#[derive(Clone, Debug)]
pub(super) struct ShelfLimits {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
    pub(super) keep_alive: Duration,
    /// How long a writer waits for a reader that takes nothing.
    pub(super) stall_max: Duration,
    /// Set for revisions that prime a stream: the reconnection delay to announce.
    pub(super) priming_retry_ms: Option<u64>,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Outbox {
    number: u64,
    limits: ShelfLimits,
    shelving: Arc<Shelving>,
    shelf: Mutex<Shelf>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Encoded events; the first has number `first`.
    events: VecDeque<Bytes>,
    first: u64,
    held: usize,
    /// The next event that the reader has not taken.
    unread: u64,
    reader: Option<u64>,
    readers: u64,
    /// Who still has something to say.
    writers: usize,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(number: u64, limits: ShelfLimits, shelving: Arc<Shelving>) -> Arc<Self> {
        let shelf = Shelf {
            first: 1,
            unread: 1,
            writers: 1,
            ..Shelf::default()
        };
        Arc::new(Self {
            number,
            limits,
            shelving,
            shelf: Mutex::new(shelf),
            changed: watch::Sender::new(()),
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn has_reader(&self) -> bool {
        self.shelf.lock().reader.is_some()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.shelf.lock().closed
    }

    /// Puts one message on the shelf; waits while a live reader is behind. A reader that takes nothing for too long is
    /// let go: it may come back, and must not hold a call for ever.
    pub(super) async fn push(&self, message: &[u8]) {
        let mut changed = self.changed.subscribe();
        while !self.try_push(message) {
            match tokio::time::timeout(self.limits.stall_max, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) => self.shelf.lock().reader = None,
            }
        }
    }

    fn try_push(&self, message: &[u8]) -> bool {
        let mut shelf = self.shelf.lock();
        if shelf.closed {
            return true;
        }
        let wanted = message.len();
        while self.is_over(&shelf, wanted) && shelf.first < shelf.unread {
            self.drop_oldest(&mut shelf);
        }
        if self.is_over(&shelf, wanted) && shelf.reader.is_some() && !shelf.events.is_empty() {
            return false;
        }
        while self.is_over(&shelf, wanted) && !shelf.events.is_empty() {
            self.drop_oldest(&mut shelf);
        }
        let number = shelf.first + shelf.events.len() as u64;
        let mut event = Vec::with_capacity(wanted + 48);
        encode_sse(&mut event, Some(&self.event_id(number)), message);
        shelf.held += event.len();
        self.shelving.held.fetch_add(event.len(), Ordering::Relaxed);
        shelf.events.push_back(event.into());
        drop(shelf);
        self.changed.send_replace(());
        true
    }

    fn is_over(&self, shelf: &Shelf, wanted: usize) -> bool {
        shelf.events.len() >= self.limits.events_max
            || shelf.held + wanted > self.limits.bytes_max
            || self.shelving.is_full()
    }

    fn drop_oldest(&self, shelf: &mut Shelf) {
        if let Some(event) = shelf.events.pop_front() {
            shelf.first += 1;
            shelf.unread = shelf.unread.max(shelf.first);
            shelf.held = shelf.held.saturating_sub(event.len());
            self.shelving.held.fetch_sub(event.len(), Ordering::Relaxed);
        }
    }

    fn event_id(&self, number: u64) -> String {
        format!("{}-{number}", self.number)
    }

    /// One more will write.
    pub(super) fn join(&self) {
        self.shelf.lock().writers += 1;
    }

    /// One of those who write has said everything; the last one closes.
    pub(super) fn done(&self) {
        let is_last = {
            let mut shelf = self.shelf.lock();
            shelf.writers = shelf.writers.saturating_sub(1);
            shelf.writers == 0
        };
        if is_last {
            self.close();
        }
    }

    /// Nothing more will come; a reader ends when it has read the rest.
    pub(super) fn close(&self) {
        self.shelf.lock().closed = true;
        self.changed.send_replace(());
    }

    /// Attaches a reader from the first event nobody took; `None` when there is one already.
    pub(super) fn attach(self: &Arc<Self>) -> Option<Reader> {
        let mut shelf = self.shelf.lock();
        if shelf.reader.is_some() {
            return None;
        }
        let from = shelf.unread;
        Some(self.reader(&mut shelf, from, true))
    }

    /// Attaches a reader behind event `last`. A reader that is still there is the broken connection: it ends.
    pub(super) fn resume(self: &Arc<Self>, last: u64) -> Reader {
        let mut shelf = self.shelf.lock();
        let end = shelf.first + shelf.events.len() as u64;
        let from = last.saturating_add(1).clamp(shelf.first, end);
        let reader = self.reader(&mut shelf, from, false);
        drop(shelf);
        self.changed.send_replace(());
        reader
    }

    fn reader(self: &Arc<Self>, shelf: &mut Shelf, from: u64, prime: bool) -> Reader {
        shelf.readers += 1;
        shelf.reader = Some(shelf.readers);
        shelf.unread = from;
        Reader {
            outbox: Arc::clone(self),
            me: shelf.readers,
            prime: self.limits.priming_retry_ms.filter(|_| prime),
        }
    }

    /// Resolves when no reader has been there for `grace`.
    pub(super) async fn abandoned(&self, grace: Duration) {
        let mut changed = self.changed.subscribe();
        loop {
            while self.has_reader() {
                if changed.changed().await.is_err() {
                    return;
                }
            }
            let back = async {
                while !self.has_reader() {
                    if changed.changed().await.is_err() {
                        break;
                    }
                }
            };
            if tokio::time::timeout(grace, back).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.shelving
            .held
            .fetch_sub(self.shelf.get_mut().held, Ordering::Relaxed);
    }
}

/// The one connection that reads a stream. Dropping it leaves the stream for the client to come back to.
#[derive(Debug)]
pub(super) struct Reader {
    outbox: Arc<Outbox>,
    me: u64,
    prime: Option<u64>,
}

enum Next {
    Event(Bytes),
    Wait,
    End,
}

impl Reader {
    /// The events as bytes of an SSE body, with keep-alive comments in between.
    pub(super) fn into_stream(self) -> impl Stream<Item = Bytes> + Send + 'static {
        futures_util::stream::unfold(self, |mut reader| async move {
            reader.next().await.map(|event| (event, reader))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(retry_ms) = self.prime.take() {
            let mut event = Vec::new();
            let last = self.outbox.shelf.lock().unread.saturating_sub(1);
            encode_sse_priming(&mut event, &self.outbox.event_id(last), Some(retry_ms));
            return Some(event.into());
        }
        let mut changed = self.outbox.changed.subscribe();
        loop {
            match self.take() {
                Next::Event(event) => return Some(event),
                Next::End => return None,
                Next::Wait => {}
            }
            match tokio::time::timeout(self.outbox.limits.keep_alive, changed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => {
                    let mut comment = Vec::new();
                    encode_sse_comment(&mut comment);
                    return Some(comment.into());
                }
            }
        }
    }

    fn take(&self) -> Next {
        let mut shelf = self.outbox.shelf.lock();
        if shelf.reader != Some(self.me) {
            return Next::End;
        }
        let at = usize::try_from(shelf.unread.saturating_sub(shelf.first)).unwrap_or(usize::MAX);
        match shelf.events.get(at).cloned() {
            Some(event) => {
                shelf.unread += 1;
                drop(shelf);
                self.outbox.changed.send_replace(());
                Next::Event(event)
            }
            None if shelf.closed => Next::End,
            None => Next::Wait,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shelf = self.outbox.shelf.lock();
        if shelf.reader == Some(self.me) {
            shelf.reader = None;
            drop(shelf);
            self.outbox.changed.send_replace(());
        }
    }
}
