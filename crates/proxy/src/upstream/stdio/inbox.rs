//! What one call on a shared pipe has received and not read yet.
//!
//! All calls of a server share one pipe, so a caller that reads slowly must not hold up the others: its inbox is
//! bounded, progress that does not fit is dropped, and the response always fits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::refusal::{Executed, Reason, Refusal};
use crate::upstream::limits::INBOX_MESSAGES_MAX;

/// The request waits for its turn to be written.
const WAITING: u8 = 0;
/// The request has been handed to the pipe.
const WRITTEN: u8 = 1;
/// Nobody wants the request any more.
const ABANDONED: u8 = 2;

/// The receiving end of one call.
pub(super) struct Inbox {
    request: AtomicU8,
    bytes_max: usize,
    wants: Wants,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    end: Option<End>,
    reader: Option<Waker>,
}

enum End {
    Answered(Bytes),
    Refused(Refusal),
    Over,
}

/// What a call wants to hear beside what carries its id or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nothing.
    Own,
    /// Log messages.
    Logs,
    /// Everything that carries no sign of its call: it has the pipe to itself.
    Everything,
}

/// One message for a call.
#[derive(Debug)]
pub(crate) enum Received {
    /// A notification; the response is still to come.
    Notice(Bytes),
    /// The response.
    Response(Bytes),
}

/// What a notification is for; decides what happens when there is no room for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// Progress and logs: one more or less is no harm.
    Progress,
    /// Must not be lost silently.
    Event,
}

impl Inbox {
    pub(super) fn new(bytes_max: usize, wants: Wants) -> Self {
        Self {
            request: AtomicU8::new(WAITING),
            bytes_max,
            wants,
            state: Mutex::default(),
        }
    }

    pub(super) fn wants_logs(&self) -> bool {
        self.wants != Wants::Own
    }

    pub(super) fn wants_everything(&self) -> bool {
        self.wants == Wants::Everything
    }

    /// The writer's question before it writes the request: does anybody still want it?
    pub(super) fn begin_write(&self) -> bool {
        self.request
            .compare_exchange(WAITING, WRITTEN, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Withdraws the request; `false` when it has been written already.
    pub(super) fn withdraw(&self) -> bool {
        self.request
            .compare_exchange(WAITING, ABANDONED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn executed(&self) -> Executed {
        if self.request.load(Ordering::Acquire) == WRITTEN {
            Executed::Unknown
        } else {
            Executed::No
        }
    }

    /// Adds a notification; `false` when it was dropped.
    pub(super) fn push(&self, message: Bytes, kind: Notice) -> bool {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return false;
        }
        // A question may be as long as a line; who has the pipe to itself has room for one.
        let too_much = state.queued_bytes + message.len() > self.bytes_max;
        let full =
            state.queue.len() >= INBOX_MESSAGES_MAX || too_much && !(self.wants_everything() && state.queue.is_empty());
        match kind {
            Notice::Event if state.queue.contains(&message) => return true,
            Notice::Progress if full => return false,
            Notice::Event if full => {
                let slow = Refusal::server(
                    Reason::Overloaded,
                    Executed::Unknown,
                    "events came faster than they were read",
                );
                state.end(End::Refused(slow));
                return false;
            }
            _ => {}
        }
        state.queued_bytes += message.len();
        state.queue.push_back(message);
        state.wake();
        true
    }

    /// Adds the response, which ends the call.
    pub(super) fn answer(&self, message: Bytes) {
        self.state.lock().end(End::Answered(message));
    }

    /// Ends the call without a response, because the pipe is gone.
    pub(super) fn fail(&self, reason: Reason, why: &str) {
        let refusal = Refusal::server(reason, self.executed(), why.to_owned());
        self.state.lock().end(End::Refused(refusal));
    }

    /// Ends the call with a refusal of its own.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.state.lock().end(End::Refused(refusal));
    }

    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Received, Refusal>>> {
        let mut state = self.state.lock();
        if let Some(message) = state.queue.pop_front() {
            state.queued_bytes -= message.len();
            return Poll::Ready(Some(Ok(Received::Notice(message))));
        }
        match state.end.replace(End::Over) {
            Some(End::Answered(message)) => Poll::Ready(Some(Ok(Received::Response(message)))),
            Some(End::Refused(refusal)) => Poll::Ready(Some(Err(refusal))),
            Some(End::Over) => Poll::Ready(None),
            None => {
                state.end = None;
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl State {
    fn end(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
