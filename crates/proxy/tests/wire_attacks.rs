//! D-39 and D-40: clients that hold what they have asked for, that make the server reset, that are slow in every way.
//!
//! Each attack runs over real sockets, with times a hundred times shorter than in earnest and a legal client beside it;
//! with `MESHGATE_CAMPAIGN=1` the floods of slow connections run with four thousand of them and the times as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::net::SocketAddr;
use std::time::Duration;

use meshgate_proxy::limits::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use crate::wire_support::h2::{
    Client, DATA, END_HEADERS, END_STREAM, HEADERS, Legal, PRIORITY, RST_STREAM, block, frame, get, post,
    resident_bytes, window, window_of_streams,
};
use crate::wire_support::{Edge, read_answer};

const STALL: Duration = Duration::from_millis(600);

fn stalling() -> Limits {
    Limits {
        write_stall_time: STALL,
        ..Limits::default()
    }
}

fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get(path)))
}

/// Until the server has closed every connection but `left`; fails after a while.
async fn closed(edge: &Edge, left: usize, within: Duration) {
    let until = Instant::now() + within;
    while edge.caps.open() > left {
        assert!(
            Instant::now() < until,
            "{} connections are still open",
            edge.caps.open()
        );
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn d39_a050_answers_behind_a_closed_window_are_given_up() {
    // No window at all, one byte for each stream, and one byte more now and then.
    for (streams, more) in [(0, None), (1, None), (1, Some(1))] {
        let edge = Edge::start(stalling());
        let legal = Legal::beside(&edge);
        let before = resident_bytes();
        let mut client = Client::hello(&edge).await;
        client.send(&[ask(1, "/prove"), window_of_streams(streams)]).await;
        client.first(&[HEADERS]).await.expect("an answer");
        let asks: Vec<_> = (0..64).map(|i| ask(2 * i + 3, "/megabyte")).collect();
        client.send(&asks).await;
        let begun = Instant::now();
        let mut open = true;
        while open && begun.elapsed() < 10 * STALL {
            if let Some(bytes) = more {
                client.send(&[window(3, bytes), window(5, bytes)]).await;
            }
            open = client.listen(STALL / 4).await;
        }
        let reset = client.frames().iter().filter(|(kind, ..)| *kind == RST_STREAM).count();
        assert!(
            !open || reset >= 64,
            "window {streams}: open, and {reset} streams were reset"
        );
        legal.was_served().await;
        drop(client);
        closed(&edge, 1, 10 * STALL).await;
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < 96 << 20, "{} MiB are held", grown >> 20);
    }
}

#[tokio::test]
async fn d39_a050_one_stalled_stream_among_moving_ones_is_given_up_and_the_others_are_not() {
    let edge = Edge::start(stalling());
    let mut client = Client::hello(&edge).await;
    // The connection's window is wide open, so that only the stream's own holds its answer.
    client.send(&[window(0, 1 << 24), ask(1, "/megabyte")]).await;
    let begun = Instant::now();
    let mut stream = 3;
    let reset = loop {
        client.send(&[ask(stream, "/moving")]).await;
        stream += 2;
        assert!(client.listen(STALL / 20).await, "the connection goes on");
        if let Some((_, of, _)) = client.frames().iter().find(|(kind, ..)| *kind == RST_STREAM) {
            break *of;
        }
        assert!(begun.elapsed() < 10 * STALL, "the stalled stream is still held");
    };
    assert_eq!(reset, 1);
    assert!(begun.elapsed() >= STALL, "it had its time");
    client.send(&[ask(stream, "/moving")]).await;
    client.listen(STALL / 4).await;
    let answered = client.frames().iter().filter(|(kind, ..)| *kind == HEADERS).count();
    assert_eq!(
        answered,
        1 + (stream as usize - 1) / 2,
        "every other stream was answered"
    );
    assert_eq!(edge.caps.refused().counts()[4], ("slow", 1));
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_reads_gets_all_of_it() {
    let edge = Edge::start(stalling());
    let mut client = Client::hello(&edge).await;
    client.send(&[window(0, 1 << 24), ask(1, "/megabyte")]).await;
    let mut got = 0;
    while got < 1 << 20 {
        assert!(client.listen(STALL / 10).await);
        client.send(&[window(1, 64 << 10)]).await;
        let frames = client.frames();
        assert!(
            !frames.iter().any(|(kind, ..)| *kind == RST_STREAM),
            "given up after {got} bytes"
        );
        got = frames
            .iter()
            .filter(|(kind, ..)| *kind == DATA)
            .map(|(.., payload)| payload.len())
            .sum();
    }
}

#[tokio::test]
async fn d39_a052_a_client_that_makes_the_server_reset_is_cut_off() {
    let overflow = |stream| vec![window(stream, 0x7fff_ffff)];
    let itself = |stream: u32| frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[16]].concat());
    type Attack<'a> = (&'a str, Box<dyn Fn(u32) -> Vec<Vec<u8>>>);
    let attacks: [Attack<'_>; 6] = [
        ("a window update of zero", Box::new(|stream| vec![window(stream, 0)])),
        (
            "headers after the end",
            Box::new(|stream| vec![frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&get("/hang")))]),
        ),
        (
            "data after the end",
            Box::new(|stream| vec![frame(DATA, 0, stream, &[b'x'; 64])]),
        ),
        ("a window that overflows", Box::new(overflow)),
        (
            "a stream that depends on itself",
            Box::new(move |stream| vec![itself(stream)]),
        ),
        (
            "a length that lies",
            Box::new(|stream| {
                let fields = [post("/hang"), vec![("content-length", "1")]].concat();
                vec![frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    stream + 200_000,
                    &block(&fields),
                )]
            }),
        ),
    ];
    for (what, attack) in attacks {
        let edge = Edge::start(Limits::default());
        let legal = Legal::beside(&edge);
        let mut client = Client::hello(&edge).await;
        let lies = what == "a length that lies";
        let frames = (0..3000_u32).map(|i| {
            let stream = 2 * i + 1;
            let begin = if lies { Vec::new() } else { ask(stream, "/hang") };
            [vec![begin], attack(stream)].concat().concat()
        });
        client.flood(frames).await;
        client.read().await;
        assert!(client.is_closed().await, "{what}: still open");
        let reached = edge.lines().iter().filter(|line| line.ends_with("/hang")).count();
        assert!(reached <= 220, "{what}: {reached} requests reached the service");
        legal.was_served().await;
    }
}

