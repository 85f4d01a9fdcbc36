//! JSON text at its smallest: quoting, unquoting, and asking whether bytes are JSON at all.

use std::borrow::Cow;

use crate::scan;

/// The text as a JSON string, with quotes and the fewest escapes.
pub fn quote(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends the text as a JSON string.
pub fn push_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, tail) = rest.split_at(scan::plain_bytes(rest));
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else { break };
        push_escape(out, *byte);
        rest = tail;
    }
    out.push(b'"');
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The text between the quotes of a JSON string. A lone surrogate, or an escape that JSON does not know, becomes
/// U+FFFD: only a server's message can still hold one, since the scan refuses them from clients.
pub fn unquote(inner: &[u8]) -> Cow<'_, str> {
    let Some(first) = memchr::memchr(b'\\', inner) else {
        return plain(inner);
    };
    let mut out = Vec::with_capacity(inner.len());
    let (plain, mut rest) = inner.split_at(first);
    out.extend_from_slice(plain);
    while let Some(tail) = rest.strip_prefix(b"\\") {
        let (decoded, tail) = unescape(tail);
        let mut utf8 = [0; 4];
        out.extend_from_slice(decoded.encode_utf8(&mut utf8).as_bytes());
        let next = memchr::memchr(b'\\', tail).unwrap_or(tail.len());
        let (plain, tail) = tail.split_at(next);
        out.extend_from_slice(plain);
        rest = tail;
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// The text between the quotes of a JSON string that holds no escape.
pub(crate) fn plain(inner: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(inner) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(inner),
    }
}

/// The character of the escape whose backslash was taken, and what follows it.
fn unescape(tail: &[u8]) -> (char, &[u8]) {
    let Some((byte, rest)) = tail.split_first() else {
        return (char::REPLACEMENT_CHARACTER, tail);
    };
    let plain = match byte {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_unicode(rest),
        _ => char::REPLACEMENT_CHARACTER,
    };
    (plain, rest)
}

fn unescape_unicode(rest: &[u8]) -> (char, &[u8]) {
    let Some((unit, after)) = hex4(rest) else {
        return (char::REPLACEMENT_CHARACTER, rest);
    };
    if (0xd800..0xdc00).contains(&unit)
        && let Some((low, after_low)) = after.strip_prefix(b"\\u").and_then(hex4)
        && (0xdc00..0xe000).contains(&low)
    {
        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), after_low);
    }
    (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), after)
}

/// Four hexadecimal digits, and what follows them.
pub(crate) fn hex4(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = bytes.split_first_chunk::<4>()?;
    let mut unit = 0;
    for digit in digits {
        unit = unit * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((unit, rest))
}

/// Whether the bytes are one JSON value, of any kind, nested at most `depth` deep. Repeated members, long numbers and
/// lone surrogates pass, as they do from a server.
pub fn valid(src: &[u8], depth: usize) -> bool {
    scan::valid(src, depth)
}
