//! Text of strangers, made safe for a line-oriented log: escaped, capped, known secrets cut out.
//!
//! A log line is read by programs that split at line ends and by people whose terminal obeys escape sequences and
//! bidirectional marks. JSON itself only asks for the escaping of control characters below U+0020; here everything
//! that moves a cursor, ends a line somewhere or reorders text is written as `\uXXXX`.

use std::borrow::Cow;
use std::io::Write as _;

use crate::limits::TEXT_BYTES_MAX;

#[cfg(test)]
mod tests;

/// What all our bearer tokens begin with, and how long they are after it.
const TOKEN_PREFIX: &str = "mg_";
const TOKEN_CHARS: usize = 43;

/// Appends `text` as a JSON string.
pub(crate) fn push_json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let capped = cap(text);
    let mut rest = capped;
    // What is shorter than a token holds none, and nearly every text is.
    while rest.len() >= TOKEN_PREFIX.len() + TOKEN_CHARS
        && let Some(at) = rest.find(TOKEN_PREFIX)
    {
        let (before, from) = rest.split_at(at);
        push_escaped(out, before);
        let body = from.get(TOKEN_PREFIX.len()..).unwrap_or_default();
        let len = body
            .bytes()
            .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            .count();
        let kept = if len >= TOKEN_CHARS {
            "mg_***"
        } else {
            from.get(..TOKEN_PREFIX.len() + len).unwrap_or_default()
        };
        push_escaped(out, kept);
        rest = body.get(len..).unwrap_or_default();
    }
    push_escaped(out, rest);
    if capped.len() < text.len() {
        out.extend_from_slice("…".as_bytes());
    }
    out.push(b'"');
}

/// A text as a record spells it, without the quotes: for whatever is not JSON itself.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() < TOKEN_PREFIX.len() + TOKEN_CHARS && is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len().min(TEXT_BYTES_MAX) + 8);
    push_json(&mut out, text);
    unquoted(out).into()
}

/// A URI as a record spells it, without the quotes.
pub(crate) fn shown_uri(uri: &str) -> String {
    let mut out = Vec::with_capacity(uri.len().min(TEXT_BYTES_MAX) + 8);
    push_uri(&mut out, uri);
    unquoted(out)
}

fn unquoted(out: Vec<u8>) -> String {
    let text = String::from_utf8(out).unwrap_or_default();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or_default().to_owned()
}

/// A URI without what must not be logged: user name and password, query, fragment.
pub(crate) fn push_uri(out: &mut Vec<u8>, uri: &str) {
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let (shown, cut) = uri.split_at(end);
    let mut text = String::with_capacity(shown.len() + 2);
    match shown.split_once("://") {
        Some((scheme, rest)) => {
            let authority_end = rest.find('/').unwrap_or(rest.len());
            let (authority, path) = rest.split_at(authority_end);
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            text.push_str(scheme);
            text.push_str("://");
            text.push_str(host);
            text.push_str(path);
        }
        None => text.push_str(shown),
    }
    if let Some(mark) = cut.chars().next() {
        text.push(mark);
        text.push('…');
    }
    push_json(out, &text);
}

/// Cuts at a character boundary, and a token that the cut would leave half goes with it.
fn cap(text: &str) -> &str {
    if text.len() <= TEXT_BYTES_MAX {
        return text;
    }
    let end = (0..=TEXT_BYTES_MAX)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    let kept = text.get(..end).unwrap_or_default();
    match kept.rfind(TOKEN_PREFIX) {
        Some(at) if kept.len() - at < TOKEN_PREFIX.len() + TOKEN_CHARS => kept.get(..at).unwrap_or_default(),
        _ => kept,
    }
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    // Nearly every text of a record is plain, and then it is one copy.
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if moves_or_reorders(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to memory does not fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => {
                let mut utf8 = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
        }
    }
}

/// Whether nothing in a text has to be escaped.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\')
}

/// Controls (C0, DEL, C1), line and paragraph separators, bidirectional and zero-width marks, tags and the BOM.
fn moves_or_reorders(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
