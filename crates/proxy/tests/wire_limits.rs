//! Each limit of the data plane has a test that carries its name, and the limits that only the wire shows are shown here.
//!
//! A limit without a test is a wish. The table below takes `Limits` apart field by field, so a new field does not compile
//! until it has a row, and a row that names a test that is not in the tree fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod wire_support;

use std::path::Path;
use std::time::Duration;

use meshgate_proxy::limits::Limits;
use meshgate_proxy::lower::SessionLimits;
use tokio::time::Instant;

use crate::wire_support::Edge;
use crate::wire_support::h2::{
    Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame,
    get, post,
};

/// Pairs each field of a structure with the test that shows it, and does not compile when a field is left out.
macro_rules! shown {
    ($limits:ident { $($field:ident: $test:literal),* $(,)? }) => {{
        let $limits { $($field: _),* } = $limits::default();
        vec![$((stringify!($field), $test)),*]
    }};
}

fn table() -> Vec<(&'static str, &'static str)> {
    let mut table = shown!(Limits {
        connections: "a_connection_in_the_total_and_of_an_address_one_below_at_and_one_above",
        connections_per_address: "a_connection_in_the_total_and_of_an_address_one_below_at_and_one_above",
        descriptors_kept: "the_last_descriptors_are_kept_and_seen_to_be_free_again",
        tls_handshake_time: "d40_a055_a_handshake_that_does_not_come_is_not_waited_for",
        head_time: "a_head_has_its_time_however_it_trickles",
        idle_time: "a_quiet_connection_is_finished_after_its_idle_time",
        last_request_time: "in_http1_a_last_request_is_waited_for_and_its_answer_says_close",
        connection_age_time: "an_old_connection_is_finished_but_its_call_is_waited_for",
        write_stall_time: "a_stream_whose_piece_waits_for_write_stall_time_ends_and_one_that_moves_does_not",
        answer_bytes_per_second: "answer_bytes_per_second_ends_a_reader_that_trickles_and_spares_one_that_does_not",
        linger_time: "a_connection_that_closes_in_the_middle_discards_for_a_while",
        linger_bytes: "linger_bytes_one_below_at_and_one_above",
        head_bytes: "d08_a_head_at_its_limits_reaches_the_service",
        head_fields: "d08_a_head_at_its_limits_reaches_the_service",
        body_bytes: "d08_a_body_may_be_as_long_as_its_limit",
        h2_refused_bytes: "what_is_taken_of_who_is_refused_has_a_size_and_a_time",
        h2_refused_time: "what_is_taken_of_who_is_refused_has_a_size_and_a_time",
        body_time: "a_body_that_does_not_end_is_given_up",
        body_bytes_per_second: "a_body_has_its_grace_and_then_its_pace",
        body_grace_time: "a_body_has_its_grace_and_then_its_pace",
        h2_streams: "h2_streams_one_below_at_and_one_above_once_a_caller_is_known",
        h2_unproven_streams: "few_streams_are_open_before_anybody_is_known",
        contexts_per_connection: "contexts_per_connection_are_remembered_up_to_the_limit",
        h2_stream_window_bytes: "h2_stream_window_bytes_at_the_limit_and_one_above",
        h2_connection_window_bytes: "h2_connection_window_bytes_at_the_limit_and_one_above",
        h2_piece_bytes: "h2_piece_bytes_one_below_at_and_one_above",
        h2_header_block_bytes: "a_header_block_is_bounded_in_bytes_and_frames",
        h2_continuations: "a_header_block_is_bounded_in_bytes_and_frames",
        h2_resets_per_second: "resets_have_a_burst_and_a_rate",
        h2_resets: "resets_have_a_burst_and_a_rate",
        h2_control_frames_per_second: "frames_that_carry_nothing_have_a_burst_and_a_rate",
        h2_control_frames: "frames_that_carry_nothing_have_a_burst_and_a_rate",
        h2_ping_time: "h2_ping_time_and_h2_ping_answer_time_end_a_peer_that_is_gone",
        h2_ping_answer_time: "h2_ping_time_and_h2_ping_answer_time_end_a_peer_that_is_gone",
        json_depth: "the_configured_depth_and_number_of_values_hold_for_clients",
        json_nodes: "the_configured_depth_and_number_of_values_hold_for_clients",
        json_number_chars: "d08_numbers_are_refused_at_one_more_than_the_limit",
        response_bytes: "d08_an_answer_is_passed_on_up_to_its_limit_and_refused_beyond",
        stdio_line_bytes: "d08_lines_are_dropped_at_one_more_than_the_limit",
        sse_event_bytes: "d08_events_are_refused_at_one_more_than_the_limit",
        stream_buffer_bytes: "h2_piece_bytes_one_below_at_and_one_above",
        streams_per_caller: "a081_streams_over_the_limit_of_their_caller_are_refused_until_one_ends",
        calls_per_second: "a_burst_passes_whole_and_the_next_call_waits",
        calls_burst: "a_burst_passes_whole_and_the_next_call_waits",
        writes_per_second: "a_tool_that_may_change_something_has_a_rate_of_its_own_for_each_caller",
        writes_burst: "a_tool_that_may_change_something_has_a_rate_of_its_own_for_each_caller",
        unproven_calls_per_second: "a087_whoever_changes_tokens_and_addresses_of_one_network_is_slowed_all_the_same",
    });
    table.extend(shown!(SessionLimits {
        sessions_max: "a085_a_flood_of_initialize_costs_its_caller_and_nobody_else",
        sessions_per_caller_max: "a085_a_flood_of_initialize_costs_its_caller_and_nobody_else",
        idle_max: "an_unused_session_ends_and_a_used_one_does_not",
        age_max: "a_session_id_expires",
        calls_per_session_max: "a_session_runs_a_bounded_number_of_calls",
        subscriptions_per_session_max: "the_subscriptions_of_a_session_are_bounded",
        subscription_bytes_max: "the_subscriptions_of_a_session_are_bounded",
        call_max: "a_call_that_takes_too_long_ends",
        answer_max: "a_question_that_nobody_answers_is_taken_back_before_its_state_is_worth_nothing",
        reattach_max: "a_question_does_not_wait_for_a_client_that_stays_away",
        silent_max: "a_silent_call_becomes_a_stream_with_keep_alives",
        keep_alive: "a_silent_call_becomes_a_stream_with_keep_alives",
        stall_max: "a_reader_that_takes_nothing_is_let_go_and_may_come_back",
        retry_ms: "a_call_with_notifications_becomes_a_stream_that_is_primed",
        replay_events_max: "replay_keeps_its_number_of_events_and_its_bytes_to_the_last",
        replay_bytes_max: "replay_keeps_its_number_of_events_and_its_bytes_to_the_last",
        replay_bytes_total_max: "clients_that_never_come_back_fill_a_bounded_memory",
        finished_streams_max: "a_session_keeps_its_newest_finished_streams",
        acknowledge_max: "a_subscription_that_is_never_acknowledged_is_refused",
    }));
    table
}

