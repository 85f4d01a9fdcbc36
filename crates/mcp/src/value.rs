//! What a scan yields: byte ranges with a kind, never copies.
//!
//! A range belongs to the bytes it was made from. Reading it against other bytes gives an empty or a wrong text, but
//! never a panic, because every access is checked.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::{json, read};

/// A range of bytes of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end`; positions past 4 GiB are cut off there (the scanner refuses such messages).
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: u32::try_from(start).unwrap_or(u32::MAX),
            end: u32::try_from(end).unwrap_or(u32::MAX),
        }
    }

    /// The bytes of the range; empty when the range lies outside of `src`.
    pub fn of(self, src: &[u8]) -> &[u8] {
        src.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// Length in bytes.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// The kind of a JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number, kept as text.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// One JSON value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Where it stands, with its quotes or brackets.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
    /// Whether it is a string that holds a backslash, so that its text differs from its bytes.
    pub escaped: bool,
}

impl Value {
    /// The bytes as they stand in the message.
    pub fn raw<'a>(&self, src: &'a [u8]) -> &'a [u8] {
        self.span.of(src)
    }

    /// The decoded text of a string; `None` for every other kind.
    pub fn str<'a>(&self, src: &'a [u8]) -> Option<Cow<'a, str>> {
        if self.kind != Kind::String {
            return None;
        }
        let inner = self.raw(src).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        Some(if self.escaped {
            json::unquote(inner)
        } else {
            json::plain(inner)
        })
    }

    /// Whether it is a string of exactly this text.
    pub fn is(&self, src: &[u8], text: &str) -> bool {
        if self.escaped {
            return self.str(src).is_some_and(|found| found == text);
        }
        let raw = self.raw(src);
        self.kind == Kind::String && raw.len() == text.len() + 2 && raw.get(1..=text.len()) == Some(text.as_bytes())
    }

    /// The number, when it is written as a plain integer that fits.
    pub fn u64(&self, src: &[u8]) -> Option<u64> {
        if self.kind != Kind::Number {
            return None;
        }
        digits(self.raw(src))
    }

    /// The number, when it is written as a plain integer that fits.
    pub fn i64(&self, src: &[u8]) -> Option<i64> {
        if self.kind != Kind::Number {
            return None;
        }
        let raw = self.raw(src);
        match raw.strip_prefix(b"-") {
            Some(rest) => 0i64.checked_sub_unsigned(digits(rest)?),
            None => digits(raw)?.try_into().ok(),
        }
    }

    /// `true` or `false`; `None` for every other kind.
    pub fn bool(&self, _src: &[u8]) -> Option<bool> {
        match self.kind {
            Kind::True => Some(true),
            Kind::False => Some(false),
            _ => None,
        }
    }
}

/// The value of digits and nothing else, when it fits.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// One member of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key, without its quotes.
    pub key: Span,
    /// Whether the key holds a backslash.
    pub key_escaped: bool,
    /// The value.
    pub value: Value,
}

impl Member {
    /// The decoded key.
    pub fn name<'a>(&self, src: &'a [u8]) -> Cow<'a, str> {
        json::unquote(self.key.of(src))
    }

    /// Whether the decoded key is `name`.
    #[inline]
    pub fn is(&self, src: &[u8], name: &str) -> bool {
        if self.key_escaped {
            self.name(src) == name
        } else {
            self.key.len() == name.len() && self.key.of(src) == name.as_bytes()
        }
    }
}

/// One object, one level deep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Where it stands, with its braces.
    pub span: Span,
    /// Its members, in order.
    pub members: SmallVec<[Member; 6]>,
}

impl Object {
    /// The value of member `name`. Where a server repeats a member the last one counts, as in most JSON libraries.
    pub fn get(&self, src: &[u8], name: &str) -> Option<&Value> {
        self.members
            .iter()
            .rev()
            .find(|member| member.is(src, name))
            .map(|member| &member.value)
    }

    /// The index of the member that [`Object::get`] finds.
    pub fn find(&self, src: &[u8], name: &str) -> Option<usize> {
        self.members.iter().rposition(|member| member.is(src, name))
    }

    /// Reads one level of an object out of bytes that were scanned before; `None` when no object starts there.
    pub fn read(src: &[u8], span: Span) -> Option<Self> {
        read::object(src, span)
    }
}
