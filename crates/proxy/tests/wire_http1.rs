//! D-01: what hyper would repair is refused, and the request behind it never reaches the service.
//!
//! Every input goes as raw bytes over a real socket, each followed by a pipelined `GET /admin`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::time::Duration;

use meshgate_proxy::limits::Limits;
use meshgate_proxy::refusal::Reason;
use tokio::io::AsyncWriteExt;

use crate::wire_support::{Edge, Reached, read_answer, read_to_end, statuses};

const ADMIN: &str = "GET /admin HTTP/1.1\r\nHost: h\r\n\r\n";

/// Sends the bytes and the follower; asserts one answer with this status, a closed connection, and that the service
/// saw nothing.
async fn refused_with(status: u16, bytes: &str) {
    let edge = Edge::start(Limits::default());
    let answer = edge.exchange(format!("{bytes}{ADMIN}").as_bytes()).await;
    assert_eq!(statuses(&answer), [status], "{bytes:.80?} was answered {answer:?}");
    assert!(answer.contains("connection: close\r\n"), "{answer:?}");
    assert_eq!(edge.lines(), Vec::<String>::new(), "{bytes:.80?}");
}

/// The same for a body that breaks off: the service learns of it as an error of the body, and of nothing behind it.
async fn refused_in_the_body(chunks: &str) {
    let edge = Edge::start(Limits::default());
    let head = "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = edge.exchange(format!("{head}{chunks}{ADMIN}").as_bytes()).await;
    assert_eq!(statuses(&answer), [400], "{chunks:.80?} was answered {answer:?}");
    let reached = Reached {
        line: "POST /mcp".to_owned(),
        body: Err(Reason::InvalidRequest),
    };
    assert_eq!(*edge.reached.lock(), [reached], "{chunks:.80?}");
}

