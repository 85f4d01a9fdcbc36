//! How long an answer is waited for: until the server falls silent, or the call has lasted too long in all.
//!
//! Every message of the server starts the silence anew, so a long call that reports progress lives, up to its hard
//! deadline. A call that is given up is dropped, which cancels it by the rule of its server's era.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::http::cut_off;
use super::in_flight::Guard;
use super::stdio::Received;
use crate::call::{Messages, Outbound, Reply};
use crate::refusal::{Executed, Reason, Refusal};

/// The deadlines of one call.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// `None` for a stream that is silent by nature.
    silence: Option<Duration>,
    hard: Instant,
}

impl Patience {
    /// The caller's deadline and the server's, whichever is nearer. A listener may be silent, and has only the caller's.
    pub(super) fn new(out: &Outbound, silence: Duration, hard: Duration) -> Self {
        let caller = Instant::from_std(out.deadline);
        if out.method == meshgate_mcp::Method::Listen {
            return Self {
                silence: None,
                hard: caller,
            };
        }
        let own = Instant::now().checked_add(hard).unwrap_or(caller);
        Self {
            silence: Some(silence),
            hard: own.min(caller),
        }
    }

    /// When the next message must be there.
    pub(super) fn until(&self) -> Instant {
        let silent = self.silence.and_then(|silence| Instant::now().checked_add(silence));
        silent.map_or(self.hard, |silent| silent.min(self.hard))
    }
}

/// Waits for the first message, which decides whether the reply is one message or a stream.
pub(super) async fn reply<S>(mut source: S, patience: Patience, guard: Guard) -> Result<Reply, Refusal>
where
    S: Stream<Item = Result<Received, Refusal>> + Send + Unpin + 'static,
{
    match timeout_at(patience.until(), source.next()).await {
        Err(_) => Err(too_late(Executed::Unknown)),
        Ok(None) => Err(cut_off()),
        Ok(Some(Err(refusal))) => Err(refusal),
        Ok(Some(Ok(Received::Response(message)))) => Ok(Reply::One(message)),
        Ok(Some(Ok(Received::Notice(message)))) => {
            let answer = Answer::new(source, patience, guard);
            Ok(Reply::Stream(Box::pin(Answer {
                first: Some(message),
                ..answer
            })))
        }
    }
}

/// Messages that somebody else has sorted: the deadlines hold for them, too.
pub(super) fn bounded(messages: Messages, patience: Patience, guard: Guard) -> Messages {
    Box::pin(Answer {
        ends_itself: true,
        ..Answer::new(Sorted(messages), patience, guard)
    })
}

pub(super) fn too_late(executed: Executed) -> Refusal {
    Refusal::server(Reason::Deadline, executed, "server did not answer before the deadline")
}

/// The rest of an answer that began with a notification.
struct Answer<S> {
    first: Option<Bytes>,
    /// `None` once the answer is over.
    source: Option<S>,
    patience: Patience,
    alarm: Pin<Box<Sleep>>,
    /// Whether the source may end without saying which message was the response.
    ends_itself: bool,
    _guard: Guard,
}

impl<S> Answer<S> {
    fn new(source: S, patience: Patience, guard: Guard) -> Self {
        let alarm = Box::pin(sleep_until(patience.until()));
        Self {
            first: None,
            source: Some(source),
            patience,
            alarm,
            ends_itself: false,
            _guard: guard,
        }
    }
}

impl<S> Stream for Answer<S>
where
    S: Stream<Item = Result<Received, Refusal>> + Unpin,
{
    type Item = Result<Bytes, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(source) = &mut this.source else {
            return Poll::Ready(None);
        };
        let item = match source.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(Received::Notice(message)))) => {
                this.alarm.as_mut().reset(this.patience.until());
                return Poll::Ready(Some(Ok(message)));
            }
            Poll::Ready(Some(Ok(Received::Response(message)))) => Some(Ok(message)),
            Poll::Ready(Some(Err(refusal))) => Some(Err(refusal)),
            Poll::Ready(None) if this.ends_itself => None,
            Poll::Ready(None) => Some(Err(cut_off())),
            Poll::Pending => {
                if this.alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                Some(Err(too_late(Executed::Unknown)))
            }
        };
        this.source = None;
        Poll::Ready(item)
    }
}

/// Messages whose response is not marked.
struct Sorted(Messages);

impl Stream for Sorted {
    type Item = Result<Received, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .as_mut()
            .poll_next(cx)
            .map(|item| item.map(|item| item.map(Received::Notice)))
    }
}
