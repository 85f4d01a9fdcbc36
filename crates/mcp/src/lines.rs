//! stdio framing: one message per line.
//!
//! A server that writes a line without end must not fill our memory, and must not take the messages behind that line
//! with it. So a line over the limit is thrown away up to its newline, said once, and reading goes on.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

/// A line was longer than allowed and was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {max} bytes and was dropped; write shorter messages, one per line")]
pub struct LineTooLong {
    /// The limit, without the line end.
    pub max: usize,
}

/// Cuts bytes into lines.
#[derive(Debug)]
pub struct LineDecoder {
    line_bytes_max: usize,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no newline.
    searched: usize,
    /// Inside of a line that was reported as too long.
    discarding: bool,
}

impl LineDecoder {
    /// A decoder for lines of at most `line_bytes_max` bytes, line end not counted.
    pub fn new(line_bytes_max: usize) -> Self {
        Self {
            line_bytes_max,
            buffer: BytesMut::new(),
            searched: 0,
            discarding: false,
        }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.discarding && self.buffer.is_empty() {
            // The rest of a line that is dropped anyway need not be kept until the next call.
            let Some(newline) = memchr(b'\n', bytes) else { return };
            bytes = bytes.get(newline + 1..).unwrap_or_default();
            self.discarding = false;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its line end, or `None` until more is pushed.
    ///
    /// # Errors
    /// Once for each line over the limit, as soon as that is certain.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr(b'\n', unsearched) else {
                self.searched = self.buffer.len();
                return self.without_newline();
            };
            let mut line = self.buffer.split_to(self.searched + found).freeze();
            self.buffer.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.discarding) {
                continue;
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.line_bytes_max {
                return Err(LineTooLong {
                    max: self.line_bytes_max,
                });
            }
            return Ok(Some(line));
        }
    }

    /// What stands behind the last newline, at the end of the input: a last line that was never ended.
    pub fn rest(&self) -> &[u8] {
        if self.discarding { &[] } else { &self.buffer }
    }

    fn without_newline(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        if self.discarding {
            self.buffer.clear();
            self.searched = 0;
            return Ok(None);
        }
        // A carriage return at the very end may belong to the line end that is still to come.
        let line = self.buffer.len() - usize::from(self.buffer.last() == Some(&b'\r'));
        if line > self.line_bytes_max {
            self.buffer.clear();
            self.searched = 0;
            self.discarding = true;
            return Err(LineTooLong {
                max: self.line_bytes_max,
            });
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests;
