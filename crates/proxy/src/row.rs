//! Made one by one, written in a row: what the calls of one thread say to clients and servers leaves one after the other.
//!
//! A message over HTTP/1.1 has a connection to itself, so it cannot share a write with others. But whoever reads it may be
//! asleep on another core, and to wake that core costs more than the write. Left to themselves calls make a message and
//! write it in turn, and between two of them the readers fall asleep again. So a message that is made while other calls
//! are under way stands in a row until every task that is ready has run; then the whole row is written, and whoever the
//! first one wakes is awake for the others. Nobody waits for a timer: the one that stands first wakes its own task, which
//! so runs after all that are ready, and then lets the row go. When no other call is under way nothing stands in a row.
//!
//! What the row cannot write, because a socket takes no more or is broken, goes back to whoever said it, who is woken and
//! tries itself: so it hears of a slow reader and of an error as if there were no row.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use parking_lot::{Mutex, MutexGuard};
use tokio::io::AsyncWrite;

/// How many connections stand in one row. Each write costs a task its turn's share of what tokio lets it do at once (128),
/// and the last one of a long row waits for all before it.
const ROW_MAX: usize = 64;
/// How much of one connection may stand in a row, in bytes: a message of 16 KiB with its head. What is longer costs more to
/// copy than its reader's sleep.
pub(crate) const HELD_BYTES_MAX: usize = 24 << 10;

thread_local! {
    /// The row that those who speak on this thread join.
    static OPEN: RefCell<Option<Arc<Row>>> = const { RefCell::new(None) };
}

/// Those that have something to write; nothing once it has been let go.
struct Row(Mutex<Option<Vec<Arc<dyn Member>>>>);

trait Member: Send + Sync {
    /// Writes what is held.
    fn let_out(&self);
}

/// The row of whoever stands first in it: dropped, it lets the row go.
pub(crate) struct Lead(Arc<Row>);

/// Where somebody came to stand.
enum Place {
    First(Lead),
    Behind,
    /// Nowhere: the row is full.
    None,
}

/// What is held of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Nowhere,
    /// Bytes, of which none has left.
    InRow,
    /// Bytes that the row could not write; so many of them have left.
    Back(usize),
}

/// A connection that may stand in a row.
pub(crate) struct Outlet<T>(Mutex<Held<T>>);

/// The connection itself, and what is held of it.
pub(crate) struct Held<T> {
    pub(crate) io: T,
    bytes: Vec<u8>,
    standing: Standing,
    owner: Option<Waker>,
}

fn line_up(member: Arc<dyn Member>) -> Place {
    OPEN.with_borrow_mut(|open| {
        if let Some(row) = open
            && let Some(members) = &mut *row.0.lock()
        {
            if members.len() >= ROW_MAX {
                return Place::None;
            }
            members.push(member);
            return Place::Behind;
        }
        let row = Arc::new(Row(Mutex::new(Some(vec![member]))));
        *open = Some(Arc::clone(&row));
        Place::First(Lead(row))
    })
}

impl Drop for Lead {
    fn drop(&mut self) {
        let members = self.0.0.lock().take();
        for member in members.into_iter().flatten() {
            member.let_out();
        }
    }
}

impl<T> Outlet<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Held<T>> {
        self.0.lock()
    }
}

impl<T: AsyncWrite + Unpin + Send + 'static> Outlet<T> {
    pub(crate) fn new(io: T) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Held {
            io,
            bytes: Vec::new(),
            standing: Standing::Nowhere,
            owner: None,
        })))
    }

    /// Puts `bytes` into the row; nothing may be held. Whoever gets a [`Lead`] keeps it until its task, which has been
    /// woken for that, runs again, and drops it then. The owner is woken when bytes come back.
    pub(crate) fn stand(self: &Arc<Self>, cx: &Context<'_>, bytes: Vec<u8>) -> Option<Lead> {
        {
            let mut held = self.lock();
            held.bytes = bytes;
            held.standing = Standing::InRow;
            held.owner = Some(cx.waker().clone());
        }
        match line_up(Arc::clone(self) as Arc<dyn Member>) {
            Place::First(lead) => {
                // A task that wakes itself runs after all those that are ready.
                cx.waker().wake_by_ref();
                Some(lead)
            }
            Place::Behind => None,
            Place::None => {
                self.let_out();
                None
            }
        }
    }
}

impl<T: AsyncWrite + Unpin + Send> Member for Outlet<T> {
    fn let_out(&self) {
        let mut held = self.0.lock();
        // Taken in any case: it keeps the memory of a task, which a connection that is idle must not.
        let Some(owner) = held.owner.take().filter(|_| held.standing == Standing::InRow) else {
            return;
        };
        let out = held.poll_out(&mut Context::from_waker(&owner));
        drop(held);
        if !matches!(out, Poll::Ready(Ok(()))) {
            owner.wake();
        }
    }
}

impl<T> Held<T> {
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether so many more bytes may be held.
    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.bytes.len().saturating_add(count) <= HELD_BYTES_MAX
    }

    /// Holds more behind what stands in the row.
    pub(crate) fn add(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(&mut self.bytes);
    }

    /// Takes back what is held, with how much of it has left. From then on the row writes nothing of it.
    pub(crate) fn take_back(&mut self) -> Option<(Vec<u8>, usize)> {
        let left = match std::mem::replace(&mut self.standing, Standing::Nowhere) {
            Standing::Nowhere => return None,
            Standing::InRow => 0,
            Standing::Back(left) => left,
        };
        Some((std::mem::take(&mut self.bytes), left))
    }
}

impl<T: AsyncWrite + Unpin> Held<T> {
    /// Writes all that is held. Until that is done, it is held by its owner and not by the row.
    pub(crate) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = match self.standing {
            Standing::Nowhere => return Poll::Ready(Ok(())),
            Standing::InRow => 0,
            Standing::Back(left) => left,
        };
        self.standing = Standing::Back(left);
        while let Some(rest) = self.bytes.get(left..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => left += n,
            }
            self.standing = Standing::Back(left);
        }
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        // Not kept: most connections are idle most of the time.
        self.bytes = Vec::new();
        self.standing = Standing::Nowhere;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
