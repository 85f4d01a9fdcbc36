//! The events of a streamed answer, decoded as they are asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use meshgate_mcp::{SseDecoder, SseEvent};
use tokio::time::{Instant, Sleep, sleep};

use super::broken;
use super::exchange::Exchange;
use super::pool::Pool;
use crate::refusal::Refusal;
use crate::upstream::limits::{EVENTS_BURST, EVENTS_PAUSE, EVENTS_PER_SECOND};

/// Server-sent events of one answer. Dropping them closes the connection, which is how a modern call is cancelled.
pub struct Events {
    decoder: SseDecoder,
    /// `None` once the stream has ended.
    exchange: Option<Box<Exchange>>,
    pool: Arc<Pool>,
    /// Nothing more comes, whatever the decoder still holds.
    broken: bool,
    pace: Pace,
}

impl Events {
    pub(super) fn new(exchange: Exchange, pool: Arc<Pool>, event_bytes_max: usize) -> Self {
        Self {
            decoder: SseDecoder::new(event_bytes_max),
            exchange: Some(Box::new(exchange)),
            pool,
            broken: false,
            pace: Pace::new(),
        }
    }

    /// Says that nothing more is wanted because the answer is complete, so that the connection need not be closed.
    pub fn finish(mut self) {
        self.recycle();
    }

    fn recycle(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.pool.put(*exchange);
        }
    }
}

impl Stream for Events {
    type Item = Result<SseEvent, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.broken {
            return Poll::Ready(None);
        }
        ready!(self.pace.poll_turn(cx));
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => {
                    self.pace.came();
                    return Poll::Ready(Some(Ok(event)));
                }
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    self.exchange = None;
                    return Poll::Ready(Some(Err(broken(format!("server broke its event stream: {error}")))));
                }
            }
            let Self { exchange, decoder, .. } = &mut *self;
            let Some(exchange) = exchange else {
                return Poll::Ready(None);
            };
            match ready!(exchange.poll_pieces(cx, &mut |piece| decoder.push(piece))) {
                Ok(true) => {}
                Ok(false) => self.recycle(),
                Err(error) => {
                    self.broken = true;
                    self.exchange = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
    }
}

/// How fast a stream is read. A server that tells without end would otherwise have the time of everybody's calls.
struct Pace {
    /// Events that may come at once.
    left: u32,
    filled: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new() -> Self {
        Self {
            left: EVENTS_BURST,
            filled: Instant::now(),
            pause: None,
        }
    }

    /// Ready when another event may be taken.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.left == 0 {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let now = Instant::now();
            let earned = (now - self.filled).as_millis() * u128::from(EVENTS_PER_SECOND) / 1000;
            self.left = u32::try_from(earned).unwrap_or(EVENTS_BURST).min(EVENTS_BURST);
            if self.left > 0 {
                self.filled = now;
            } else {
                self.pause = Some(Box::pin(sleep(EVENTS_PAUSE)));
            }
        }
        Poll::Ready(())
    }

    fn came(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("ended", &self.exchange.is_none())
            .finish_non_exhaustive()
    }
}
