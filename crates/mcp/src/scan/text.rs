//! Strings, numbers and literals: the inner loops of the pass.
//!
//! A string is searched for the three things that end plain text: a quote, a backslash, a control character. The first
//! bytes are looked at eight at a time, which suits names; what goes on is a text, and the rest of it is searched with the
//! vectors of the machine. Whether any byte had its high bit set is collected on the way, so that pure ASCII, the usual
//! case, never sees the UTF-8 check.

use memchr::memchr2;

use super::Side;
use super::fault::{Fault, ScanError};
use super::pass::Pass;
use crate::json::hex4;
use crate::value::{Kind, Span, Value};

/// A string whose grammar was checked.
#[derive(Clone, Copy)]
pub(super) struct Text {
    /// Without the quotes.
    pub(super) inner: Span,
    pub(super) escaped: bool,
    /// Holds U+0000.
    pub(super) nul: bool,
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks the high bit of each byte that is zero. Bytes above the lowest marked one may be marked wrongly.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// How many words are looked at before a string counts as a text.
const NAME_WORDS: usize = 8;

/// How many leading bytes are plain text, and whether any of them is not ASCII.
#[inline]
fn plain(bytes: &[u8]) -> (usize, bool) {
    let (count, high, ended) = words(bytes, NAME_WORDS);
    if ended {
        return (count, high);
    }
    let rest = bytes.get(count..).unwrap_or_default();
    let (more, more_high) = if count == NAME_WORDS * 8 {
        long(rest)
    } else {
        short(rest)
    };
    (count + more, high | more_high)
}

/// How many leading bytes are plain text.
pub(crate) fn plain_bytes(bytes: &[u8]) -> usize {
    let (count, _, ended) = words(bytes, usize::MAX);
    if ended {
        count
    } else {
        count + short(bytes.get(count..).unwrap_or_default()).0
    }
}

/// As [`plain`], for the whole words among the first `words_max`; and whether plain text ended there.
#[inline]
fn words(bytes: &[u8], words_max: usize) -> (usize, bool, bool) {
    let (mut high, mut count) = (0, 0);
    for word in bytes.as_chunks::<8>().0.iter().take(words_max) {
        let word = u64::from_le_bytes(*word);
        let quote = zero_bytes(word ^ (LOW * b'"' as u64));
        let backslash = zero_bytes(word ^ (LOW * b'\\' as u64));
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let stop = quote | backslash | control;
        if stop != 0 {
            // Only the lowest mark is certain, and it is the one that counts.
            let lowest = stop & stop.wrapping_neg();
            high |= word & (lowest - 1);
            return (count + (stop.trailing_zeros() / 8) as usize, high & HIGH != 0, true);
        }
        high |= word;
        count += 8;
    }
    (count, high & HIGH != 0, false)
}

/// As [`plain`], for the few bytes that are no whole word.
fn short(bytes: &[u8]) -> (usize, bool) {
    let special = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    let count = bytes.iter().position(special).unwrap_or(bytes.len());
    let high = bytes.iter().take(count).any(|byte| *byte >= 0x80);
    (count, high)
}

/// As [`plain`], for a text: one vectorised search for its end, and one for what must not stand before it.
fn long(bytes: &[u8]) -> (usize, bool) {
    let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let text = bytes.get(..end).unwrap_or_default();
    let (least, all) = text
        .iter()
        .fold((u8::MAX, 0), |(least, all), byte| ((*byte).min(least), all | byte));
    if least >= b' ' {
        (end, all >= 0x80)
    } else {
        let control = text.iter().position(|byte| *byte < b' ').unwrap_or(end);
        (control, text.iter().take(control).any(|byte| *byte >= 0x80))
    }
}

impl Pass<'_> {
    /// The string whose opening quote is next.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text, ScanError> {
        let start = self.at + 1;
        // Nearly every string is plain ASCII without an escape.
        let (count, high) = plain(self.src.get(start..).unwrap_or_default());
        let end = start + count;
        if !high && self.src.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Text {
                inner: Span::new(start, end),
                escaped: false,
                nul: false,
            });
        }
        self.at = end;
        self.any_string(start, high)
    }

    /// The rest of a string that began at `start` and is plain up to here.
    fn any_string(&mut self, start: usize, mut high: bool) -> Result<Text, ScanError> {
        let (mut escaped, mut nul) = (false, false);
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    nul |= self.escape()?;
                }
                Some(_) => return Err(self.fault(Fault::Control)),
                None => return Err(self.fault(Fault::End)),
            }
            let (count, not_ascii) = plain(self.src.get(self.at..).unwrap_or_default());
            self.at += count;
            high |= not_ascii;
        }
        let inner = Span::new(start, self.at);
        if high && let Err(error) = std::str::from_utf8(inner.of(self.src)) {
            return Err(Fault::Utf8.at(start + error.valid_up_to()));
        }
        self.at += 1;
        Ok(Text { inner, escaped, nul })
    }

    /// The escape whose backslash is next; true when it is U+0000.
    fn escape(&mut self) -> Result<bool, ScanError> {
        let tail = self.src.get(self.at + 1..).unwrap_or_default();
        match tail.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(false)
            }
            Some(b'u') => self.unicode_escape(tail.get(1..).unwrap_or_default()),
            Some(_) => Err(self.fault(Fault::Escape)),
            None => Err(self.fault(Fault::End)),
        }
    }

    fn unicode_escape(&mut self, digits: &[u8]) -> Result<bool, ScanError> {
        let Some((unit, rest)) = hex4(digits) else {
            return Err(self.fault(Fault::Escape));
        };
        let surrogate = match unit {
            0xd800..=0xdbff => {
                let low = rest.strip_prefix(b"\\u").and_then(hex4).map(|(low, _)| low);
                if low.is_some_and(|low| (0xdc00..=0xdfff).contains(&low)) {
                    self.at += 12;
                    return Ok(false);
                }
                true
            }
            0xdc00..=0xdfff => true,
            _ => false,
        };
        if surrogate && self.rules.side == Side::Client {
            return Err(self.fault(Fault::Surrogate));
        }
        self.at += 6;
        Ok(unit == 0)
    }

    /// The number that starts here.
    pub(super) fn number(&mut self) -> Result<Value, ScanError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.fault(Fault::Number)),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        // `01`, `0x1`, `1a`: a number must be followed by something that can follow a value.
        if matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'+' | b'-')
        ) {
            return Err(self.fault(Fault::Number));
        }
        if self.at - start > self.rules.number_chars_max {
            return Err(Fault::NumberLength {
                max: self.rules.number_chars_max,
            }
            .at(start));
        }
        Ok(Value {
            span: Span::new(start, self.at),
            kind: Kind::Number,
            escaped: false,
        })
    }

    fn some_digits(&mut self) -> Result<(), ScanError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.fault(Fault::Number));
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    /// `true`, `false` or `null`.
    pub(super) fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<Value, ScanError> {
        let start = self.at;
        let found = self.src.get(start..start + word.len());
        if found != Some(word) {
            return Err(self.fault(Fault::Syntax { expected: "a value" }));
        }
        self.at += word.len();
        Ok(Value {
            span: Span::new(start, self.at),
            kind,
            escaped: false,
        })
    }
}
