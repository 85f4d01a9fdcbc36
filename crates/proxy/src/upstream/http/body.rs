//! Where the body of an answer ends.
//!
//! The framing is followed byte by byte and the content is handed on in the pieces it came in, so that nothing is kept
//! here and a body may be of any length.

use super::head::Framing;
use crate::upstream::limits::{CHUNK_EXTENSION_BYTES_MAX, TRAILER_BYTES_MAX};

/// Hex digits of a chunk's size: as many as a `u64` has.
const SIZE_DIGITS_MAX: u8 = 16;

/// A body that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing more belongs to it.
    Done,
    /// So many bytes are to come.
    Length(u64),
    /// Chunks are to come.
    Chunks(Chunk),
    /// Everything up to the end of the connection.
    Close,
}

/// Inside of a chunked body, what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind the size; nobody reads it.
    Extension {
        bytes: usize,
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Bytes {
        left: u64,
    },
    BytesCr,
    BytesLf,
    /// At the begin of a line behind the last chunk.
    Trailer {
        bytes: usize,
    },
    TrailerLine {
        bytes: usize,
    },
    EndLf,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(0) => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunks(Chunk::Size { digits: 0, size: 0 }),
            Framing::Close => Self::Close,
        }
    }

    /// Whether the end has been seen.
    pub(super) fn is_done(self) -> bool {
        self == Self::Done
    }

    /// Follows `bytes`, hands what is content to `sink`, and answers how many of them belonged to this body.
    ///
    /// # Errors
    /// What is wrong with the framing, for a person.
    pub(super) fn follow(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, &'static str> {
        let mut at = 0;
        while let Some(rest @ &[byte, ..]) = bytes.get(at..) {
            let (next, taken) = match *self {
                Self::Done => break,
                Self::Close => {
                    sink(rest);
                    (Self::Close, rest.len())
                }
                Self::Length(left) => {
                    let piece = first(rest, left);
                    sink(piece);
                    let left = left - piece.len() as u64;
                    (if left == 0 { Self::Done } else { Self::Length(left) }, piece.len())
                }
                Self::Chunks(Chunk::Bytes { left }) => {
                    let piece = first(rest, left);
                    sink(piece);
                    let left = left - piece.len() as u64;
                    let next = if left == 0 {
                        Chunk::BytesCr
                    } else {
                        Chunk::Bytes { left }
                    };
                    (Self::Chunks(next), piece.len())
                }
                Self::Chunks(chunk) => (chunk.step(byte)?.map_or(Self::Done, Self::Chunks), 1),
            };
            *self = next;
            at += taken;
        }
        Ok(at)
    }
}

/// The first `left` of the bytes, or all that are there.
fn first(bytes: &[u8], left: u64) -> &[u8] {
    let end = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

impl Chunk {
    /// What comes after a byte of the framing; `None` after the last.
    fn step(self, byte: u8) -> Result<Option<Self>, &'static str> {
        let next = match (self, byte) {
            (Self::Size { digits: 1.., size }, b'\r') => Self::SizeLf { size },
            (Self::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Self::Extension { bytes: 0, size },
            (Self::Size { digits, size }, _) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < SIZE_DIGITS_MAX => Self::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                },
                Some(_) => return Err("a chunk size has too many digits"),
                None => return Err("a chunk size is not a hex number"),
            },
            (Self::Extension { size, .. }, b'\r') => Self::SizeLf { size },
            (Self::Extension { .. }, b'\n') => return Err("a chunk size does not end in CRLF"),
            (Self::Extension { bytes, .. }, _) if bytes >= CHUNK_EXTENSION_BYTES_MAX => {
                return Err("a chunk extension is too long");
            }
            (Self::Extension { bytes, size }, _) => Self::Extension { bytes: bytes + 1, size },
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailer { bytes: 0 },
            (Self::SizeLf { size }, b'\n') => Self::Bytes { left: size },
            (Self::BytesCr, b'\r') => Self::BytesLf,
            (Self::BytesLf, b'\n') => Self::Size { digits: 0, size: 0 },
            (Self::Trailer { .. }, b'\r') => Self::EndLf,
            (Self::EndLf, b'\n') => return Ok(None),
            (Self::Trailer { bytes } | Self::TrailerLine { bytes }, _) if bytes >= TRAILER_BYTES_MAX => {
                return Err("its trailers are too long");
            }
            (Self::TrailerLine { bytes }, b'\n') => Self::Trailer { bytes: bytes + 1 },
            (Self::Trailer { bytes } | Self::TrailerLine { bytes }, _) => Self::TrailerLine { bytes: bytes + 1 },
            _ => return Err("a chunk does not end in CRLF"),
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests;
