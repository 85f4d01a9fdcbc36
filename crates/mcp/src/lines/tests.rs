//! Lines, whole and in pieces, and lines that are too long.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;

/// All lines of `input`, pushed in pieces of `piece` bytes; `None` stands for a line that was dropped.
fn lines(input: &[u8], piece: usize, max: usize) -> Vec<Option<Vec<u8>>> {
    let mut decoder = LineDecoder::new(max);
    let mut out = Vec::new();
    for bytes in input.chunks(piece) {
        decoder.push(bytes);
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => out.push(Some(line.to_vec())),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(error.max, max);
                    out.push(None);
                }
            }
        }
    }
    out
}

fn check(input: &[u8], max: usize, expected: &[Option<&str>]) {
    for piece in 1..=input.len().max(1) {
        let found = lines(input, piece, max);
        let found: Vec<_> = found
            .iter()
            .map(|line| line.as_deref().map(|line| std::str::from_utf8(line).unwrap()))
            .collect();
        assert_eq!(found, expected, "pieces of {piece}");
    }
}

#[test]
fn lines_come_without_their_ends_whatever_the_pieces() {
    check(
        b"{}\n[]\r\n\n\r\r\n last",
        100,
        &[Some("{}"), Some("[]"), Some(""), Some("\r")],
    );
    check(b"", 100, &[]);
    check(b"a\rb\n", 100, &[Some("a\rb")]);
}

#[test]
fn d08_lines_are_dropped_at_one_more_than_the_limit() {
    check(b"1234\n", 5, &[Some("1234")]);
    check(b"12345\n", 5, &[Some("12345")]);
    check(b"12345\r\n", 5, &[Some("12345")]);
    check(b"123456\n", 5, &[None]);
    check(b"123456\r\n", 5, &[None]);
    check(b"\n", 0, &[Some("")]);
    check(b"1\n", 0, &[None]);
}

#[test]
fn a_long_line_is_said_once_and_the_next_line_is_read() {
    check(
        b"a\n12345678901234567890\nb\n123456\nc\n",
        5,
        &[Some("a"), None, Some("b"), None, Some("c")],
    );
    check(b"1234567890", 5, &[None]);
}

#[test]
fn a_line_without_end_costs_no_more_memory_than_the_limit_and_one_piece() {
    let mut decoder = LineDecoder::new(1000);
    let mut said = 0;
    for _ in 0..10_000 {
        decoder.push(&[b'x'; 100]);
        said += usize::from(decoder.next_line().is_err());
        assert!(decoder.buffer.len() <= 1100);
    }
    assert_eq!(said, 1);
    decoder.push(b"y\nnext\n");
    assert_eq!(decoder.next_line().unwrap().unwrap(), "next");
}

#[test]
fn the_rest_is_what_was_never_ended() {
    let mut decoder = LineDecoder::new(10);
    decoder.push(b"a\nb");
    decoder.next_line().unwrap();
    assert_eq!(decoder.next_line(), Ok(None));
    assert_eq!(decoder.rest(), b"b");
}
