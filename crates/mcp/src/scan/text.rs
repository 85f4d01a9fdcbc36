//! Strings, numbers and literals: the inner loops of the pass.
//!
//! A string is searched eight bytes at a time for the three things that end plain text: a quote, a backslash, a
//! control character. Whether any byte had its high bit set is collected on the way, so that pure ASCII, the usual
//! case, never sees the UTF-8 check.

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

/// How many leading bytes are plain text, and whether any of them is not ASCII.
fn plain(bytes: &[u8]) -> (usize, bool) {
    let mut high = 0;
    let mut count = 0;
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        let quote = zero_bytes(word ^ (LOW * b'"' as u64));
        let backslash = zero_bytes(word ^ (LOW * b'\\' as u64));
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let stop = quote | backslash | control;
        if stop != 0 {
            // Only the lowest mark is certain, and it is the one that counts.
            let lowest = stop & stop.wrapping_neg();
            high |= word & (lowest - 1);
            return (count + (stop.trailing_zeros() / 8) as usize, high & HIGH != 0);
        }
        high |= word;
        count += 8;
    }
    let mut high = high & HIGH != 0;
    for byte in bytes.iter().skip(count) {
        if matches!(byte, 0..=0x1f | b'"' | b'\\') {
            break;
        }
        high |= *byte >= 0x80;
        count += 1;
    }
    (count, high)
}

impl Pass<'_> {
    /// The string whose opening quote is next.
    pub(super) fn string(&mut self) -> Result<Text, ScanError> {
        self.at += 1;
        let start = self.at;
        let (mut escaped, mut nul, mut high) = (false, false, false);
        loop {
            let (count, not_ascii) = plain(self.src.get(self.at..).unwrap_or_default());
            self.at += count;
            high |= not_ascii;
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    nul |= self.escape()?;
                }
                Some(_) => return Err(self.fault(Fault::Control)),
                None => return Err(self.fault(Fault::End)),
            }
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
