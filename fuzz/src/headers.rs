//! Mirrored headers.

use meshgate_mcp::headers::{check, decode, encode, param_headers};
use meshgate_mcp::{Span, json};

/// A header that decodes names one text, and that text encoded names it again.
pub fn headers(input: &[u8]) {
    if let Ok(text) = decode(input) {
        assert_eq!(check(input, &text), Ok(()));
        assert_eq!(decode(encode(&text).as_bytes()).as_deref(), Ok(&*text));
    }
    if let Ok(text) = std::str::from_utf8(input) {
        let header = encode(text);
        assert!(header.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')));
        assert_eq!(check(header.as_bytes(), text), Ok(()));
    }
}

/// A schema, the arguments and a header, one per line: the header that we would send is the one that we accept.
pub fn params(input: &[u8]) {
    let (schema, rest) = crate::cut(input, b'\n');
    let (src, header) = crate::cut(rest, b'\n');
    let Ok(found) = param_headers(schema) else { return };
    let arguments = Some(Span {
        start: 0,
        end: u32::try_from(src.len()).expect("inputs are small"),
    });
    for param in found {
        assert!(!param.path.is_empty());
        let _ = param.check(Some(header), src, arguments);
        let value = param.value(src, arguments);
        if json::valid(src, usize::MAX) {
            assert_eq!(param.check(value.as_deref().map(str::as_bytes), src, arguments), Ok(()));
            assert_eq!(param.check(None, src, arguments).is_ok(), value.is_none());
        }
    }
}
