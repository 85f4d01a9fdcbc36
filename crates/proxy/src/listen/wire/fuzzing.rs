//! The machines of the guard as functions over bytes, for fuzz targets only.
//!
//! A fuzz target must reach the machine itself: through a socket it would mostly find out how slow sockets are.

use tokio::time::Instant;

use super::http1::{Http1, Seen};
use super::http2::Http2;
use crate::limits::Limits;

/// How far a connection got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Bytes that passed, from the first.
    pub passed: usize,
    /// Whether what stands behind them is refused.
    pub refused: bool,
}

/// Shows an HTTP/1 connection to the guard, `piece` bytes at a time.
pub fn http1(bytes: &[u8], piece: usize) -> Followed {
    let limits = Limits::default();
    let mut machine = Http1::new(limits.head_bytes, limits.head_fields);
    follow(bytes, piece, |held| machine.follow(held))
}

/// Shows an HTTP/2 connection, its preface included, to the guard, `piece` bytes at a time and all in one moment.
pub fn http2(bytes: &[u8], piece: usize) -> Followed {
    let now = Instant::now();
    let mut machine = Http2::new(&Limits::default(), now);
    follow(bytes, piece, |held| machine.follow(held, now))
}

/// What did not pass is shown again with what comes behind it, as the guard does.
fn follow(bytes: &[u8], piece: usize, mut machine: impl FnMut(&[u8]) -> Seen) -> Followed {
    let (mut held, mut passed) = (Vec::new(), 0);
    for new in bytes.chunks(piece.max(1)) {
        held.extend_from_slice(new);
        let seen = machine(&held);
        held.drain(..seen.pass.min(held.len()));
        passed += seen.pass;
        if seen.breach.is_some() {
            return Followed { passed, refused: true };
        }
    }
    Followed { passed, refused: false }
}
