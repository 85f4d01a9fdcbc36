//! The head of an answer, read as far as this hop needs it, and as strictly as a reused connection demands.
//!
//! A connection carries answers of many callers one after the other. A server whose head leaves open where its answer
//! ends could give one caller what belongs to another, so the end of an answer is told in exactly one way here, and
//! where a server says two things the connection is not used again.

use std::mem::MaybeUninit;
use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::upstream::limits::{ANSWER_FIELDS_MAX, ANSWER_HEAD_BYTES_MAX};

/// What a body is, by its declared type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Events,
    Other,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A whole head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) kind: Kind,
    /// The fields that somebody reads; most answers have none of them.
    pub(super) fields: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection may carry another answer behind this one.
    pub(super) reusable: bool,
    /// How long the server keeps an idle connection, if it said so.
    pub(super) keep: Option<Duration>,
    /// Whether the body is compressed, or otherwise not what it seems.
    pub(super) encoded: bool,
}

/// What callers may ask an answer for.
const KEPT: [HeaderName; 2] = [HeaderName::from_static("mcp-session-id"), header::RETRY_AFTER];

/// Reads a head from its first byte. `None` until it is whole; then with its length.
///
/// # Errors
/// What is wrong with it, for a person.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Head, usize)>, &'static str> {
    let mut room = [const { MaybeUninit::uninit() }; ANSWER_FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, bytes, &mut room);
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= ANSWER_HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err("its head is too long"),
        Err(httparse::Error::TooManyHeaders) => return Err("its head has too many fields"),
        Err(_) => return Err("its head is malformed"),
    };
    let status = StatusCode::from_u16(response.code.unwrap_or_default()).map_err(|_| "its status is no status")?;
    let mut reading = Reading::new(status);
    for field in response.headers.iter() {
        reading.field(field.name, field.value)?;
    }
    Ok(Some((reading.conclude(response.version == Some(1))?, length)))
}

/// A head while its fields are read.
struct Reading {
    head: Head,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Reading {
    fn new(status: StatusCode) -> Self {
        Self {
            head: Head {
                status,
                kind: Kind::Other,
                fields: HeaderMap::new(),
                framing: Framing::Close,
                reusable: false,
                keep: None,
                encoded: false,
            },
            length: None,
            chunked: false,
            close: false,
            keep_alive: false,
        }
    }

    fn field(&mut self, name: &str, value: &[u8]) -> Result<(), &'static str> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        // The length of a name tells most fields apart at once.
        match name.len() {
            10 if is("connection") => self.connection(value),
            10 if is("keep-alive") => self.head.keep = keep_alive(value),
            12 if is("content-type") => self.head.kind = kind(value),
            14 if is("content-length") => return self.content_length(value),
            16 if is("content-encoding") => self.head.encoded |= !value.eq_ignore_ascii_case(b"identity"),
            17 if is("transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err("its transfer-encoding is not a single `chunked`");
                }
                self.chunked = true;
            }
            _ => {
                if let Some(kept) = KEPT.iter().find(|kept| is(kept.as_str()))
                    && let Ok(value) = HeaderValue::from_bytes(value)
                {
                    self.head.fields.insert(kept.clone(), value);
                }
            }
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), &'static str> {
        // Nineteen digits always fit, and nobody sends more.
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err("its content-length is not a plain number");
        }
        let digits = value.iter().map(|digit| u64::from(digit - b'0'));
        let length = digits.fold(0, |sum, digit| sum * 10 + digit);
        if self.length.is_some_and(|before| before != length) {
            return Err("it has two lengths");
        }
        // A length said twice is still one length, but whoever says it twice is not trusted with a second answer.
        self.close |= self.length.is_some();
        self.length = Some(length);
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// What only the whole head can tell.
    fn conclude(mut self, http11: bool) -> Result<Head, &'static str> {
        let bodiless = self.head.status.is_informational()
            || matches!(self.head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        self.head.framing = match (self.chunked, self.length) {
            _ if bodiless => Framing::Length(0),
            (true, _) if !http11 => return Err("it has chunks in http/1.0"),
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Close,
        };
        let said_twice = self.chunked && self.length.is_some();
        let persistent = if http11 {
            !self.close
        } else {
            self.keep_alive && !self.close
        };
        self.head.reusable = persistent && !said_twice && self.head.framing != Framing::Close;
        Ok(self.head)
    }
}

fn kind(value: &[u8]) -> Kind {
    let media = value
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    if media.eq_ignore_ascii_case(b"application/json") {
        Kind::Json
    } else if media.eq_ignore_ascii_case(b"text/event-stream") {
        Kind::Events
    } else {
        Kind::Other
    }
}

/// `timeout=5`.
fn keep_alive(value: &[u8]) -> Option<Duration> {
    let value = std::str::from_utf8(value).ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
