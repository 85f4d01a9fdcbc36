#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::Version;
use super::super::tests::{block_on, guard, request};
use super::{Breach, Http1, Place};

const HEAD_BYTES: usize = 8192;
const HEAD_FIELDS: usize = 64;

/// Shows all bytes at once: what passed, and how it ended.
fn whole(bytes: &[u8]) -> (usize, Option<Breach>) {
    let seen = Http1::new(HEAD_BYTES, HEAD_FIELDS).follow(bytes);
    (seen.pass, seen.breach)
}

/// Shows the bytes in pieces, holding back what did not pass.
fn pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (usize, Option<Breach>) {
    let mut machine = Http1::new(HEAD_BYTES, HEAD_FIELDS);
    let (mut held, mut passed) = (Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let seen = machine.follow(&held);
        held.drain(..seen.pass);
        passed += seen.pass;
        if seen.breach.is_some() {
            return (passed, seen.breach);
        }
    }
    (passed, None)
}

/// Asserts that every way to cut the bytes in two, and byte by byte, ends as the whole does; returns that.
fn every_split(bytes: &[u8]) -> (usize, Option<Breach>) {
    let expected = whole(bytes);
    assert_eq!(
        pieces(bytes.chunks(1)),
        expected,
        "byte by byte: {:?}",
        bytes.escape_ascii().to_string()
    );
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(pieces([first, second]), expected, "split at {at}");
    }
    expected
}

fn passes(text: &str) {
    assert_eq!(every_split(text.as_bytes()), (text.len(), None), "{text:?}");
}

fn refused(text: &str) -> Breach {
    let follower = format!("{text}GET /admin HTTP/1.1\r\nHost: h\r\n\r\n");
    let (pass, breach) = every_split(follower.as_bytes());
    assert!(pass <= text.len(), "the follower passed: {text:?}");
    breach.unwrap_or_else(|| panic!("passes: {text:?}"))
}

fn malformed(text: &str) {
    assert!(matches!(refused(text), Breach::Malformed(_)), "{text:?}");
}

