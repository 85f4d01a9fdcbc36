//! Follows the messages of an HTTP/1 connection, so that it is always known where the next head begins.
//!
//! hyper reads a request in its own, more forgiving way. That is harmless as long as both agree on where each message
//! ends; this machine makes sure of it by letting no byte through that hyper could read otherwise. It keeps no bytes
//! itself: it says how many of those it was shown may pass, and a head passes only when it is whole.

use super::Breach;
use super::head::{Framing, Head};

/// Hex digits of a chunk's size: as many as a `u64` has.
const SIZE_DIGITS_MAX: u8 = 16;

/// The machine.
#[derive(Debug)]
pub(super) struct Http1 {
    state: State,
    bytes_max: usize,
    fields_max: usize,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// In a body of known length, with so many bytes to come.
    Fixed(u64),
    Chunked(Chunk),
}

/// Inside a chunked body, what comes next. Extensions and trailers are refused: no MCP client sends them, and each is a
/// place where two parsers disagree.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size { digits: u8, size: u64 },
    SizeLf { size: u64 },
    Bytes { left: u64 },
    BytesCr,
    BytesLf,
    EndCr,
    EndLf,
}

/// What may be done with bytes that were shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// So many, from the first, may pass. The others are of a head that is not whole: to be shown again with what
    /// comes behind them.
    pub(super) pass: usize,
    /// What is wrong with the byte behind those; nothing may pass any more.
    pub(super) breach: Option<Breach>,
}

/// Where in a message the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Head,
    Body,
}

impl Http1 {
    pub(super) fn new(bytes_max: usize, fields_max: usize) -> Self {
        Self {
            state: State::Head(Head::new(bytes_max, fields_max)),
            bytes_max,
            fields_max,
        }
    }

    pub(super) fn place(&self) -> Place {
        match self.state {
            State::Head(_) => Place::Head,
            State::Fixed(_) | State::Chunked(_) => Place::Body,
        }
    }

    /// Looks at bytes: those that did not pass last time, then those that are new.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Seen {
        let mut pass = 0;
        loop {
            let rest = bytes.get(pass..).unwrap_or_default();
            if rest.is_empty() {
                return Seen { pass, breach: None };
            }
            match self.step(rest) {
                Ok(0) => return Seen { pass, breach: None },
                Ok(n) => pass += n,
                Err(breach) => {
                    return Seen {
                        pass,
                        breach: Some(breach),
                    };
                }
            }
        }
    }

    /// One step: how many of the bytes it took.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Breach> {
        match &mut self.state {
            State::Head(head) => {
                let Some(complete) = head.read(bytes)? else {
                    return Ok(0);
                };
                self.state = match complete.framing {
                    Framing::Length(0) => self.next_head(),
                    Framing::Length(length) => State::Fixed(length),
                    Framing::Chunked => State::Chunked(Chunk::Size { digits: 0, size: 0 }),
                };
                Ok(complete.bytes)
            }
            State::Fixed(left) => {
                let n = take(left, bytes);
                if *left == 0 {
                    self.state = self.next_head();
                }
                Ok(n)
            }
            State::Chunked(Chunk::Bytes { left }) => {
                let n = take(left, bytes);
                if *left == 0 {
                    self.state = State::Chunked(Chunk::BytesCr);
                }
                Ok(n)
            }
            State::Chunked(chunk) => {
                let Some(&byte) = bytes.first() else { return Ok(0) };
                self.state = match chunk.step(byte)? {
                    Some(chunk) => State::Chunked(chunk),
                    None => self.next_head(),
                };
                Ok(1)
            }
        }
    }

    fn next_head(&self) -> State {
        State::Head(Head::new(self.bytes_max, self.fields_max))
    }
}

impl Chunk {
    /// What comes after a byte of the framing; `None` after the last.
    fn step(self, byte: u8) -> Result<Option<Self>, Breach> {
        let next = match (self, byte) {
            (Self::Size { digits, size }, b'\r') if digits > 0 => Self::SizeLf { size },
            (Self::Size { digits, size }, _) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < SIZE_DIGITS_MAX => Self::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                },
                Some(_) => return Err(Breach::Malformed("a chunk size has too many digits")),
                None => return Err(Breach::Malformed("a chunk size is not a plain hex number")),
            },
            (Self::SizeLf { size: 0 }, b'\n') => Self::EndCr,
            (Self::SizeLf { size }, b'\n') => Self::Bytes { left: size },
            (Self::BytesCr, b'\r') => Self::BytesLf,
            (Self::BytesLf, b'\n') => Self::Size { digits: 0, size: 0 },
            (Self::EndCr, b'\r') => Self::EndLf,
            (Self::EndLf, b'\n') => return Ok(None),
            (Self::EndCr, _) => return Err(Breach::Malformed("trailers are not served here")),
            _ => return Err(Breach::Malformed("a chunk does not end in CRLF")),
        };
        Ok(Some(next))
    }
}

/// Takes what belongs to a run of `left` bytes.
fn take(left: &mut u64, bytes: &[u8]) -> usize {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= n as u64;
    n
}

#[cfg(test)]
mod tests;
