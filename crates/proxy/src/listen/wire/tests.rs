#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::{self, AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::Instant;

use super::{Guard, NO_REQUEST, Version};
use crate::limits::Limits;
use crate::listen::refused::Refused;

pub(super) fn guard<T>(io: T, version: Version, first: &[u8]) -> (Guard<T>, Arc<Refused>) {
    let refused = Arc::new(Refused::default());
    let guard = Guard::new(
        io,
        version,
        BytesMut::from(first),
        &Limits::default(),
        Arc::clone(&refused),
        Arc::default(),
    );
    (guard, refused)
}

/// A socket that gives its bytes in pieces of these lengths, then ends.
struct Pieces {
    bytes: VecDeque<u8>,
    lengths: VecDeque<usize>,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self
            .lengths
            .pop_front()
            .unwrap_or(usize::MAX)
            .min(buf.remaining())
            .min(self.bytes.len());
        let piece: Vec<u8> = self.bytes.drain(..length).collect();
        buf.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

/// What hyper is given, when it reads with a buffer of this size; an error is the end.
async fn given(bytes: &[u8], lengths: &[usize], room: usize) -> Vec<u8> {
    let io = Pieces {
        bytes: bytes.iter().copied().collect(),
        lengths: lengths.iter().copied().collect(),
    };
    let (mut guard, _) = guard(io, Version::Http1, b"");
    let (mut given, mut buf) = (Vec::new(), vec![0; room]);
    while let Ok(n) = guard.read(&mut buf).await {
        if n == 0 {
            break;
        }
        given.extend_from_slice(&buf[..n]);
    }
    given
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

/// A request as a client may send it.
pub(super) fn request() -> impl Strategy<Value = Vec<u8>> {
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..4);
    let fields = prop::collection::vec(("[a-z][a-z-]{0,9}", "[ -~]{0,20}"), 0..5);
    let method = prop::sample::select(vec!["GET", "POST", "DELETE"]);
    (
        method,
        "/[a-z/?=&]{0,12}",
        fields,
        prop::option::of(chunks),
        any::<bool>(),
    )
        .prop_map(|(method, path, fields, chunks, chunked)| {
            let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: example.com:7300\r\n").into_bytes();
            for (name, value) in fields {
                bytes.extend(format!("x-{name}: {value}\r\n").bytes());
            }
            match chunks {
                None => bytes.extend(b"\r\n"),
                Some(chunks) if chunked => {
                    bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in &chunks {
                        bytes.extend([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
                    }
                    bytes.extend(b"0\r\n\r\n");
                }
                Some(chunks) => {
                    let body = chunks.concat();
                    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                    bytes.extend(body);
                }
            }
            bytes
        })
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..60, 0..40)
}

proptest! {
    #[test]
    fn valid_requests_pass_as_they_are(
        requests in prop::collection::vec(request(), 1..5), lengths in pieces(), room in 1_usize..300,
    ) {
        let bytes = requests.concat();
        prop_assert_eq!(block_on(given(&bytes, &lengths, room)), bytes);
    }

    #[test]
    fn a_damaged_request_passes_alike_however_it_is_cut(
        requests in prop::collection::vec(request(), 1..4), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        lengths in pieces(),
    ) {
        let mut bytes = requests.concat();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let whole = block_on(given(&bytes, &[], 8192));
        prop_assert_eq!(&block_on(given(&bytes, &lengths, 8192)), &whole);
        prop_assert_eq!(&block_on(given(&bytes, &vec![1; bytes.len()], 8192)), &whole);
        let passed = whole.strip_suffix(NO_REQUEST).unwrap_or(&whole);
        prop_assert!(bytes.starts_with(passed), "bytes were changed");
    }
}

fn pair(version: Version, first: &[u8]) -> (Guard<DuplexStream>, DuplexStream, Arc<Refused>) {
    let (near, far) = io::duplex(1024);
    let (guard, refused) = guard(near, version, first);
    (guard, far, refused)
}

async fn read_some(guard: &mut Guard<DuplexStream>) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; 4096];
    let n = guard.read(&mut buf).await?;
    buf.truncate(n);
    Ok(buf)
}

