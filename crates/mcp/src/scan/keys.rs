//! Keys of objects: none twice, and none that only looks like one of the protocol's.
//!
//! Small objects, nearly all there are, compare each new key with the ones before it. A large object is sorted by
//! fingerprint once it closes and only neighbours are compared, which stays fast whatever keys an attacker chooses and
//! needs no secret hash seed.

use smallvec::SmallVec;
use std::borrow::Cow;

use crate::value::Span;
use crate::{json, meta};

use super::pass::Level;

/// Above this many keys an object is checked when it closes.
const COMPARED_MAX: usize = 16;

#[derive(Clone, Copy)]
struct Key {
    inner: Span,
    escaped: bool,
    fingerprint: u64,
}

impl Key {
    fn text<'a>(&self, src: &'a [u8]) -> Cow<'a, [u8]> {
        decoded(src, self.inner, self.escaped)
    }
}

/// The bytes of a key, decoded when it holds an escape.
pub(super) fn decoded(src: &[u8], inner: Span, escaped: bool) -> Cow<'_, [u8]> {
    let raw = inner.of(src);
    if !escaped {
        return Cow::Borrowed(raw);
    }
    match json::unquote(raw) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Length, first and last bytes: enough to tell nearly all different keys of a small object apart.
fn fingerprint(text: &[u8]) -> u64 {
    let ends = if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        u64::from_le_bytes(*first).rotate_left(7) ^ u64::from_le_bytes(*last)
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        u64::from(u32::from_le_bytes(*first)) << 24 ^ u64::from(u32::from_le_bytes(*last))
    } else {
        text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    ends ^ (text.len() as u64).rotate_right(8)
}

/// The keys of all objects that are open now.
#[derive(Default)]
pub(super) struct Keys(SmallVec<[Key; 32]>);

impl Keys {
    /// How many keys are held: where the keys of the next object will start.
    pub(super) fn mark(&self) -> usize {
        self.0.len()
    }

    /// Adds a key to the object that started at `mark`; false when the object has it already.
    pub(super) fn add(&mut self, src: &[u8], mark: usize, inner: Span, escaped: bool, text: &[u8]) -> bool {
        let fingerprint = fingerprint(text);
        let siblings = self.0.get(mark..).unwrap_or_default();
        if siblings.len() < COMPARED_MAX {
            for key in siblings {
                if key.fingerprint == fingerprint && key.text(src) == text {
                    return false;
                }
            }
        }
        self.0.push(Key {
            inner,
            escaped,
            fingerprint,
        });
        true
    }

    /// Forgets the keys of the object that started at `mark`; the place of a key that it has twice, if any.
    pub(super) fn close(&mut self, src: &[u8], mark: usize) -> Option<Span> {
        let keys = self.0.get_mut(mark..).unwrap_or_default();
        let mut twice = None;
        if keys.len() > COMPARED_MAX {
            keys.sort_unstable_by(|a, b| {
                a.fingerprint
                    .cmp(&b.fingerprint)
                    .then_with(|| a.text(src).cmp(&b.text(src)))
            });
            twice = keys.windows(2).find_map(|pair| match pair {
                [a, b] if a.fingerprint == b.fingerprint && a.text(src) == b.text(src) => Some(b.inner),
                _ => None,
            });
        }
        self.0.truncate(mark);
        twice
    }
}

/// Names of one level; few enough that their lengths tell most of them apart.
type Names = &'static [&'static str];

const ROOT: Names = &["jsonrpc", "id", "method", "params", "result", "error"];

const BODY: Names = &[
    "_meta",
    "name",
    "uri",
    "arguments",
    "cursor",
    "inputResponses",
    "requestState",
    "ref",
    "argument",
    "context",
    "notifications",
    "taskId",
    "task",
    "requestId",
    "reason",
    "progressToken",
    "progress",
    "total",
    "message",
    "level",
    "logger",
    "data",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "code",
    "action",
    "content",
    "role",
    "model",
    "roots",
    "stopReason",
    "elicitationId",
    "statusMessage",
    "status",
];

const META: Names = &[
    meta::PROTOCOL_VERSION,
    meta::CLIENT_CAPABILITIES,
    meta::CLIENT_INFO,
    meta::LOG_LEVEL,
    meta::SERVER_INFO,
    meta::SUBSCRIPTION_ID,
    meta::PROGRESS_TOKEN,
    meta::TRACEPARENT,
    meta::TRACESTATE,
    meta::BAGGAGE,
    meta::RELATED_TASK,
];

const REFERENCE: Names = &["type", "name", "uri"];

const FILTER: Names = &[
    "toolsListChanged",
    "promptsListChanged",
    "resourcesListChanged",
    "resourceSubscriptions",
    "taskIds",
];

/// Whether a URI can stand under a member of this name, by the table of places. More names than those of the table may be
/// true, none of them false.
pub(super) fn names_uris(key: &[u8]) -> bool {
    matches!(
        key,
        [.., b'u' | b'U', b'r', b'i'] | b"uriTemplate" | b"resourceSubscriptions"
    )
}

/// Whether a member of the body is a name, an address or an id, and not prose.
pub(super) fn names_something(key: &[u8]) -> bool {
    matches!(
        key,
        b"name" | b"uri" | b"taskId" | b"requestId" | b"progressToken" | b"cursor" | b"requestState"
    )
}

/// The protocol member that `text` imitates: equal once case is folded, and not equal as it stands.
pub(super) fn imitated(level: Level, text: &[u8]) -> Option<&'static str> {
    let names = match level {
        Level::Root => ROOT,
        Level::Body => BODY,
        Level::Meta => META,
        Level::Reference => REFERENCE,
        Level::Filter => FILTER,
        Level::Arguments | Level::Plain => return None,
    };
    if text.is_ascii() {
        // The member itself, by far the usual case, is told by one comparison.
        if exact(level, text) {
            return None;
        }
        let alike = || names.iter().filter(|name| name.len() == text.len());
        // A whole comparison is a fraction of one letter by letter.
        if alike().any(|name| name.as_bytes() == text) {
            return None;
        }
        return alike().find(|name| name.as_bytes().eq_ignore_ascii_case(text)).copied();
    }
    let text = folded(text)?;
    names
        .iter()
        .find(|name| name.as_bytes().eq_ignore_ascii_case(&text))
        .copied()
}

/// Whether it is one of the members that every call has; most of the others are told by their length.
fn exact(level: Level, text: &[u8]) -> bool {
    match level {
        Level::Root => matches!(text, b"jsonrpc" | b"id" | b"method" | b"params" | b"result" | b"error"),
        Level::Body => matches!(
            text,
            b"_meta" | b"name" | b"uri" | b"arguments" | b"content" | b"cursor"
        ),
        _ => false,
    }
}

/// The two characters outside of ASCII whose simple case folding lies inside of it: `ſ` (U+017F) and `K` (U+212A).
/// What is not ASCII even then imitates nothing.
fn folded(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    text.chars()
        .map(|char| match char {
            '\u{17f}' => Some(b's'),
            '\u{212a}' => Some(b'k'),
            _ => u8::try_from(char).ok().filter(u8::is_ascii),
        })
        .collect()
}

#[cfg(test)]
mod tests;
