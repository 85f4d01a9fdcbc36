#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use tokio::time::{Duration, Instant};

use super::{
    ACK, Breach, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PADDED, PING, PREFACE, RST_STREAM,
    SETTINGS,
};
use crate::limits::Limits;

const WINDOW_UPDATE: u8 = 8;

fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
    let head = u32::try_from(length).unwrap().to_be_bytes();
    [&head[1..], &[kind, flags, 0, 0, 0, 1], &vec![0; length]].concat()
}

fn machine(now: Instant) -> Http2 {
    let mut machine = Http2::new(&Limits::default(), now);
    assert_eq!(machine.follow(super::super::PREFACE, now).pass, PREFACE);
    machine
}

/// How many of these frames pass at once.
fn passing(machine: &mut Http2, frame: &[u8], now: Instant) -> usize {
    (0..100_000)
        .take_while(|_| machine.follow(frame, now).breach.is_none())
        .count()
}

#[test]
fn frames_pass_however_they_are_cut() {
    let now = Instant::now();
    let bytes = [
        super::super::PREFACE.to_vec(),
        frame(SETTINGS, 0, 12),
        frame(HEADERS, 0, 100),
        frame(CONTINUATION, END_HEADERS, 10),
        frame(DATA, END_STREAM, 0),
    ]
    .concat();
    for size in 1..40 {
        let mut machine = Http2::new(&Limits::default(), now);
        let (mut held, mut passed) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            held.extend_from_slice(piece);
            let seen = machine.follow(&held, now);
            assert_eq!(seen.breach, None);
            passed.extend(held.drain(..seen.pass));
            assert!(held.len() < 9, "only a part of a frame's head is held");
        }
        assert_eq!(passed, bytes);
    }
}

#[test]
fn resets_have_a_burst_and_a_rate() {
    let now = Instant::now();
    let mut machine = machine(now);
    let reset = frame(RST_STREAM, 0, 4);
    assert_eq!(passing(&mut machine, &reset, now), 100);
    assert_eq!(
        machine.follow(&reset, now).breach,
        Some(Breach::Flood("streams are reset too fast"))
    );
    assert_eq!(passing(&mut machine, &reset, now + Duration::from_secs(2)), 40);
}

#[test]
fn frames_that_carry_nothing_have_a_burst_and_a_rate() {
    let now = Instant::now();
    for nothing in [
        frame(SETTINGS, 0, 0),
        frame(PING, 0, 8),
        frame(WINDOW_UPDATE, 0, 4),
        frame(DATA, 0, 0),
        frame(DATA, PADDED, 200),
    ] {
        let mut machine = machine(now);
        assert_eq!(passing(&mut machine, &nothing, now), 200);
        assert_eq!(passing(&mut machine, &nothing, now + Duration::from_secs(1)), 50);
    }
}

#[test]
fn data_that_carries_something_is_not_counted() {
    let now = Instant::now();
    for something in [frame(DATA, 0, 32), frame(DATA, END_STREAM, 0)] {
        assert_eq!(passing(&mut machine(now), &something, now), 100_000);
    }
}

#[test]
fn what_we_send_earns_the_answers_to_it() {
    let now = Instant::now();
    let mut machine = machine(now);
    let sent = [
        frame(DATA, 0, 1000),
        frame(PING, 0, 8),
        frame(PING, ACK, 8),
        frame(DATA, 0, 1),
    ]
    .concat();
    let parts: u64 = sent.chunks(7).map(|piece| machine.follow_sent(piece)).sum();
    assert_eq!(parts, 1, "a byte is no part worth counting");
    assert_eq!(passing(&mut machine, &frame(WINDOW_UPDATE, 0, 4), now), 200 + 3 + 1);
}

#[test]
fn a_header_block_is_bounded_in_bytes_and_frames() {
    let now = Instant::now();
    let flood = Some(Breach::Flood("a header block is too long"));
    assert_eq!(
        machine(now).follow(&frame(HEADERS, END_HEADERS, 16_384), now).breach,
        None
    );
    assert_eq!(
        machine(now).follow(&frame(HEADERS, END_HEADERS, 16_385), now).breach,
        flood
    );
    let mut long = machine(now);
    assert_eq!(long.follow(&frame(HEADERS, 0, 16_000), now).breach, None);
    assert_eq!(long.follow(&frame(CONTINUATION, END_HEADERS, 385), now).breach, flood);
    let mut many = machine(now);
    many.follow(&frame(HEADERS, 0, 1), now);
    assert_eq!(passing(&mut many, &frame(CONTINUATION, 0, 0), now), 8);
    assert!(
        machine(now)
            .follow(&frame(CONTINUATION, END_HEADERS, 1), now)
            .breach
            .is_some()
    );
}
