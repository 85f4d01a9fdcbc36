//! An HTTP/1 request head, read as strictly as the RFC lets a server read it.
//!
//! Request smuggling lives in what two parsers forgive differently. So this parser forgives nothing: lines end in CRLF,
//! a field is never folded, names are tokens without an underscore, there is exactly one host, and the length of the
//! body can be told in exactly one way. Whatever passes here means the same to every parser behind it.
//!
//! Decisions fall only at line ends, in order, so feeding a head byte by byte decides exactly as feeding it whole.

use std::ops::Range;

use super::Breach;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By its length, which may be zero.
    Length(u64),
    /// By its chunks.
    Chunked,
}

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Complete {
    /// Bytes of the head, its empty line included.
    pub(super) bytes: usize,
    /// What follows it.
    pub(super) framing: Framing,
}

/// A head that is being read.
#[derive(Debug)]
pub(super) struct Head {
    bytes_max: usize,
    fields_max: usize,
    /// Where the line begins that is not complete yet.
    line: usize,
    /// Up to where that line has been searched for its end.
    searched: usize,
    fields: usize,
    began: bool,
    http10: bool,
    target_authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    chunked: bool,
}

impl Head {
    pub(super) fn new(bytes_max: usize, fields_max: usize) -> Self {
        Self {
            bytes_max,
            fields_max,
            line: 0,
            searched: 0,
            fields: 0,
            began: false,
            http10: false,
            target_authority: None,
            host: None,
            length: None,
            chunked: false,
        }
    }

    /// Reads on. `bytes` are all bytes since the head's first, however often this is called.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<Complete>, Breach> {
        while let Some(at) = memchr::memchr(b'\n', bytes.get(self.searched..).unwrap_or_default()) {
            let (begin, end) = (self.line, self.searched + at + 1);
            if end > self.bytes_max {
                return Err(Breach::TooLarge("a request head is too long"));
            }
            let line = bytes.get(begin..end).and_then(|line| line.strip_suffix(b"\r\n"));
            let Some(line) = line else {
                return Err(Breach::Malformed("a line of the head does not end in CRLF"));
            };
            (self.line, self.searched) = (end, end);
            if !self.began {
                self.began = true;
                self.request_line(line)?;
            } else if line.is_empty() {
                let framing = self.conclude(bytes)?;
                return Ok(Some(Complete { bytes: end, framing }));
            } else {
                self.field(line, begin)?;
            }
        }
        self.searched = bytes.len();
        if bytes.len() >= self.bytes_max {
            return Err(Breach::TooLarge("a request head is too long"));
        }
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Breach> {
        const BAD: Breach = Breach::Malformed("the request line is not `METHOD target HTTP/1.1`");
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(BAD);
        };
        self.http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(BAD),
        };
        if method.is_empty() || !all(method, TOKEN) || method.eq_ignore_ascii_case(b"CONNECT") {
            return Err(BAD);
        }
        if !all(target, TARGET) {
            return Err(BAD);
        }
        if target.first() != Some(&b'/') {
            self.target_authority = Some(absolute_authority(target, method.len() + 1).ok_or(BAD)?);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], begin: usize) -> Result<(), Breach> {
        self.fields += 1;
        if self.fields > self.fields_max {
            return Err(Breach::TooLarge("a request head has too many fields"));
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err(Breach::Malformed("a field has no colon"));
        };
        let (name, rest) = line.split_at(colon);
        // A folded line and a space before the colon both fail here, for a space is not of a token.
        if name.is_empty() || !all(name, NAME) {
            return Err(Breach::Malformed("a field name is not a token without underscore"));
        }
        let value = rest.get(1..).unwrap_or_default();
        if holds_control(value) {
            return Err(Breach::Malformed("a field value holds a control character"));
        }
        let trimmed = value.trim_ascii();
        let offset = begin + colon + 1 + (value.len() - value.trim_ascii_start().len());
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trimmed, offset),
            7 if name.eq_ignore_ascii_case(b"upgrade") => Err(Breach::Malformed("upgrade is not served here")),
            10 if name.eq_ignore_ascii_case(b"connection") => connection(trimmed),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trimmed),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trimmed),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8], offset: usize) -> Result<(), Breach> {
        if self.host.is_some() {
            return Err(Breach::Malformed("host is repeated"));
        }
        if value.is_empty() || !all(value, AUTHORITY) {
            return Err(Breach::Malformed("host is not a host and a port"));
        }
        self.host = Some(offset..offset + value.len());
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Breach> {
        if self.length.is_some() {
            return Err(Breach::Malformed("content-length is repeated"));
        }
        // Nineteen digits always fit, and nobody sends more.
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Breach::Malformed("content-length is not a plain number"));
        }
        self.length = Some(
            value
                .iter()
                .fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0')),
        );
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Breach> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Breach::Malformed("transfer-encoding is not a single `chunked`"));
        }
        self.chunked = true;
        Ok(())
    }

    /// What only the whole head can tell.
    fn conclude(&self, bytes: &[u8]) -> Result<Framing, Breach> {
        let text = |range: &Range<usize>| bytes.get(range.clone()).unwrap_or_default();
        let Some(host) = &self.host else {
            return Err(Breach::Malformed("host is missing"));
        };
        if self
            .target_authority
            .as_ref()
            .is_some_and(|target| !text(target).eq_ignore_ascii_case(text(host)))
        {
            return Err(Breach::Malformed("host differs from the authority of the target"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Breach::Malformed("content-length and transfer-encoding together")),
            (true, None) if self.http10 => Err(Breach::Malformed("transfer-encoding in http/1.0")),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// `Connection` may name what concerns this connection only: a name of an end-to-end field would make the next proxy
/// drop that field.
fn connection(value: &[u8]) -> Result<(), Breach> {
    let hop_by_hop = |name: &[u8]| {
        [&b"close"[..], b"keep-alive", b"te"]
            .iter()
            .any(|allowed| name.eq_ignore_ascii_case(allowed))
    };
    if value
        .split(|&byte| byte == b',')
        .all(|name| hop_by_hop(name.trim_ascii()))
    {
        return Ok(());
    }
    Err(Breach::Malformed("connection names more than close, keep-alive and te"))
}

/// Where the authority of `http://authority/path` is in the line, of which the target begins at `offset`.
fn absolute_authority(target: &[u8], offset: usize) -> Option<Range<usize>> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    })?;
    let rest = target.get(scheme.len()..)?;
    let end = rest
        .iter()
        .position(|&byte| byte == b'/' || byte == b'?')
        .unwrap_or(rest.len());
    let begin = offset + scheme.len();
    (end > 0).then(|| begin..begin + end)
}

