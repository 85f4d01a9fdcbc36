//! Answers without a copy of what never changes: some pieces in a row, or one piece and then silence.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// The body of one answer.
pub(crate) struct Pieces {
    /// Last piece first.
    left: Vec<Bytes>,
    bytes: u64,
    held: bool,
}

impl Pieces {
    /// These pieces in their order.
    pub(crate) fn whole<const N: usize>(mut pieces: [Bytes; N]) -> Self {
        pieces.reverse();
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            left: pieces.into(),
            bytes,
            held: false,
        }
    }

    /// This piece, and then nothing until the peer leaves.
    pub(crate) fn held(piece: Bytes) -> Self {
        Self {
            left: vec![piece],
            bytes: 0,
            held: true,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop() {
            Some(piece) => {
                self.bytes = self.bytes.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            // The connection wakes this task when the peer leaves; there is nothing else to wait for.
            None if self.held => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.held && self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if self.held {
            SizeHint::default()
        } else {
            SizeHint::with_exact(self.bytes)
        }
    }
}