/// How many slow connections, with which limits, and how long the attack's own steps are.
struct Slow {
    connections: usize,
    limits: Limits,
    step: Duration,
}

impl Slow {
    fn new() -> Self {
        if std::env::var_os("MESHGATE_CAMPAIGN").is_some() {
            let _files = meshgate_proxy::listen::raise_descriptors();
            return Self {
                connections: 4000,
                limits: Limits::default(),
                step: Duration::from_secs(1),
            };
        }
        let tenth = Duration::from_millis(600);
        Self {
            connections: 200,
            limits: Limits {
                head_time: tenth,
                body_time: 3 * tenth,
                body_grace_time: tenth / 2,
                write_stall_time: tenth,
                ..Limits::default()
            },
            step: Duration::from_millis(60),
        }
    }

    /// The connections, from as many addresses as it takes: loopback has many.
    async fn connect(&self, edge: &Edge) -> Vec<TcpStream> {
        let mut streams = Vec::new();
        for i in 0..self.connections {
            let socket = TcpSocket::new_v4().unwrap();
            let from = format!("127.0.1.{}:0", 1 + i / 200).parse::<SocketAddr>().unwrap();
            socket.bind(from).unwrap();
            streams.push(socket.connect(edge.address).await.unwrap());
        }
        streams
    }

    /// Sends to each connection what `next` says, step by step, until the server has closed them all.
    async fn attack(self, begin: &str, next: impl Fn(usize) -> &'static [u8]) -> Edge {
        let edge = Edge::start(self.limits.clone());
        let legal = Legal::beside(&edge);
        let before = resident_bytes();
        let mut streams = self.connect(&edge).await;
        for stream in &mut streams {
            stream.write_all(begin.as_bytes()).await.unwrap();
        }
        let longest = 3 * (self.limits.body_time + self.limits.head_time);
        let until = Instant::now() + longest;
        let mut most = 0;
        for turn in 0.. {
            most = most.max(resident_bytes().saturating_sub(before));
            if edge.caps.open() <= 1 {
                break;
            }
            assert!(Instant::now() < until, "{} slow connections are held", edge.caps.open());
            for stream in &streams {
                let _closed = stream.try_write(next(turn));
            }
            sleep(self.step).await;
        }
        legal.was_served().await;
        let each = most / self.connections;
        assert!(each < 256 << 10, "a slow connection held {each} bytes");
        edge
    }
}