fn sources(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_limit_has_a_test() {
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut text);
    let missing: Vec<_> = table()
        .into_iter()
        .filter(|(_, test)| !text.contains(&format!("fn {test}(")))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_defaults_are_those_that_are_promised() {
    const KIB: usize = 1024;
    let limits = Limits::default();
    let seconds = Duration::from_secs;
    assert_eq!((limits.connections, limits.connections_per_address), (4096, 256));
    assert_eq!((limits.tls_handshake_time, limits.head_time), (seconds(5), seconds(10)));
    assert_eq!((limits.head_bytes, limits.head_fields), (8 * KIB, 64));
    assert_eq!((limits.body_bytes, limits.body_time), (4096 * KIB, seconds(30)));
    assert_eq!((limits.body_bytes_per_second, limits.idle_time), (KIB, seconds(75)));
    assert_eq!(
        (limits.json_depth, limits.json_nodes, limits.json_number_chars),
        (64, 20_000, 40)
    );
    assert_eq!((limits.h2_unproven_streams, limits.h2_streams), (16, 100));
    let windows = (limits.h2_stream_window_bytes, limits.h2_connection_window_bytes);
    assert_eq!(windows, (64 * KIB, 1024 * KIB));
    assert_eq!(
        (limits.h2_resets_per_second, limits.h2_control_frames_per_second),
        (20, 50)
    );
    assert_eq!(
        (limits.connection_age_time, limits.write_stall_time),
        (seconds(3600), seconds(30))
    );
    assert_eq!(
        (limits.response_bytes, limits.stdio_line_bytes),
        (8192 * KIB, 8192 * KIB)
    );
    assert_eq!(
        (limits.sse_event_bytes, limits.stream_buffer_bytes),
        (1024 * KIB, 256 * KIB)
    );
    assert_eq!(
        (limits.streams_per_caller, limits.calls_per_second, limits.calls_burst),
        (32, 50, 100)
    );
    assert_eq!((limits.writes_per_second, limits.writes_burst), (10, 20));
    assert_eq!((limits.unproven_calls_per_second, limits.descriptors_kept), (20, 64));
}

/// A client whom the server knows, with what the server has said of itself.
async fn proven(edge: &Edge) -> Client {
    let mut client = Client::hello(edge).await;
    client.first(&[SETTINGS]).await.expect("what the server says of itself");
    // What the server says holds once it is acknowledged.
    let prove = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&get("/prove")));
    client.send(&[frame(SETTINGS, 1, 0, &[]), prove]).await;
    client.first(&[HEADERS]).await.expect("an answer");
    client
}

