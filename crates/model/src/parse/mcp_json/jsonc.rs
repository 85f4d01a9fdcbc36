//! JSON with comments, made readable for a YAML reader without moving a byte.
//!
//! Comments, and tabs outside strings, become spaces of the same length, so every span still fits the file as it is.

/// The text with comments and tabs blanked out.
pub(super) fn blanked(text: &str) -> String {
    let mut out = text.to_owned().into_bytes();
    let mut at = Place::Outside;
    let mut previous = b' ';
    let mut open = None;
    for (index, byte) in text.bytes().enumerate() {
        let next = step(at, previous, byte);
        match (at, next) {
            (Place::Outside, Place::Line | Place::Block) => open = Some(index.saturating_sub(1)),
            (Place::Line, Place::Outside) => blank(&mut out, open.take(), index),
            (Place::Block, Place::Outside) => blank(&mut out, open.take(), index + 1),
            (Place::Outside, Place::Outside) if byte == b'\t' => blank(&mut out, Some(index), index + 1),
            _ => {}
        }
        // A byte that has closed or escaped something opens or closes nothing more.
        previous = if at == next && !(previous == b'\\' && byte == b'\\') {
            byte
        } else {
            b' '
        };
        at = next;
    }
    blank(&mut out, open, text.len());
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    String,
    Line,
    Block,
}

fn step(at: Place, previous: u8, byte: u8) -> Place {
    match (at, previous, byte) {
        (Place::Outside, _, b'"') => Place::String,
        (Place::Outside, b'/', b'/') => Place::Line,
        (Place::Outside, b'/', b'*') => Place::Block,
        (Place::String, previous, b'"') if previous != b'\\' => Place::Outside,
        (Place::Line, _, b'\n') => Place::Outside,
        (Place::Block, b'*', b'/') => Place::Outside,
        _ => at,
    }
}

fn blank(out: &mut [u8], from: Option<usize>, to: usize) {
    let Some(range) = from.and_then(|from| out.get_mut(from..to)) else {
        return;
    };
    for byte in range.iter_mut().filter(|byte| !matches!(**byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
}