#[tokio::test]
async fn d40_a054_heads_that_never_end() {
    let edge = Slow::new()
        .attack("POST /mcp HTTP/1.1\r\nHost: h\r\n", |_| b"X: a\r\n")
        .await;
    assert!(edge.lines().iter().all(|line| line == "GET /legal"));
}

#[tokio::test]
async fn d40_a054_bodies_that_trickle() {
    let begin = "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";
    let edge = Slow::new().attack(begin, |_| b"x").await;
    assert!(
        edge.reached
            .lock()
            .iter()
            .all(|reached| reached.line == "GET /legal" || reached.body.is_err())
    );
}

#[tokio::test]
async fn d40_a054_chunks_that_trickle() {
    let begin = "POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let edge = Slow::new().attack(begin, |_| b"1\r\nx\r\n").await;
    assert!(
        edge.reached
            .lock()
            .iter()
            .all(|reached| reached.line == "GET /legal" || reached.body.is_err())
    );
}

#[tokio::test]
async fn d40_a054_a056_answers_that_nobody_reads() {
    let mut slow = Slow::new();
    // Each answer is eight megabytes here, and in earnest only what a caller has in flight is: few of them show it.
    slow.connections = slow.connections.min(8);
    let edge = Edge::start(slow.limits.clone());
    let legal = Legal::beside(&edge);
    let mut streams = slow.connect(&edge).await;
    let small = socket2::SockRef::from(&streams[0]).set_recv_buffer_size(4096);
    small.unwrap();
    for stream in &mut streams {
        stream.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    }
    let until = Instant::now() + 10 * slow.limits.write_stall_time;
    // One of them reads a byte now and then.
    let slow_ones = || edge.caps.refused().counts()[4].1;
    while slow_ones() < streams.len() as u64 {
        assert!(Instant::now() < until, "{} readers are waited for", edge.caps.open());
        let _closed = streams[0].try_read(&mut [0; 1]);
        sleep(slow.step).await;
    }
    legal.was_served().await;
    closed(&edge, 1, 10 * slow.limits.write_stall_time).await;
}

#[tokio::test]
async fn d40_a_slow_body_over_http2_is_given_up_and_its_neighbours_are_not() {
    let edge = Edge::start(Limits {
        body_time: STALL,
        ..Limits::default()
    });
    let mut client = Client::hello(&edge).await;
    client
        .send(&[frame(HEADERS, END_HEADERS, 1, &block(&post("/slow-body")))])
        .await;
    let begun = Instant::now();
    let mut stream = 3;
    while !edge.lines().iter().any(|line| line == "POST /slow-body") {
        client
            .send(&[frame(DATA, 0, 1, &[b'x'; 40]), ask(stream, "/moving")])
            .await;
        stream += 2;
        assert!(client.listen(STALL / 20).await, "the connection goes on");
        assert!(begun.elapsed() < 10 * STALL, "the body is waited for");
    }
    assert!(begun.elapsed() >= STALL);
    assert!(edge.lines().iter().filter(|line| *line == "GET /moving").count() >= 3);
}

#[tokio::test]
async fn a_connection_in_the_total_and_of_an_address_one_below_at_and_one_above() {
    let edge = Edge::start(Limits {
        connections: 5,
        connections_per_address: 3,
        ..Limits::default()
    });
    let call = async |stream: &mut TcpStream| {
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        read_answer(stream).await;
    };
    let from = async |address: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        socket.connect(edge.address).await.unwrap()
    };
    let mut open = Vec::new();
    for address in ["127.0.2.1", "127.0.2.1", "127.0.2.1", "127.0.2.2", "127.0.2.3"] {
        let mut stream = from(address).await;
        call(&mut stream).await;
        open.push(stream);
        if open.len() == 3 {
            let mut fourth = from("127.0.2.1").await;
            assert_eq!(
                fourth.read(&mut [0; 1]).await.unwrap_or(0),
                0,
                "one above its address's share"
            );
        }
    }
    let mut sixth = from("127.0.2.4").await;
    assert_eq!(sixth.read(&mut [0; 1]).await.unwrap_or(0), 0, "one above the total");
    drop(open.pop());
    closed(&edge, 4, Duration::from_secs(5)).await;
    call(&mut from("127.0.2.4").await).await;
}
