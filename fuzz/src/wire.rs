//! The wire guard: whatever it lets through means the same to another reader.

use meshgate_proxy::limits::Limits;
use meshgate_proxy::listen::fuzzing::{self, Followed};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;

/// The first byte is the size of the pieces, the rest is what a client sends. Each head that passes is read by `httparse`
/// to the same end, has one host, and tells the length of its body in one way only.
pub fn http1(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let whole = fuzzing::http1(stream, stream.len());
    same_in_pieces(&whole, &fuzzing::http1(stream, usize::from(*piece)));
    let mut rest = &stream[..whole.passed];
    while !rest.is_empty() {
        match read_message(rest) {
            Some(end) if end <= rest.len() => rest = &rest[end..],
            // The last body may be on its way.
            _ => return,
        }
    }
}

/// Where a message ends that begins here, as another reader sees it; `None` while its body is not whole.
fn read_message(bytes: &[u8]) -> Option<usize> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let head = request
        .parse(bytes)
        .expect("a head that passed is sound to another reader");
    let httparse::Status::Complete(head) = head else {
        panic!("a head passed before it was whole");
    };
    let all = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    assert_eq!(all("host").len(), 1, "one host");
    assert!(all("upgrade").is_empty());
    assert!(request.headers.iter().all(|field| !field.name.contains('_')));
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => Some(head),
        ([length], []) => {
            let length = std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok());
            let length = length.expect("a length that passed is a number");
            usize::try_from(length).ok().and_then(|length| head.checked_add(length))
        }
        ([], [coding]) => {
            assert!(coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            read_chunks(&bytes[head..]).map(|body| head + body)
        }
        both => panic!("two ways to tell the length of a body: {both:?}"),
    }
}

fn read_chunks(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = &bytes[at..];
        let line = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).expect("a chunk size that passed is text");
        let size = usize::from_str_radix(size, 16).ok()?;
        at = at.checked_add(line + 2)?.checked_add(size)?.checked_add(2)?;
        if at > bytes.len() {
            return None;
        }
        assert_eq!(&bytes[at - 2..at], b"\r\n", "a chunk that passed ends in CRLF");
        if size == 0 {
            return Some(at);
        }
    }
}

/// The first byte is the size of the pieces, the rest are the frames of a client, all within one moment. What passes is
/// counted once more by the simplest means, and is within every limit.
pub fn http2(input: &[u8]) {
    let Some((piece, frames)) = input.split_first() else {
        return;
    };
    let stream = [PREFACE, frames].concat();
    let whole = fuzzing::http2(&stream, stream.len());
    same_in_pieces(&whole, &fuzzing::http2(&stream, usize::from(*piece)));
    let limits = Limits::default();
    let (mut at, mut resets, mut block) = (PREFACE.len(), 0, None);
    while let Some([a, b, c, kind, flags, ..]) = stream.get(at..whole.passed) {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        match kind {
            // HEADERS, then CONTINUATION: a block is bounded in bytes and in frames.
            1 | 9 => {
                let (bytes, parts) = if *kind == 1 {
                    (0, 0)
                } else {
                    block.expect("a continuation of something")
                };
                let (bytes, parts) = (bytes + length, parts + usize::from(*kind == 9));
                assert!(bytes <= limits.h2_header_block_bytes && parts <= limits.h2_continuations);
                block = (flags & 4 == 0).then_some((bytes, parts));
            }
            3 => resets += 1,
            _ => {}
        }
        at += FRAME_HEAD + length;
    }
    assert!(resets <= limits.h2_resets, "{resets} resets at once");
}

/// How the bytes are cut must decide nothing; only the part of a head that was not refused yet may differ.
fn same_in_pieces(whole: &Followed, pieces: &Followed) {
    assert_eq!(whole, pieces, "whole and in pieces");
}
