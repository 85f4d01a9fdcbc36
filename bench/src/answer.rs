//! One HTTP/1.1 answer taken from a buffer that grows: enough of the protocol to check what a target says, and no more.

use crate::Failure;

const HEADERS_MAX: usize = 64;
/// An answer that is longer is a mistake of somebody.
const ANSWER_BYTES_MAX: usize = 40 * 1024 * 1024;

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunks,
    /// No end that could be waited for: an event stream over HTTP/1.0 habits.
    Open,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) session: Option<String>,
    pub(crate) streamed: bool,
    bytes: usize,
    length: Length,
}

/// An answer as it arrives.
#[derive(Default)]
pub(crate) struct Arriving {
    buffer: Vec<u8>,
    head: Option<Head>,
    /// The body so far, where chunks had to be put together, and the place in the buffer behind the last whole chunk.
    joined: Vec<u8>,
    behind: usize,
}

impl Arriving {
    /// Adds what was read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Makes room for the next answer.
    pub(crate) fn clear(&mut self) {
        self.buffer.clear();
        self.joined.clear();
        self.head = None;
        self.behind = 0;
    }

    /// The head, once it is there.
    pub(crate) fn head(&mut self) -> Result<Option<&Head>, Failure> {
        if self.head.is_none() {
            self.head = read_head(&self.buffer)?;
            self.behind = self.head.as_ref().map_or(0, |head| head.bytes);
        }
        Ok(self.head.as_ref())
    }

    /// The whole body, once it is there.
    pub(crate) fn whole(&mut self) -> Result<Option<&[u8]>, Failure> {
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        let (start, length) = (head.bytes, head.length);
        if self.buffer.len() > ANSWER_BYTES_MAX {
            return Err("an answer without end".to_owned());
        }
        match length {
            Length::Known(bytes) => Ok(self.buffer.get(start..start + bytes)),
            Length::Chunks => Ok(self.join()?.then_some(self.joined.as_slice())),
            Length::Open => Err("an answer of unknown length".to_owned()),
        }
    }

    /// Joins the chunks that are whole; true after the last one.
    fn join(&mut self) -> Result<bool, Failure> {
        loop {
            let rest = self.buffer.get(self.behind..).unwrap_or_default();
            let (head, bytes) = match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete((head, bytes))) => (head, usize::try_from(bytes).unwrap_or(usize::MAX)),
                Ok(httparse::Status::Partial) => return Ok(false),
                Err(_) => return Err("a chunk without a size".to_owned()),
            };
            let end = head.saturating_add(bytes);
            let Some(chunk) = rest.get(head..end).filter(|_| rest.len() >= end.saturating_add(2)) else {
                return Ok(false);
            };
            self.joined.extend_from_slice(chunk);
            self.behind += end + 2;
            if bytes == 0 {
                return Ok(true);
            }
        }
    }
}

fn read_head(buffer: &[u8]) -> Result<Option<Head>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let bytes = match response.parse(buffer) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("no HTTP answer: {error}")),
    };
    let status = response.code.unwrap_or_default();
    let mut head = Head {
        status,
        session: None,
        streamed: false,
        bytes,
        length: if status == 202 || status == 204 {
            Length::Known(0)
        } else {
            Length::Open
        },
    };
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            head.length = Length::Known(value.parse().map_err(|_| format!("a length of `{value}`"))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Length::Chunks;
        } else if header.name.eq_ignore_ascii_case("mcp-session-id") {
            head.session = Some(value.to_owned());
        } else if header.name.eq_ignore_ascii_case("content-type") {
            head.streamed = value.starts_with("text/event-stream");
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::Arriving;

    fn whole(bytes: &[u8], step: usize) -> Option<Vec<u8>> {
        let mut arriving = Arriving::default();
        let mut found = None;
        for piece in bytes.chunks(step) {
            assert!(found.is_none(), "whole before its end");
            arriving.push(piece);
            found = arriving.whole().unwrap().map(<[u8]>::to_vec);
        }
        found
    }

    #[test]
    fn an_answer_of_known_length_is_whole_at_its_last_byte() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for step in 1..=bytes.len() {
            assert_eq!(whole(bytes, step).as_deref(), Some(b"hello".as_slice()));
        }
    }

    #[test]
    fn chunks_are_joined_wherever_they_are_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
        for step in 1..=bytes.len() {
            assert_eq!(whole(bytes, step).as_deref(), Some(b"hello".as_slice()));
        }
    }

    #[test]
    fn an_answer_without_an_end_is_refused() {
        let mut arriving = Arriving::default();
        arriving.push(b"HTTP/1.1 200 OK\r\n\r\nhello");
        assert!(arriving.whole().is_err());
    }
}
