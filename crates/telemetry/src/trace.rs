//! W3C trace context: which trace a call belongs to.
//!
//! MCP carries `traceparent` in `params._meta`; on HTTP the header only describes the hop. What a client sends is parsed
//! strictly and otherwise dropped, never repaired: a malformed value starts a new trace. Identifiers come from entropy
//! that the caller gives, or from [`Ids`], which needs no system call per span (the ids have to be unique, not secret).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::TRACESTATE_BYTES_MAX;

#[cfg(test)]
mod tests;

const TRACEPARENT_CHARS: usize = 55;
/// The longest id.
const TRACE_ID_BYTES: usize = 16;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// One span and the trace it belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    parent_id: Option<[u8; 8]>,
    flags: u8,
}

impl TraceContext {
    /// The first span of a new trace; the first 16 bytes name the trace, the last 8 the span.
    pub fn root(entropy: [u8; 24]) -> Self {
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        trace_id
            .iter_mut()
            .zip(entropy.iter())
            .for_each(|(to, from)| *to = *from);
        span_id
            .iter_mut()
            .zip(entropy.iter().skip(16))
            .for_each(|(to, from)| *to = *from);
        Self {
            trace_id: never_zero(trace_id),
            span_id: never_zero(span_id),
            parent_id: None,
            flags: 1,
        }
    }

    /// The span somebody else sent, by the letter of W3C Trace Context level 2 §3.2; anything else is `None`.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let known = bytes.get(..TRACEPARENT_CHARS)?;
        let version = hex::<1>(known.get(..2)?)?;
        let rest = bytes.get(TRACEPARENT_CHARS..)?;
        let sound_length = match version {
            [0xff] => false,
            [0] => rest.is_empty(),
            _ => rest.is_empty() || rest.first() == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|at| known.get(*at) == Some(&b'-'));
        if !sound_length || !dashes || text.len() > 2 * TRACEPARENT_CHARS {
            return None;
        }
        let trace_id = hex::<16>(known.get(3..35)?)?;
        let span_id = hex::<8>(known.get(36..52)?)?;
        let [flags] = hex::<1>(known.get(53..55)?)?;
        // Only the two flags that are defined travel on (§3.3.1.3): sampled and random.
        (trace_id != [0; 16] && span_id != [0; 8]).then_some(Self {
            trace_id,
            span_id,
            parent_id: None,
            flags: flags & 3,
        })
    }

    /// A new span below this one.
    #[must_use]
    pub fn child(&self, entropy: [u8; 8]) -> Self {
        Self {
            span_id: never_zero(entropy),
            parent_id: Some(self.span_id),
            ..*self
        }
    }

    /// The value of `traceparent` that names this span as the parent.
    pub fn header_value(&self) -> Traceparent {
        let mut out = [b'-'; TRACEPARENT_CHARS];
        for (at, bytes) in [
            (0, &[0][..]),
            (3, &self.trace_id),
            (36, &self.span_id),
            (53, &[self.flags]),
        ] {
            let place = out.get_mut(at..).unwrap_or_default();
            for (pair, byte) in place.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = digits(*byte);
            }
        }
        Traceparent(out)
    }

    /// The trace, the span, the span above it, and the flags, as OTLP has them.
    pub(crate) fn parts(&self) -> ([u8; 16], [u8; 8], Option<[u8; 8]>, u8) {
        (self.trace_id, self.span_id, self.parent_id, self.flags)
    }

    /// 32 lower-case hexadecimal digits.
    pub fn trace_id(&self) -> impl fmt::Display + use<> {
        Hex(self.trace_id)
    }

    /// 16 lower-case hexadecimal digits.
    pub fn span_id(&self) -> impl fmt::Display + use<> {
        Hex(self.span_id)
    }

    /// The span above this one, where this process knows it.
    pub fn parent_id(&self) -> Option<impl fmt::Display + use<>> {
        self.parent_id.map(Hex)
    }

    /// The digits of [`TraceContext::trace_id`].
    pub(crate) fn trace_id_digits(&self) -> [u8; 32] {
        spelled(&self.trace_id)
    }

    /// The digits of [`TraceContext::span_id`].
    pub(crate) fn span_id_digits(&self) -> [u8; 16] {
        spelled(&self.span_id)
    }

    /// The digits of [`TraceContext::parent_id`].
    pub(crate) fn parent_id_digits(&self) -> Option<[u8; 16]> {
        self.parent_id.as_ref().map(|id| spelled(id))
    }

    /// Whether the caller asked for this trace to be kept.
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header_value().as_str())
    }
}

/// A formatted `traceparent`: 55 ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; TRACEPARENT_CHARS]);

impl Traceparent {
    /// The value.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The value as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a `tracestate` is short and printable enough to be carried on; its meaning is its vendors'.
pub fn tracestate_is_sound(text: &str) -> bool {
    !text.is_empty() && text.len() <= TRACESTATE_BYTES_MAX && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

/// A source of span ids: one secret seed per process, then arithmetic.
#[derive(Debug)]
pub struct Ids {
    seed: u64,
    next: AtomicU64,
}

impl Ids {
    /// A source from 16 random bytes.
    pub fn new(entropy: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = entropy;
        Self {
            seed: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            next: AtomicU64::new(u64::from_le_bytes(rest)),
        }
    }

    /// Eight bytes for [`TraceContext::child`].
    pub fn span(&self) -> [u8; 8] {
        // SplitMix64: a bijection of the counter, so no two ids of a process are equal.
        let mut z = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) ^ self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// Twenty-four bytes for [`TraceContext::root`].
    pub fn root(&self) -> [u8; 24] {
        let mut out = [0; 24];
        let parts = [self.span(), self.span(), self.span()];
        out.iter_mut()
            .zip(parts.iter().flatten())
            .for_each(|(to, from)| *to = *from);
        out
    }
}

#[derive(Clone, Copy)]
struct Hex<const N: usize>([u8; N]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Written in one piece: an access record spells three ids, and formatting each byte costs more than all the rest.
        let mut out = [0; 2 * TRACE_ID_BYTES];
        for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(&self.0) {
            *pair = digits(*byte);
        }
        let shown = out.get(..2 * N).unwrap_or_default();
        f.write_str(std::str::from_utf8(shown).unwrap_or_default())
    }
}

/// The hexadecimal digits of an id; `DIGITS` is twice its bytes.
fn spelled<const DIGITS: usize>(id: &[u8]) -> [u8; DIGITS] {
    let mut out = [b'0'; DIGITS];
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(id) {
        *pair = digits(*byte);
    }
    out
}

/// The two hexadecimal digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| HEX.get(usize::from(digit)).copied().unwrap_or(b'0'))
}

fn never_zero<const N: usize>(mut id: [u8; N]) -> [u8; N] {
    if id == [0; N]
        && let Some(last) = id.last_mut()
    {
        *last = 1;
    }
    id
}

/// Exactly `2 * N` lower-case hexadecimal digits.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    // What is no digit shows in the bits above four: looked at once, at the end, so that nothing branches on a digit.
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => 0xf0,
    };
    let mut out = [0; N];
    let mut seen = 0;
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (to, [high, low]) in out.iter_mut().zip(pairs) {
        let (high, low) = (digit(*high), digit(*low));
        seen |= high | low;
        *to = high << 4 | (low & 15);
    }
    (seen < 16).then_some(out)
}