/// What a byte may be part of, as bits.
const TOKEN: u8 = 1;
/// A token without underscore.
const NAME: u8 = 2;
const AUTHORITY: u8 = 4;
const TARGET: u8 = 8;

/// The bits of every byte: each byte of every head is looked up here once.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut all = [0; 256];
    let mut rest: &mut [u8] = &mut all;
    let mut byte: u8 = 0;
    while let [first, more @ ..] = rest {
        *first = class(byte);
        rest = more;
        byte = byte.wrapping_add(1);
    }
    all
}

const fn class(byte: u8) -> u8 {
    let mark = matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'`' | b'|' | b'~'
    );
    let mut bits = 0;
    if byte.is_ascii_alphanumeric() || mark {
        bits |= TOKEN | NAME;
    }
    if byte == b'_' {
        bits |= TOKEN;
    }
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b':' | b'[' | b']') {
        bits |= AUTHORITY;
    }
    if byte.is_ascii_graphic() && byte != b'#' {
        bits |= TARGET;
    }
    bits
}

/// Whether every byte has this bit. All are looked at whatever the first ones are: without a way out in the middle
/// there is nothing to predict, and a bad head is worth no hurry.
fn all(bytes: &[u8], bit: u8) -> bool {
    let of = |byte: &u8| CLASSES.get(usize::from(*byte)).copied().unwrap_or_default();
    bytes.iter().fold(bit, |left, byte| left & of(byte)) != 0
}

/// Whether a control character other than a tab is among the bytes; many bytes at a time, for the same reason.
fn holds_control(bytes: &[u8]) -> bool {
    let is = |byte: u8| ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f);
    bytes.iter().fold(false, |found, &byte| found | is(byte))
}
