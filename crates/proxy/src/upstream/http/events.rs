//! The events of a streamed answer, decoded as they are asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use meshgate_mcp::{SseDecoder, SseEvent};

use super::allowance::Pace;
use super::broken;
use super::exchange::Exchange;
use super::pool::Pool;
use crate::refusal::Refusal;
use crate::upstream::limits::{READ_BYTES, READ_EVENTS_BYTES};

/// Server-sent events of one answer. Dropping them closes the connection, which is how a modern call is cancelled.
pub struct Events {
    decoder: SseDecoder,
    /// `None` once the stream has ended.
    exchange: Option<Box<Exchange>>,
    pool: Arc<Pool>,
    /// Nothing more comes, whatever the decoder still holds.
    broken: bool,
    /// Read and not handed on, because it came too fast. Nothing behind it is read meanwhile.
    held: Option<Box<SseEvent>>,
    pace: Box<Pace>,
    /// Bytes that the next read may take.
    read_max: usize,
}

impl Events {
    pub(super) fn new(exchange: Exchange, pool: Arc<Pool>, event_bytes_max: usize, pace: Pace) -> Self {
        Self {
            decoder: SseDecoder::new(event_bytes_max),
            exchange: Some(Box::new(exchange)),
            pool,
            broken: false,
            held: None,
            pace: Box::new(pace),
            read_max: READ_EVENTS_BYTES,
        }
    }

    /// The events of subscriptions: they come at a pace of their own, however much calls of the same server bring.
    pub(crate) fn apart(mut self) -> Self {
        self.pace.apart();
        self
    }

    /// The pace at which they were read, for whatever goes on where they end.
    pub(crate) fn into_pace(self) -> Box<Pace> {
        self.pace
    }

    /// Goes on at the pace of the stream that these events are the rest of.
    pub(crate) fn at_pace(mut self, pace: Box<Pace>) -> Self {
        self.pace = pace;
        self
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
        if self.held.is_some() {
            ready!(self.pace.poll_take(cx));
            return Poll::Ready(self.held.take().map(|event| Ok(*event)));
        }
        loop {
            match self.decoder.next_event() {
                Ok(Some(event)) => {
                    if self.pace.poll_take(cx).is_pending() {
                        self.held = Some(Box::new(event));
                        return Poll::Pending;
                    }
                    self.read_max = READ_EVENTS_BYTES;
                    return Poll::Ready(Some(Ok(event)));
                }
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    self.exchange = None;
                    return Poll::Ready(Some(Err(broken(format!("server broke its event stream: {error}")))));
                }
            }
            let Self {
                exchange,
                decoder,
                pace,
                read_max,
                ..
            } = &mut *self;
            let Some(exchange) = exchange else {
                return Poll::Ready(None);
            };
            let Poll::Ready(read) = exchange.poll_pieces(cx, *read_max, &mut |piece| decoder.push(piece)) else {
                pace.caught_up();
                return Poll::Pending;
            };
            match read {
                // The rest of a long event is read in long pieces.
                Ok(true) => *read_max = (*read_max * 2).min(READ_BYTES),
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

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("ended", &self.exchange.is_none())
            .finish_non_exhaustive()
    }
}