#[tokio::test]
async fn d01_a033_length_and_chunks_together() {
    refused_with(
        400,
        "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn d01_a034_two_equal_lengths() {
    refused_with(
        400,
        "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    )
    .await;
}

#[tokio::test]
async fn d01_a035_a_coding_that_is_not_a_single_chunked() {
    for coding in ["identity, chunked", "chunked, chunked", "xchunked", "chunked, identity"] {
        let head = format!("POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n");
        refused_with(400, &head).await;
    }
    refused_with(
        400,
        "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn d01_a036_bare_line_feeds() {
    refused_with(400, "GET /mcp HTTP/1.1\nHost: h\n\n").await;
    refused_with(400, "GET /mcp HTTP/1.1\r\nHost: h\r\n\n").await;
}

#[tokio::test]
async fn d01_a037_no_host() {
    refused_with(400, "GET /mcp HTTP/1.1\r\n\r\n").await;
    refused_with(400, "GET /mcp HTTP/1.0\r\n\r\n").await;
}

#[tokio::test]
async fn d01_a038_two_hosts() {
    refused_with(400, "GET /mcp HTTP/1.1\r\nHost: good\r\nHost: evil\r\n\r\n").await;
}

#[tokio::test]
async fn d01_a039_a_target_with_another_authority() {
    refused_with(400, "GET http://evil/mcp HTTP/1.1\r\nHost: good\r\n\r\n").await;
}

#[tokio::test]
async fn d01_a040_lengths_that_are_not_plain_numbers() {
    for length in ["+5", "5, 5", "-1", "0x5", ""] {
        refused_with(
            400,
            &format!("POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nhello"),
        )
        .await;
    }
}

#[tokio::test]
async fn d01_a041_fields_that_parsers_read_differently() {
    for field in ["A : b", "A: b\r\n c", "A: b\0c", "A: b\rc", "X_Forwarded_User: root"] {
        refused_with(400, &format!("GET /mcp HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn d01_a042_chunks_in_http_1_0() {
    refused_with(
        400,
        "POST /mcp HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    )
    .await;
}

#[tokio::test]
async fn d01_a043_heads_without_measure() {
    let fields = "a: b\r\n".repeat(101);
    refused_with(431, &format!("GET /mcp HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).await;
    refused_with(
        431,
        &format!("GET /mcp HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(500_000)),
    )
    .await;
}

#[tokio::test]
async fn d01_a044_chunks_without_measure() {
    refused_in_the_body(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(65_536))).await;
    refused_in_the_body("00000000000000005\r\nhello\r\n0\r\n\r\n").await;
    refused_in_the_body(&format!("5\r\nhello\r\n0\r\n{}\r\n", "a: b\r\n".repeat(200))).await;
    refused_in_the_body("5\nhello\r\n0\r\n\r\n").await;
    refused_in_the_body("5\r\nhelloX\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn d01_a045_an_upgrade_with_a_request_behind_it() {
    refused_with(
        400,
        "GET /mcp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    .await;
    refused_with(400, "GET /mcp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n").await;
}

#[tokio::test]
async fn answers_to_what_came_before_are_sent_first() {
    let edge = Edge::start(Limits::default());
    let good = "POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let bad = "GET /mcp HTTP/1.1\r\n\r\n";
    let answer = edge.exchange(format!("{good}{good}{bad}{ADMIN}").as_bytes()).await;
    assert_eq!(statuses(&answer), [200, 200, 400], "{answer:?}");
    assert_eq!(edge.lines(), ["POST /slow", "POST /slow"]);
}

#[tokio::test]
async fn requests_in_any_pieces_are_all_answered() {
    let edge = Edge::start(Limits::default());
    let text = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
                POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for piece in [1, 3, 17, text.len()] {
        let mut stream = edge.connect().await;
        let (mut reader, mut writer) = stream.split();
        let write = async {
            for bytes in text.as_bytes().chunks(piece) {
                writer.write_all(bytes).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let mut answer = Vec::new();
        let (_, read) = tokio::join!(write, tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer));
        read.unwrap();
        assert_eq!(
            statuses(&String::from_utf8(answer).unwrap()),
            [200, 200, 200],
            "in pieces of {piece}"
        );
        assert_eq!(edge.lines(), ["POST /a", "POST /b", "GET /c"]);
        edge.reached.lock().clear();
    }
}

#[tokio::test]
async fn d08_a_body_may_be_as_long_as_its_limit() {
    let edge = Edge::start(Limits {
        body_bytes: 1000,
        ..Limits::default()
    });
    for (bytes, status) in [(999, 200), (1000, 200), (1001, 413)] {
        let body = "x".repeat(bytes);
        let length =
            format!("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n{body}");
        assert_eq!(
            statuses(&edge.exchange(length.as_bytes()).await),
            [status],
            "{bytes} with a length"
        );
        let chunked = format!(
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(
            statuses(&edge.exchange(chunked.as_bytes()).await),
            [status],
            "{bytes} in chunks"
        );
    }
}

#[tokio::test]
async fn d08_a_head_at_its_limits_reaches_the_service() {
    let edge = Edge::start(Limits::default());
    for (bytes, status) in [(8191, 200), (8192, 200), (8193, 431)] {
        let begin = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: ";
        let head = format!("{begin}{}\r\n\r\n", "x".repeat(bytes - begin.len() - 4));
        assert_eq!(
            statuses(&edge.exchange(head.as_bytes()).await),
            [status],
            "{bytes} bytes"
        );
    }
    for (fields, status) in [(63, 200), (64, 200), (65, 431)] {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{}\r\n",
            "a: b\r\n".repeat(fields - 2)
        );
        assert_eq!(
            statuses(&edge.exchange(head.as_bytes()).await),
            [status],
            "{fields} fields"
        );
    }
}

#[tokio::test]
async fn d40_a_head_that_does_not_end_is_not_waited_for() {
    let edge = Edge::start(Limits {
        head_time: Duration::from_millis(200),
        ..Limits::default()
    });
    for begin in ["", "G", "PRI * HT", "GET / HTTP/1.1\r\nHost: h\r\n"] {
        assert_eq!(edge.exchange(begin.as_bytes()).await, "", "{begin:?}");
    }
    let mut stream = edge.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert_eq!(statuses(&answer), [200], "{answer:?}");
    assert_eq!(edge.lines(), ["GET /"]);
}

#[tokio::test]
async fn d40_a_head_that_trickles_is_not_waited_for() {
    let edge = Edge::start(Limits {
        head_time: Duration::from_millis(300),
        ..Limits::default()
    });
    let stream = edge.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        for byte in "GET / HTTP/1.1\r\nHost: h\r\n".bytes().cycle() {
            if writer.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut reader, &mut answer);
    let _reset_or_closed = tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("still open");
    assert_eq!(answer, b"");
    trickle.abort();
}

#[tokio::test]
async fn d40_a_body_that_does_not_come_is_answered_with_408() {
    let limits = Limits {
        body_grace_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let edge = Edge::start(limits);
    let answer = edge
        .exchange(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhel")
        .await;
    assert_eq!(statuses(&answer), [408], "{answer:?}");
}

#[tokio::test]
async fn a_connection_with_nothing_in_flight_is_closed() {
    let edge = Edge::start(Limits {
        idle_time: Duration::from_millis(300),
        ..Limits::default()
    });
    let mut stream = edge.connect().await;
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    assert!(
        read_answer(&mut stream).await.ends_with("0 bytes"),
        "a slow answer is not idleness"
    );
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn connections_of_one_address_are_counted_until_a_caller_is_known() {
    let edge = Edge::start(Limits {
        connections_per_address: 2,
        ..Limits::default()
    });
    let mut first = edge.connect().await;
    first.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_answer(&mut first).await;
    let mut second = edge.connect().await;
    second.write_all(b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_answer(&mut second).await;
    let mut third = edge.connect().await;
    assert_eq!(read_to_end(&mut third).await, "");
    assert_eq!(edge.caps.refused().counts()[0], ("connections", 1));
    first
        .write_all(b"GET /prove HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    read_answer(&mut first).await;
    let mut fourth = edge.connect().await;
    fourth.write_all(b"GET /d HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    read_answer(&mut fourth).await;
    assert_eq!(edge.caps.open(), 3);
}

#[tokio::test]
async fn a_drain_lets_calls_finish_and_ends_what_is_idle() {
    let edge = Edge::start(Limits::default());
    let mut idle = edge.connect().await;
    let mut late = edge.connect().await;
    for stream in [&mut idle, &mut late] {
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        assert!(!read_answer(stream).await.contains("connection: close"));
    }
    let mut silent = edge.connect().await;
    let mut busy = edge.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    while edge.lines().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let draining = tokio::spawn(edge.drain(Duration::from_secs(5)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    late.write_all(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    for stream in [&mut late, &mut busy] {
        let answer = read_to_end(stream).await;
        assert!(
            answer.contains("connection: close\r\n") && answer.ends_with("0 bytes"),
            "{answer:?}"
        );
    }
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    let drained = draining.await.unwrap();
    assert_eq!((drained.finished, drained.forced), (4, 0));
}

#[tokio::test]
async fn a_drain_breaks_off_what_does_not_finish() {
    let edge = Edge::start(Limits::default());
    let mut busy = edge.connect().await;
    busy.write_all(b"GET /hang HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    while edge.lines().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let drained = edge.drain(Duration::from_millis(200)).await;
    assert_eq!((drained.finished, drained.forced), (0, 1));
}
