#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{Full, StreamBody};

use super::{read_body, take_rest};
use crate::limits::Limits;
use crate::refusal::Reason;

type Pieces = Vec<&'static str>;

fn body(pieces: Pieces) -> impl http_body::Body<Data = Bytes, Error = Infallible> {
    StreamBody::new(futures_util::stream::iter(pieces).map(|piece| Ok(Frame::data(Bytes::from(piece)))))
}

async fn read(pieces: Pieces, bytes_max: usize) -> Result<Bytes, Reason> {
    read_body(body(pieces), bytes_max, &Limits::default())
        .await
        .map_err(|refusal| refusal.reason)
}

#[tokio::test]
async fn pieces_are_joined() {
    assert_eq!(read(vec![], 10).await.unwrap(), "");
    assert_eq!(
        read(vec!["", "one", "", "two", "three"], 11).await.unwrap(),
        "onetwothree"
    );
}

#[tokio::test]
async fn a_body_in_one_piece_is_not_copied() {
    let bytes = Bytes::from("one");
    let read = read_body(Full::new(bytes.clone()), 10, &Limits::default())
        .await
        .unwrap();
    assert_eq!(read.as_ptr(), bytes.as_ptr());
}

#[tokio::test]
async fn d08_a_body_over_its_limit_is_refused_whether_announced_or_not() {
    assert_eq!(read(vec!["12345", "67890"], 10).await.unwrap(), "1234567890");
    assert_eq!(read(vec!["12345", "67890"], 9).await, Err(Reason::TooLarge));
    let announced = read_body(Full::from("1234567890"), 9, &Limits::default()).await;
    assert_eq!(announced.unwrap_err().reason, Reason::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_given_up() {
    let limits = Limits::default();
    let begun = tokio::time::Instant::now();
    let drip = futures_util::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from("x"))), ()))
    });
    let read = read_body(StreamBody::new(Box::pin(drip)), 1000, &limits).await;
    assert_eq!(read.unwrap_err().reason, Reason::RequestTimeout);
    assert_eq!(begun.elapsed(), limits.body_time);
}

#[tokio::test]
async fn a_broken_body_says_whether_it_was_slow_or_wrong() {
    for (kind, reason) in [
        (io::ErrorKind::TimedOut, Reason::RequestTimeout),
        (io::ErrorKind::InvalidData, Reason::InvalidRequest),
        (io::ErrorKind::ConnectionReset, Reason::InvalidRequest),
    ] {
        let broken = futures_util::stream::iter([Err::<Frame<Bytes>, _>(io::Error::from(kind))]);
        let read = read_body(StreamBody::new(broken), 1000, &Limits::default()).await;
        assert_eq!(read.unwrap_err().reason, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_of_who_is_refused_has_a_size_and_a_time() {
    let limits = Limits::default();
    let most = limits.h2_refused_bytes;
    for (bytes, whole) in [(0, true), (most - 1, true), (most, true), (most + 1, false)] {
        let body = Full::new(Bytes::from(vec![b' '; bytes]));
        assert_eq!(take_rest(body, &limits).await, whole, "{bytes}");
    }
    let began = tokio::time::Instant::now();
    let silent = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
    assert!(!take_rest(silent, &limits).await);
    assert_eq!(began.elapsed(), limits.h2_refused_time);
}
