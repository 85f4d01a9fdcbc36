//! The event stream format, whole and in pieces.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;

fn decode(input: &[u8], piece: usize, max: usize) -> Result<Vec<SseEvent>, SseError> {
    let mut decoder = SseDecoder::new(max);
    let mut events = Vec::new();
    for bytes in input.chunks(piece) {
        decoder.push(bytes);
        while let Some(event) = decoder.next_event()? {
            events.push(event);
        }
    }
    Ok(events)
}

/// Decodes in pieces of every size, which must not matter.
fn events(input: &[u8]) -> Vec<SseEvent> {
    let whole = decode(input, input.len().max(1), 1000).unwrap();
    for piece in 1..input.len() {
        assert_eq!(decode(input, piece, 1000).unwrap(), whole, "pieces of {piece}");
    }
    whole
}

fn datas(input: &[u8]) -> Vec<String> {
    events(input)
        .into_iter()
        .map(|event| String::from_utf8(event.data).unwrap())
        .collect()
}

#[test]
fn lines_end_in_any_of_three_ways() {
    for end in ["\n", "\r", "\r\n"] {
        let input = "data: a\ndata:b\ndata\ndata:  c\n\ndata: d\n\n".replace('\n', end);
        assert_eq!(datas(input.as_bytes()), ["a\nb\n\n c", "d"], "{end:?}");
    }
    assert_eq!(datas(b"data: a\r\ndata: b\n\r\ndata: c\r\r"), ["a\nb", "c"]);
}

#[test]
fn a_byte_order_mark_is_skipped_at_the_start_and_only_there() {
    assert_eq!(datas(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n"), ["a"]);
    assert_eq!(datas(b"\xef\xbb\xbf\n\ndata: b\n\n"), ["b"]);
}

#[test]
fn comments_and_unknown_fields_are_nothing() {
    assert_eq!(
        datas(b": keep-alive\n\n:\n\nfoo: bar\n\ndata: a\n: x\nDATA: b\n\n"),
        ["a"]
    );
}

#[test]
fn all_fields_are_read_and_the_next_event_starts_afresh() {
    let found = events(b"event: message\nid: 7-a\nretry: 1500\ndata: {}\n\ndata: x\n\n");
    let first = SseEvent {
        event: Some("message".into()),
        id: Some("7-a".into()),
        retry: Some(1500),
        data: b"{}".to_vec(),
    };
    assert_eq!(
        found,
        [
            first,
            SseEvent {
                data: b"x".to_vec(),
                ..SseEvent::default()
            }
        ]
    );
}

#[test]
fn an_id_with_nul_and_a_retry_that_is_no_number_are_ignored() {
    let found = events(
        b"id: a\0b\nretry: 12x\ndata: a\n\nretry: -1\nretry:\nretry: 99999999999999999999\ndata: b\n\nid\ndata: c\n\n",
    );
    assert!(
        found
            .iter()
            .take(2)
            .all(|event| event.id.is_none() && event.retry.is_none()),
        "{found:?}"
    );
    assert_eq!(found.last().unwrap().id.as_deref(), Some(""));
}

#[test]
fn a_priming_event_keeps_its_id_and_has_no_data() {
    let mut out = Vec::new();
    encode_sse_priming(&mut out, "s-1", Some(250));
    let found = events(&out);
    assert_eq!(
        found,
        [SseEvent {
            id: Some("s-1".into()),
            retry: Some(250),
            ..SseEvent::default()
        }]
    );
}

#[test]
fn an_event_without_its_empty_line_is_no_event() {
    assert!(datas(b"data: a\n").is_empty());
    assert!(datas(b"data: a").is_empty());
}

#[test]
fn d08_events_are_refused_at_one_more_than_the_limit() {
    for piece in [1, 3, 7, 1000] {
        for (data, accepted) in [("1234567", true), ("12345678", true), ("123456789", false)] {
            assert_eq!(
                decode(format!("data: {data}\n\n").as_bytes(), piece, 8).is_ok(),
                accepted,
                "{data}"
            );
        }
        for (input, accepted) in [
            ("data: 123\ndata: 456\n\n", true),
            ("data: 1234\ndata: 456\n\n", true),
            ("data: 1234\ndata: 4567\n\n", false),
        ] {
            assert_eq!(decode(input.as_bytes(), piece, 8).is_ok(), accepted, "{input}");
        }
    }
}

#[test]
fn a_stream_that_never_ends_its_event_is_given_up_for_good() {
    let mut decoder = SseDecoder::new(1000);
    for _ in 0..20 {
        decoder.push(&[b'x'; 100]);
        let _ = decoder.next_event();
        assert!(decoder.buffer.len() <= 1200);
    }
    decoder.push(b"\n\ndata: a\n\n");
    assert_eq!(decoder.next_event(), Err(SseError::TooLarge { max: 1000 }));
    let many = "data: 1234567890\n".repeat(200);
    assert_eq!(decode(many.as_bytes(), 64, 1000), Err(SseError::TooLarge { max: 1000 }));
}

#[test]
fn what_is_encoded_is_decoded_and_can_forge_nothing() {
    for data in ["{}", "", "a\nb", "a\r\nb\rc", "\n", "x\n\nevent: evil\ndata: y\n\n"] {
        let mut out = Vec::new();
        encode_sse(&mut out, Some("i\nd: evil\r\0"), data.as_bytes());
        encode_sse_comment(&mut out);
        let found = events(&out);
        assert_eq!(found.len(), 1, "{data:?}");
        let event = found.into_iter().next().unwrap();
        assert_eq!(
            String::from_utf8(event.data).unwrap(),
            data.replace("\r\n", "\n").replace('\r', "\n")
        );
        assert_eq!(
            (event.event.as_deref(), event.id.as_deref()),
            (Some("message"), Some("id: evil"))
        );
    }
}
