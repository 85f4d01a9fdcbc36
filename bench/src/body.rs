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
    then: Then,
}

/// What comes behind the pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    /// Nothing, until the peer leaves.
    Silence,
    /// The last piece, again and again.
    Again,
}

impl Pieces {
    /// These pieces in their order.
    pub(crate) fn whole<const N: usize>(mut pieces: [Bytes; N]) -> Self {
        pieces.reverse();
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self {
            left: pieces.into(),
            bytes,
            then: Then::End,
        }
    }

    /// These pieces, and then the end of the connection where more was announced.
    pub(crate) fn cut_off(piece: Bytes) -> Self {
        let mut pieces = Self::whole([piece]);
        pieces.bytes += 1000;
        pieces
    }

    /// This piece without end.
    pub(crate) fn endless(piece: Bytes) -> Self {
        Self {
            left: vec![piece],
            bytes: 0,
            then: Then::Again,
        }
    }

    /// This piece, and then nothing until the peer leaves.
    pub(crate) fn held(piece: Bytes) -> Self {
        Self {
            left: vec![piece],
            bytes: 0,
            then: Then::Silence,
        }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop() {
            Some(piece) if self.then == Then::Again => {
                self.left.push(piece.clone());
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Some(piece) => {
                self.bytes = self.bytes.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            // The connection wakes this task when the peer leaves; there is nothing else to wait for.
            None if self.then == Then::Silence => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.then == Then::End && self.left.is_empty() && self.bytes == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.then == Then::End {
            SizeHint::with_exact(self.bytes)
        } else {
            SizeHint::default()
        }
    }
}