#[tokio::test(start_paused = true)]
async fn a_head_has_its_time_however_it_trickles() {
    let (mut guard, mut far, refused) = pair(Version::Http1, b"G");
    let begun = Instant::now();
    let trickle = tokio::spawn(async move {
        while far.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    assert_eq!(read_some(&mut guard).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(refused.counts()[4], ("slow", 1));
    trickle.abort();
}

#[tokio::test(start_paused = true)]
async fn between_requests_nothing_is_timed() {
    let (mut guard, mut far, _) = pair(Version::Http1, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    read_some(&mut guard).await.unwrap();
    let late = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        far.write_all(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        far
    });
    assert!(read_some(&mut guard).await.unwrap().starts_with(b"GET /late"));
    late.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_has_its_grace_and_then_its_pace() {
    for (every, each, whole) in [(1000, 1200, true), (1000, 100, false), (4000, 4800, true)] {
        let length = 20 * each;
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n");
        let (mut guard, mut far, _) = pair(Version::Http1, head.as_bytes());
        read_some(&mut guard).await.unwrap();
        let begun = Instant::now();
        let sending = tokio::spawn(async move {
            for _ in 0..20 {
                if far.write_all(&vec![b'x'; each]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(every)).await;
            }
            far
        });
        let mut read = 0;
        let ended = loop {
            match read_some(&mut guard).await {
                Ok(bytes) => read += bytes.len(),
                Err(error) => break Err(error.kind()),
            }
            if read == length {
                break Ok(());
            }
        };
        let seconds = begun.elapsed().as_secs();
        if whole && every == 1000 {
            assert_eq!((ended, seconds), (Ok(()), 19));
        } else {
            assert_eq!(ended, Err(io::ErrorKind::TimedOut));
            assert!(
                if whole {
                    seconds == 30
                } else {
                    (5..8).contains(&seconds)
                },
                "{seconds} s"
            );
        }
        sending.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_reads_is_not_held_against_a_body() {
    let (mut guard, mut far, _) = pair(
        Version::Http1,
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n",
    );
    read_some(&mut guard).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    far.write_all(b"1").await.unwrap();
    assert_eq!(read_some(&mut guard).await.unwrap(), b"1");
    tokio::time::sleep(Duration::from_secs(60)).await;
    far.write_all(b"2").await.unwrap();
    assert_eq!(read_some(&mut guard).await.unwrap(), b"2");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_read_fails() {
    let (mut guard, far, refused) = pair(Version::Http1, b"");
    let begun = Instant::now();
    let error = guard.write_all(&[0; 4096]).await.unwrap_err();
    assert_eq!((error.kind(), begun.elapsed().as_secs()), (io::ErrorKind::TimedOut, 30));
    assert_eq!(refused.counts()[4], ("slow", 1));
    drop(far);
}

#[tokio::test(start_paused = true)]
async fn answer_bytes_per_second_ends_a_reader_that_trickles_and_spares_one_that_does_not() {
    // What a client takes in each wait of 20 s: at the rate it may go on for ever, below it only for a while.
    for (bytes, ends) in [(79 * 1024, true), (80 * 1024, false), (81 * 1024, false), (1, true)] {
        let (mut guard, mut client, _) = pair(Version::Http1, b"");
        guard.write_all(&[b'x'; 1024]).await.unwrap();
        let reading = tokio::spawn(async move {
            let mut taken = vec![0; bytes];
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                client.read_exact(&mut taken).await.unwrap();
            }
        });
        let mut ended = false;
        for _ in 0..100 {
            ended = ended || guard.write_all(&vec![b'x'; bytes]).await.is_err();
        }
        assert_eq!(ended, ends, "{bytes} bytes in each 20 s");
        reading.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_in_the_middle_discards_for_a_while() {
    let (mut guard, mut far, _) = pair(Version::Http1, b"\0\r\n");
    assert_eq!(read_some(&mut guard).await.unwrap(), NO_REQUEST);
    assert_eq!(read_some(&mut guard).await.unwrap(), b"");
    let sending = tokio::spawn(async move {
        far.write_all(&[b'x'; 10_000]).await.unwrap();
        let mut answer = Vec::new();
        far.read_to_end(&mut answer).await.unwrap();
        (far, answer)
    });
    let begun = Instant::now();
    guard.write_all(b"400").await.unwrap();
    guard.shutdown().await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!(sending.await.unwrap().1, b"400");
}

#[tokio::test(start_paused = true)]
async fn linger_bytes_one_below_at_and_one_above() {
    let limit = Limits::default().linger_bytes;
    for (bytes, waits) in [(limit - 1, true), (limit, false), (limit + 1, false)] {
        let (near, mut far) = io::duplex(64 << 10);
        let (mut guard, _) = guard(near, Version::Http1, b"\0\r\n");
        while !read_some(&mut guard).await.unwrap().is_empty() {}
        let sending = tokio::spawn(async move {
            let _cut = far.write_all(&vec![b'x'; bytes]).await;
            far
        });
        let begun = Instant::now();
        guard.shutdown().await.unwrap();
        assert_eq!(!begun.elapsed().is_zero(), waits, "{bytes} bytes");
        drop(guard);
        drop(sending.await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_between_requests_closes_at_once() {
    let (mut guard, _far, _) = pair(Version::Http1, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    read_some(&mut guard).await.unwrap();
    let begun = Instant::now();
    guard.shutdown().await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