#[test]
fn requests_as_clients_send_them_pass() {
    passes("GET /mcp HTTP/1.1\r\nHost: h\r\n\r\n");
    passes("GET /mcp?a=b HTTP/1.0\r\nHost: h:7300\r\nConnection: keep-alive\r\n\r\n");
    passes("POST /mcp HTTP/1.1\r\nHost: [::1]:7300\r\nContent-Length: 5\r\n\r\nhello");
    passes("POST /mcp HTTP/1.1\r\nhost:h\r\ncontent-length:\t5 \r\nX:\r\n\r\nhelloGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    passes(
        "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    passes("GET http://Example.com:80/mcp HTTP/1.1\r\nHost: example.com:80\r\n\r\n");
    passes(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: Keep-Alive, TE\r\n\r\nDELETE / HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    passes("POST / HTTP/1.1\r\nHost: h\r\nX-Obs: \u{e9}\r\n\r\n");
}

#[test]
fn the_length_of_a_body_is_told_in_one_way() {
    malformed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    malformed("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n");
    malformed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello");
    for length in [
        "+5",
        "-5",
        "5, 5",
        "0x5",
        "5 5",
        "",
        "5.0",
        "99999999999999999999",
        "18446744073709551616",
    ] {
        malformed(&format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nhello"
        ));
    }
    for coding in [
        "identity, chunked",
        "chunked, identity",
        "chunked, chunked",
        "xchunked",
        "identity",
        "gzip",
        "",
        "\"chunked\"",
    ] {
        malformed(&format!(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"
        ));
    }
    malformed(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
    malformed("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
}

#[test]
fn there_is_one_host_and_it_is_the_authority() {
    malformed("GET / HTTP/1.1\r\n\r\n");
    malformed("GET / HTTP/1.0\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost:\r\n\r\n");
    malformed("GET http://evil/mcp HTTP/1.1\r\nHost: good\r\n\r\n");
    malformed("GET http://good@evil/mcp HTTP/1.1\r\nHost: good\r\n\r\n");
    for host in ["good/health?x=", "a b", "a,b", "user@a", "a\\b", "a#b"] {
        malformed(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
}

#[test]
fn lines_end_in_crlf_and_are_not_folded() {
    malformed("GET / HTTP/1.1\nHost: h\n\n");
    malformed("GET / HTTP/1.1\r\nHost: h\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: h\r\n\n");
    malformed("GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n");
    malformed("GET / HTTP/1.1\r\n Host: h\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n");
    malformed("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
fn names_and_values_hold_only_what_they_may() {
    for field in [
        "A : b",
        ": b",
        "A",
        "A\0: b",
        "A: b\0c",
        "A: b\x7f",
        "A(: b",
        "X_Forwarded_User: root",
        "\u{e9}: b",
        "A: \x1b",
    ] {
        malformed(&format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"));
    }
}

#[test]
fn the_request_line_has_three_words() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "G@T / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET mcp HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT h:443 HTTP/1.1",
        "GET ftp://h/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        " / HTTP/1.1",
    ] {
        malformed(&format!("{line}\r\nHost: h\r\n\r\n"));
    }
}

#[test]
fn a_connection_is_neither_upgraded_nor_used_to_drop_fields() {
    malformed("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    malformed("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n");
    for names in [
        "close, X-Forwarded-Host",
        "authorization",
        "Host",
        "close,,keep-alive",
        "",
        "close;x",
    ] {
        malformed(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {names}\r\n\r\n"));
    }
}

#[test]
fn chunks_are_plain() {
    let begin = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "5;ext=1\r\nhello\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "g\r\n\r\n",
    ] {
        malformed(&format!("{begin}{chunks}"));
    }
    passes(&format!("{begin}0000000000000005\r\nhello\r\n0\r\n\r\n"));
    passes(&format!("{begin}ffffffffffffffff\r\nnever ends"));
}

/// A head of exactly so many bytes.
fn head_of(bytes: usize) -> String {
    let (begin, end) = ("GET / HTTP/1.1\r\nHost: h\r\nX: ", "\r\n\r\n");
    format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len()))
}

#[test]
fn d08_a_head_may_be_as_long_as_its_limit() {
    for bytes in [HEAD_BYTES - 1, HEAD_BYTES] {
        let head = head_of(bytes);
        assert_eq!(whole(head.as_bytes()), (bytes, None));
        assert_eq!(pieces(head.as_bytes().chunks(1)), (bytes, None));
    }
    let head = head_of(HEAD_BYTES + 1);
    assert!(matches!(whole(head.as_bytes()), (0, Some(Breach::TooLarge(_)))));
    assert!(matches!(
        pieces(head.as_bytes().chunks(1)),
        (0, Some(Breach::TooLarge(_)))
    ));
    let endless = "x".repeat(HEAD_BYTES);
    assert!(matches!(
        pieces(endless.as_bytes().chunks(7)),
        (0, Some(Breach::TooLarge(_)))
    ));
}

#[test]
fn d08_a_head_may_have_as_many_fields_as_its_limit() {
    let head = |fields: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "a:b\r\n".repeat(fields - 1));
    passes(&head(HEAD_FIELDS - 1));
    passes(&head(HEAD_FIELDS));
    assert!(matches!(
        whole(head(HEAD_FIELDS + 1).as_bytes()),
        (0, Some(Breach::TooLarge(_)))
    ));
}

#[test]
fn it_is_known_whether_a_head_or_a_body_is_waited_for() {
    let mut machine = Http1::new(HEAD_BYTES, HEAD_FIELDS);
    assert_eq!(machine.place(), Place::Head);
    machine.follow(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(machine.place(), Place::Body);
    machine.follow(b"12");
    assert_eq!(machine.place(), Place::Head);
}

#[test]
fn a_begun_head_waits_behind_a_whole_request() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /ne";
    assert_eq!(whole(bytes), (bytes.len() - 7, None));
}

/// The requests whose heads the machine lets pass, as `METHOD target`.
fn requests_of(bytes: &[u8]) -> Vec<String> {
    let mut machine = Http1::new(HEAD_BYTES, HEAD_FIELDS);
    let (mut at, mut requests) = (0, Vec::new());
    while at < bytes.len() {
        let place = machine.place();
        match machine.step(&bytes[at..]) {
            Ok(n) if n > 0 => {
                if place == Place::Head {
                    let line = bytes[at..at + n].split(|&byte| byte == b'\r').next().unwrap();
                    requests
                        .push(String::from_utf8_lossy(line.strip_suffix(b" HTTP/1.1").unwrap_or(line)).into_owned());
                }
                at += n;
            }
            _ => break,
        }
    }
    requests
}

/// The requests that hyper finds in these bytes behind the guard.
async fn requests_of_hyper(bytes: &[u8]) -> Vec<String> {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    far.write_all(bytes).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            seen.lock().push(format!("{} {}", request.method(), request.uri()));
            let _whole_or_broken = request.into_body().collect().await;
            Ok::<_, Infallible>(http::Response::new(Empty::<bytes::Bytes>::new()))
        }
    });
    let io = TokioIo::new(guard(near, Version::Http1, b"").0);
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
    // Whoever waits for more waits in a clock that runs ahead when nothing else does.
    let mut answers = Vec::new();
    let quiet = tokio::time::timeout(Duration::from_secs(3600), far.read_to_end(&mut answers));
    tokio::select! {
        _ = connection => {}
        _ = quiet => {}
    }
    let seen = seen.lock();
    seen.clone()
}

proptest! {
    #[test]
    fn hyper_finds_no_request_that_the_guard_did_not_see(
        requests in prop::collection::vec(request(), 1..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let whole = requests.concat();
        let mut bytes = whole.clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(at) = cut {
            bytes.remove(at.index(bytes.len()));
        }
        let (guard, hyper) = (requests_of(&bytes), block_on(requests_of_hyper(&bytes)));
        prop_assert!(guard.starts_with(&hyper), "guard saw {guard:?}, hyper {hyper:?}");
        prop_assert!(bytes != whole || hyper.len() == requests.len(), "hyper saw {hyper:?}");
    }
}
