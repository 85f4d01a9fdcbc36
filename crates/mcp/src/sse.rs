//! Server-sent events, both directions, as the HTML standard defines the format.
//!
//! The decoder holds at most one event. Its limit is checked while bytes arrive, so that a server which never ends an
//! event costs no more memory than one which does.

use memchr::{memchr, memchr2};

/// One event. A block that only sets an id or a retry time is an event with empty `data`: it is no message, and yet
/// matters to whoever resumes the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// The event type; `None` stands for `message`.
    pub event: Option<String>,
    /// The event id, when this event sets one.
    pub id: Option<String>,
    /// The time to wait before reconnecting, in milliseconds.
    pub retry: Option<u64>,
    /// The data, lines joined by a newline.
    pub data: Vec<u8>,
}

/// A stream that cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// An event with more data than allowed.
    #[error("an event holds more than {max} bytes; the stream was given up")]
    TooLarge {
        /// The limit.
        max: usize,
    },
}

/// Room for a field name and its colon beside the data of a full line.
const FIELD_BYTES_MAX: usize = 16;

/// Cuts a stream into events.
#[derive(Debug)]
pub struct SseDecoder {
    event_bytes_max: usize,
    buffer: Vec<u8>,
    /// Start of the current line in the buffer.
    line: usize,
    /// How far the current line was searched for its end.
    searched: usize,
    /// A carriage return ended the last line: a newline that follows belongs to it.
    after_return: bool,
    /// Nothing was read yet, so a byte order mark may come.
    first: bool,
    pending: SseEvent,
    has_data: bool,
    has_field: bool,
    failed: bool,
}

impl SseDecoder {
    /// A decoder for events of at most `event_bytes_max` bytes of data.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            event_bytes_max,
            buffer: Vec::new(),
            line: 0,
            searched: 0,
            after_return: false,
            first: true,
            pending: SseEvent::default(),
            has_data: false,
            has_field: false,
            failed: false,
        }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed {
            return;
        }
        if self.line > 0 {
            self.buffer.drain(..self.line);
            self.searched -= self.line;
            self.line = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event, or `None` until more is pushed. What stands behind the last empty line when the stream
    /// ends is no event.
    ///
    /// # Errors
    /// When an event is over the limit; from then on always.
    pub fn next_event(&mut self) -> Result<Option<SseEvent>, SseError> {
        if self.failed {
            return Err(self.too_large());
        }
        while let Some((start, end)) = self.next_line()? {
            if start == end {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(start, end)?;
        }
        Ok(None)
    }

    fn too_large(&self) -> SseError {
        SseError::TooLarge {
            max: self.event_bytes_max,
        }
    }

    fn fail(&mut self) -> SseError {
        self.failed = true;
        self.buffer = Vec::new();
        self.pending = SseEvent::default();
        self.too_large()
    }

    /// The range of the next whole line, without its end.
    fn next_line(&mut self) -> Result<Option<(usize, usize)>, SseError> {
        if self.after_return
            && let Some(byte) = self.buffer.get(self.line)
        {
            if *byte == b'\n' {
                self.line += 1;
                self.searched = self.line;
            }
            self.after_return = false;
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr2(b'\r', b'\n', unsearched) else {
            self.searched = self.buffer.len();
            let unfinished = self.buffer.len() - self.line;
            let limit = self.event_bytes_max.saturating_add(FIELD_BYTES_MAX);
            return if unfinished > limit { Err(self.fail()) } else { Ok(None) };
        };
        let (mut start, end) = (self.line, self.searched + found);
        self.after_return = self.buffer.get(end) == Some(&b'\r');
        self.line = end + 1;
        self.searched = self.line;
        if std::mem::take(&mut self.first)
            && self
                .buffer
                .get(start..end)
                .is_some_and(|line| line.starts_with(&[0xef, 0xbb, 0xbf]))
        {
            start += 3;
        }
        Ok(Some((start, end)))
    }

    fn field(&mut self, start: usize, end: usize) -> Result<(), SseError> {
        let line = self.buffer.get(start..end).unwrap_or_default();
        let (name, value) = match memchr(b':', line) {
            Some(colon) => {
                let value = line.get(colon + 1..).unwrap_or_default();
                (
                    line.get(..colon).unwrap_or_default(),
                    value.strip_prefix(b" ").unwrap_or(value),
                )
            }
            None => (line, &[][..]),
        };
        match name {
            b"data" => {
                let length = self.pending.data.len() + usize::from(self.has_data) + value.len();
                if length > self.event_bytes_max {
                    return Err(self.fail());
                }
                if self.has_data {
                    self.pending.data.push(b'\n');
                }
                self.pending.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.pending.event = Some(String::from_utf8_lossy(value).into_owned()),
            b"id" if memchr(0, value).is_none() => {
                self.pending.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => match retry(value) {
                Some(millis) => self.pending.retry = Some(millis),
                None => return Ok(()),
            },
            // A comment, or a field that nobody knows.
            _ => return Ok(()),
        }
        self.has_field = true;
        Ok(())
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        self.has_data = false;
        let event = std::mem::take(&mut self.pending);
        std::mem::take(&mut self.has_field).then_some(event)
    }
}

/// Digits only, as the standard wants.
fn retry(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Appends one `message` event. A message has no line break after its scan; data that has one is split over several
/// `data` lines, so that it can never forge a field or an event.
pub fn encode_sse(out: &mut Vec<u8>, id: Option<&str>, data: &[u8]) {
    out.reserve(data.len() + 32 + id.map_or(0, str::len));
    out.extend_from_slice(b"event: message\n");
    push_id(out, id);
    push_data(out, data);
    out.push(b'\n');
}

/// Appends an event of another type than that of messages; the type is a word of ours.
pub fn encode_sse_typed(out: &mut Vec<u8>, kind: &'static str, data: &[u8]) {
    out.reserve(data.len() + 32 + kind.len());
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
    push_data(out, data);
    out.push(b'\n');
}

/// Appends the event that opens a stream which can be resumed: an id, empty data, and how long to wait.
pub fn encode_sse_priming(out: &mut Vec<u8>, id: &str, retry_ms: Option<u64>) {
    push_id(out, Some(id));
    if let Some(retry_ms) = retry_ms {
        out.extend_from_slice(format!("retry: {retry_ms}\n").as_bytes());
    }
    out.extend_from_slice(b"data: \n\n");
}

/// Appends a comment: nothing to a client, a sign of life to everything between.
pub fn encode_sse_comment(out: &mut Vec<u8>) {
    out.extend_from_slice(b": \n\n");
}

fn push_id(out: &mut Vec<u8>, id: Option<&str>) {
    let Some(id) = id else { return };
    out.extend_from_slice(b"id: ");
    out.extend(id.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
    out.push(b'\n');
}

fn push_data(out: &mut Vec<u8>, data: &[u8]) {
    let mut rest = data;
    loop {
        let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
        let (line, tail) = rest.split_at(end);
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
        let tail_after = tail.strip_prefix(b"\r\n").or_else(|| tail.get(1..));
        match tail_after {
            Some(tail) if end < rest.len() => rest = tail,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests;
