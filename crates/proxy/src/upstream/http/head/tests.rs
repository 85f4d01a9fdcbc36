//! Heads of answers: which are read, which are refused, and behind which a connection is used again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;

fn whole(text: &str) -> Head {
    let bytes = text.as_bytes();
    let (head, length) = read(bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    head
}

fn with(fields: &str) -> Result<Head, &'static str> {
    let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    read(text.as_bytes()).map(|head| head.unwrap().0)
}

#[test]
fn a_head_is_read_when_its_last_byte_is_there() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 5\r\n\r\n";
    for end in 0..text.len() {
        assert!(read(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
    }
    let head = whole(text);
    assert_eq!((head.kind, head.framing), (Kind::Json, Framing::Length(5)));
    assert!(head.reusable && !head.encoded && head.fields.is_empty());
    let behind = format!("{text}hello");
    assert_eq!(read(behind.as_bytes()).unwrap().unwrap().1, text.len());
}

#[test]
fn only_what_callers_ask_for_is_kept() {
    let head = with("Server: x\r\nMCP-SESSION-ID: abc\r\nRetry-After: 7\r\nSet-Cookie: a=b\r\n").unwrap();
    assert_eq!(head.fields.len(), 2);
    assert_eq!(head.fields["mcp-session-id"], "abc");
    assert_eq!(head.fields["retry-after"], "7");
}

#[test]
fn an_answer_whose_end_could_be_told_in_two_ways_is_refused_or_its_connection_closed() {
    for refused in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "X: y\r\n z\r\n",
        "X : y\r\n",
    ] {
        assert!(with(refused).is_err(), "{refused}");
    }
    for (closed, framing) in [
        ("Content-Length: 5\r\nContent-Length: 5\r\n", Framing::Length(5)),
        ("Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n", Framing::Chunked),
        ("", Framing::Close),
    ] {
        let head = with(closed).unwrap();
        assert_eq!((head.framing, head.reusable), (framing, false), "{closed}");
    }
}

#[test]
fn a_connection_is_used_again_only_where_the_server_keeps_it() {
    for (version, fields, reusable) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ] {
        let head = whole(&format!("HTTP/{version} 200 OK\r\n{fields}Content-Length: 1\r\n\r\n"));
        assert_eq!(head.reusable, reusable, "{version} {fields}");
    }
    assert!(read(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
}

#[test]
fn statuses_without_a_body_have_none_whatever_is_announced() {
    for status in [100, 103, 204, 304] {
        let head = whole(&format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n"));
        assert_eq!(head.framing, Framing::Length(0), "{status}");
    }
}

#[test]
fn a_server_says_how_long_it_keeps_a_connection() {
    assert_eq!(
        with("Keep-Alive: max=3, timeout=7\r\n").unwrap().keep,
        Some(Duration::from_secs(7))
    );
    assert_eq!(with("Keep-Alive: max=3\r\n").unwrap().keep, None);
}

#[test]
fn a_head_may_reach_its_limits_and_not_pass_them() {
    let empty = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
    for (length, fits) in [
        (ANSWER_HEAD_BYTES_MAX - 1, true),
        (ANSWER_HEAD_BYTES_MAX, true),
        (ANSWER_HEAD_BYTES_MAX + 1, false),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(length - empty));
        assert_eq!(read(text.as_bytes()).is_ok(), fits, "{length}");
    }
    for (count, fits) in [
        (ANSWER_FIELDS_MAX - 1, true),
        (ANSWER_FIELDS_MAX, true),
        (ANSWER_FIELDS_MAX + 1, false),
    ] {
        assert_eq!(with(&"X: y\r\n".repeat(count)).is_ok(), fits, "{count}");
    }
    let endless = "HTTP/1.1 200 OK\r\nX: ".to_owned() + &"x".repeat(ANSWER_HEAD_BYTES_MAX);
    assert!(read(endless.as_bytes()).is_err());
}

#[test]
fn what_is_no_http_is_refused() {
    for text in [
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 99 X\r\n\r\n",
        "{\"jsonrpc\"",
    ] {
        assert!(read(text.as_bytes()).is_err(), "{text}");
    }
}
