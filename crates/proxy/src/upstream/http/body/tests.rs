//! Bodies: the content comes out whole however it is cut, and not one byte behind its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

/// Content, and how many bytes of the input belonged to the body; the body must be done.
fn read(framing: Framing, bytes: &[u8], step: usize) -> Result<(Vec<u8>, usize), &'static str> {
    let mut body = Body::new(framing);
    let (mut content, mut at) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        at += body.follow(piece, &mut |piece| content.extend_from_slice(piece))?;
        if body.is_done() {
            return Ok((content, at));
        }
    }
    Err("not done")
}

#[test]
fn a_body_ends_where_it_was_said_to_end() {
    for step in 1..=8 {
        assert_eq!(
            read(Framing::Length(5), b"helloHTTP", step),
            Ok((b"hello".to_vec(), 5)),
            "{step}"
        );
    }
    assert!(Body::new(Framing::Length(0)).is_done());
}

#[test]
fn chunks_are_joined_wherever_they_are_cut() {
    let bytes = b"3\r\nhel\r\n2;name=value\r\nlo\r\n0 \r\nTrailer: x\r\nOther: y\r\n\r\nHTTP";
    for step in 1..=bytes.len() {
        let (content, end) = read(Framing::Chunked, bytes, step).unwrap();
        assert_eq!((content.as_slice(), end), (&b"hello"[..], bytes.len() - 4), "{step}");
    }
}

#[test]
fn chunks_that_two_parsers_could_read_differently_are_refused() {
    for bytes in [
        &b"\r\n"[..],
        b";\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5;a\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"-5\r\nhello\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\rX",
    ] {
        let refused = read(Framing::Chunked, bytes, bytes.len());
        assert!(
            refused.as_ref().is_err_and(|why| *why != "not done"),
            "{} {refused:?}",
            String::from_utf8_lossy(bytes)
        );
    }
}

#[test]
fn extensions_and_trailers_may_reach_their_limits_and_not_pass_them() {
    for (over, fits) in [(0, true), (1, true), (2, false)] {
        let extension = "x".repeat(CHUNK_EXTENSION_BYTES_MAX - 1 + over);
        let bytes = format!("1;{extension}\r\na\r\n0\r\n\r\n");
        assert_eq!(read(Framing::Chunked, bytes.as_bytes(), 64).is_ok(), fits, "{over}");
        let trailer = "x".repeat(TRAILER_BYTES_MAX - 2 + over);
        let bytes = format!("0\r\n{trailer}\n\r\n");
        assert_eq!(read(Framing::Chunked, bytes.as_bytes(), 64).is_ok(), fits, "{over}");
    }
}

#[test]
fn a_body_without_a_length_is_everything_to_the_end() {
    let mut body = Body::new(Framing::Close);
    let mut content = Vec::new();
    assert_eq!(
        body.follow(b"any", &mut |piece| content.extend_from_slice(piece)),
        Ok(3)
    );
    assert!(!body.is_done());
    assert_eq!(content, b"any");
}