fn count(client: &Client, kind: u8) -> usize {
    client.frames().iter().filter(|(of, ..)| *of == kind).count()
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn h2_streams_one_below_at_and_one_above_once_a_caller_is_known() {
    let edge = Edge::start(Limits::default());
    let mut client = proven(&edge).await;
    for (streams, refused) in [(99, 0), (1, 0), (1, 1)] {
        let first = 3 + 2 * u32::try_from(edge.lines().len()).unwrap();
        let asks: Vec<_> = (0..streams)
            .map(|i| frame(HEADERS, END_HEADERS | END_STREAM, first + 2 * i, &block(&get("/hang"))))
            .collect();
        client.send(&asks).await;
        assert!(client.listen(SOON).await);
        assert_eq!(
            count(&client, RST_STREAM),
            refused,
            "after {} streams",
            edge.lines().len() - 1
        );
    }
    assert_eq!(edge.lines().len(), 1 + 100);
    let settings = client
        .frames()
        .into_iter()
        .find(|(kind, ..)| *kind == SETTINGS)
        .unwrap()
        .2;
    let said: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|said| {
            (
                u16::from_be_bytes([said[0], said[1]]),
                u32::from_be_bytes(said[2..].try_into().unwrap()),
            )
        })
        .collect();
    assert!(
        said.contains(&(3, 100)) && said.contains(&(4, 64 << 10)) && said.contains(&(6, 8 << 10)),
        "{said:?}"
    );
}

/// Sends DATA of so many bytes on a stream.
async fn data(client: &mut Client, stream: u32, mut bytes: usize) {
    while bytes > 0 {
        let piece = bytes.min(16 << 10);
        client.send(&[frame(DATA, 0, stream, &vec![b'x'; piece])]).await;
        bytes -= piece;
    }
}

async fn begin(client: &mut Client, stream: u32) {
    client
        .send(&[frame(HEADERS, END_HEADERS, stream, &block(&post("/unread")))])
        .await;
}

#[tokio::test]
async fn h2_stream_window_bytes_at_the_limit_and_one_above() {
    let edge = Edge::start(Limits::default());
    let mut client = proven(&edge).await;
    begin(&mut client, 3).await;
    data(&mut client, 3, 64 << 10).await;
    assert!(client.listen(SOON).await);
    assert_eq!(
        (count(&client, RST_STREAM), count(&client, GOAWAY)),
        (0, 0),
        "at the limit"
    );
    client.send(&[frame(DATA, END_STREAM, 3, b"x")]).await;
    client.listen(SOON).await;
    assert!(count(&client, RST_STREAM) + count(&client, GOAWAY) > 0, "one above");
}

#[tokio::test]
async fn h2_connection_window_bytes_at_the_limit_and_one_above() {
    let edge = Edge::start(Limits::default());
    let mut client = proven(&edge).await;
    let widened: usize = client
        .frames()
        .iter()
        .filter(|(kind, stream, _)| (*kind, *stream) == (WINDOW_UPDATE, 0))
        .map(|(.., payload)| u32::from_be_bytes(payload[..].try_into().unwrap()) as usize)
        .sum();
    assert_eq!(65_535 + widened, 1 << 20);
    for i in 0..16 {
        begin(&mut client, 2 * i + 3).await;
        data(&mut client, 2 * i + 3, 64 << 10).await;
    }
    assert!(client.listen(SOON).await);
    assert_eq!(
        (count(&client, RST_STREAM), count(&client, GOAWAY)),
        (0, 0),
        "at the limit"
    );
    begin(&mut client, 35).await;
    client.send(&[frame(DATA, END_STREAM, 35, b"x")]).await;
    client.listen(SOON).await;
    assert_eq!(count(&client, GOAWAY), 1, "one above");
}

#[tokio::test]
async fn h2_ping_time_and_h2_ping_answer_time_end_a_peer_that_is_gone() {
    let edge = Edge::start(Limits {
        h2_ping_time: SOON,
        h2_ping_answer_time: 2 * SOON,
        ..Limits::default()
    });
    let mut client = proven(&edge).await;
    client
        .send(&[frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&get("/hang")))])
        .await;
    let begun = Instant::now();
    client.first(&[PING]).await.expect("a ping after silence");
    assert!(begun.elapsed() >= SOON / 2);
    assert!(!client.listen(10 * SOON).await, "nobody answers, and it is waited for");
    assert!(begun.elapsed() >= 2 * SOON, "the answer has its time");
}
