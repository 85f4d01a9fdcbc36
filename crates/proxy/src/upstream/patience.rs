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
use meshgate_model::Deadlines;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::http::cut_off;
use super::limits::MESSAGES_PER_TURN;
use super::pace::{Pace, Paced, after_the_others};
use super::stdio::Received;
use super::turns::Turn;
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
    pub(super) fn new(out: &Outbound, deadlines: Deadlines) -> Self {
        let caller = Instant::from_std(out.deadline);
        if out.method == meshgate_mcp::Method::Listen {
            return Self {
                silence: None,
                hard: caller,
            };
        }
        let own = Instant::now().checked_add(deadlines.hard).unwrap_or(caller);
        Self {
            silence: Some(deadlines.silence),
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
pub(super) async fn reply<S>(mut source: S, patience: Patience, turn: Turn) -> Result<Reply, Refusal>
where
    S: Stream<Item = Result<Received, Refusal>> + Send + Unpin + 'static,
{
    match timeout_at(patience.until(), source.next()).await {
        Err(_) => Err(too_late(Executed::Unknown)),
        Ok(None) => Err(cut_off()),
        Ok(Some(Err(refusal))) => Err(refusal),
        Ok(Some(Ok(Received::Response(message)))) => Ok(Reply::One(message)),
        Ok(Some(Ok(Received::Notice(message)))) => {
            let mut answer = Answer::new(source, patience, turn);
            answer.next = match answer.pace.pass(message) {
                Paced::Passes(message) => Some(Some(Ok(message))),
                Paced::Waits => None,
            };
            Ok(Reply::Stream(Box::pin(answer)))
        }
    }
}

/// Messages that somebody else has sorted: the deadlines hold for them, too.
pub(super) fn bounded(messages: Messages, patience: Patience, turn: Turn) -> Messages {
    Box::pin(Answer {
        ends_itself: true,
        ..Answer::new(Sorted(messages), patience, turn)
    })
}

pub(super) fn too_late(executed: Executed) -> Refusal {
    Refusal::server(Reason::Deadline, executed, "server did not answer before the deadline")
}

/// The rest of an answer that began with a notification.
struct Answer<S> {
    /// What is handed out before the source is asked again; the inner nothing is the end.
    next: Option<Item>,
    /// `None` once the answer is over.
    source: Option<S>,
    patience: Patience,
    alarm: Pin<Box<Sleep>>,
    /// Whether the server has spoken since the alarm was set.
    spoke: bool,
    pace: Pace,
    /// Whether the source may end without saying which message was the response.
    ends_itself: bool,
    _turn: Turn,
}

type Item = Option<Result<Bytes, Refusal>>;

impl<S> Answer<S> {
    fn new(source: S, patience: Patience, turn: Turn) -> Self {
        let alarm = Box::pin(sleep_until(patience.until()));
        Self {
            next: None,
            source: Some(source),
            patience,
            alarm,
            spoke: false,
            pace: Pace::default(),
            ends_itself: false,
            _turn: turn,
        }
    }

    /// Hands out an item, after the progress that was held back.
    fn hand_out(&mut self, item: Item) -> Poll<Item> {
        match self.pace.take_held() {
            None => Poll::Ready(item),
            Some(held) => {
                self.next = Some(item);
                Poll::Ready(Some(Ok(held)))
            }
        }
    }
}

impl<S> Stream for Answer<S>
where
    S: Stream<Item = Result<Received, Refusal>> + Unpin,
{
    type Item = Result<Bytes, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let this = &mut *self;
        if let Some(next) = this.next.take() {
            return Poll::Ready(next);
        }
        for _ in 0..MESSAGES_PER_TURN {
            let Some(source) = &mut this.source else {
                return Poll::Ready(None);
            };
            let item = match source.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(Received::Notice(message)))) => {
                    this.spoke = true;
                    match this.pace.pass(message) {
                        Paced::Waits => continue,
                        Paced::Passes(message) => return this.hand_out(Some(Ok(message))),
                    }
                }
                Poll::Ready(Some(Ok(Received::Response(message)))) => Some(Ok(message)),
                Poll::Ready(Some(Err(refusal))) => Some(Err(refusal)),
                Poll::Ready(None) if this.ends_itself => None,
                Poll::Ready(None) => Some(Err(cut_off())),
                Poll::Pending => {
                    if let Some(held) = this.pace.poll_held(cx) {
                        return Poll::Ready(Some(Ok(held)));
                    }
                    // Once for all that came together: to set a timer costs as much as to read a message.
                    if std::mem::take(&mut this.spoke) {
                        this.alarm.as_mut().reset(this.patience.until());
                    }
                    if this.alarm.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    Some(Err(too_late(Executed::Unknown)))
                }
            };
            this.source = None;
            return this.hand_out(item);
        }
        // Whoever never stops talking lets the others have their turn.
        after_the_others(cx);
        Poll::Pending
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

#[cfg(test)]
mod tests;
