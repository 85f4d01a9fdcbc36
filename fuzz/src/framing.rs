//! Framing of streams: how the bytes are cut into pieces must not matter.

use meshgate_mcp::{LineDecoder, SseDecoder, SseEvent, encode_sse};

const LIMIT: usize = 64;

/// The first byte is the size of the pieces, the rest is the stream.
pub fn sse(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let whole = events(stream, stream.len().max(1));
    let pieces = events(stream, usize::from(*piece).max(1));
    match (&whole, &pieces) {
        (Some(whole), Some(pieces)) => assert_eq!(whole, pieces),
        // An endless line is noticed before its end only when it comes in pieces; never the other way round.
        (None, Some(_)) => panic!("accepted in pieces and refused whole"),
        _ => {}
    }
    for event in whole.into_iter().flatten() {
        assert!(event.data.len() <= LIMIT);
        let mut out = Vec::new();
        encode_sse(&mut out, event.id.as_deref(), &event.data);
        let again = events(&out, out.len()).expect("no larger than before");
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].data, event.data);
    }
}

fn events(stream: &[u8], piece: usize) -> Option<Vec<SseEvent>> {
    let mut decoder = SseDecoder::new(LIMIT);
    let mut events = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        while let Some(event) = decoder.next_event().ok()? {
            events.push(event);
        }
    }
    Some(events)
}

/// Any text as the data of an event: whatever it holds, a reader finds one event with that text and nothing beside it.
pub fn sse_out(input: &[u8]) {
    let mut out = Vec::new();
    encode_sse(&mut out, Some("1"), input);
    let mut decoder = SseDecoder::new(out.len());
    decoder.push(&out);
    let event = decoder.next_event().expect("within its limit").expect("an event");
    assert_eq!(
        (event.event.as_deref(), event.id.as_deref(), event.retry),
        (Some("message"), Some("1"), None)
    );
    let lines = |text: &[u8]| {
        text.split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    let ends = |text: &[u8]| {
        String::from_utf8_lossy(text)
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .into_bytes()
    };
    if std::str::from_utf8(input).is_ok() {
        assert_eq!(lines(&event.data), lines(&ends(input)), "the text came through");
    }
    assert_eq!(decoder.next_event(), Ok(None), "one event");
}

/// The first byte is the size of the pieces, the rest is the stream.
pub fn lines(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else {
        return;
    };
    let expected = split(stream);
    assert_eq!(decoded(stream, stream.len().max(1)), expected);
    assert_eq!(decoded(stream, usize::from(*piece).max(1)), expected);
}

/// The lines of a stream by the simplest means; `None` for a line over the limit.
fn split(stream: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| *byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let short = |line: &[u8]| (line.len() <= LIMIT).then(|| line.to_vec());
    let mut lines: Vec<_> = lines
        .iter()
        .map(|line| short(line.strip_suffix(b"\r").unwrap_or(line)))
        .collect();
    if rest.strip_suffix(b"\r").unwrap_or(rest).len() > LIMIT {
        lines.push(None);
    }
    lines
}

fn decoded(stream: &[u8], piece: usize) -> Vec<Option<Vec<u8>>> {
    let mut decoder = LineDecoder::new(LIMIT);
    let mut lines = Vec::new();
    for bytes in stream.chunks(piece) {
        decoder.push(bytes);
        loop {
            match decoder.next_line() {
                Ok(Some(line)) => lines.push(Some(line.to_vec())),
                Ok(None) => break,
                Err(_) => lines.push(None),
            }
        }
    }
    lines
}
