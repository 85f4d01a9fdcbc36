//! Every way to bend a sealed text, kind by kind.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing
)]

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The kinds, each with all its texts. None of them is the text itself.
pub fn bends(sealed: &str) -> Vec<(&'static str, Vec<String>)> {
    let bytes = decode(sealed);
    assert_eq!(encode(&bytes), sealed, "a sealed text is base64url without padding");
    let half = sealed.len() / 2;
    let mut kinds = vec![
        (
            "a bit flipped",
            (0..bytes.len() * 8).map(|bit| flipped(&bytes, bit)).collect(),
        ),
        (
            "a character changed",
            (0..sealed.len()).map(|at| with_character(sealed, at, 1)).collect(),
        ),
        (
            "the last character changed",
            (1..64).map(|by| with_character(sealed, sealed.len() - 1, by)).collect(),
        ),
        (
            "cut behind",
            (0..sealed.len()).map(|end| sealed[..end].to_owned()).collect(),
        ),
        (
            "cut in front",
            (1..=sealed.len()).map(|start| sealed[start..].to_owned()).collect(),
        ),
        (
            "something behind it",
            ["A", "=", "==", " ", "\\n", "\\t", ".", "%00"]
                .iter()
                .map(|more| format!("{sealed}{more}"))
                .collect(),
        ),
        (
            "something in front of it",
            ["A", "=", " ", "\\n", "\\t", "AQ"]
                .iter()
                .map(|more| format!("{more}{sealed}"))
                .collect(),
        ),
        (
            "twice in a row",
            vec![format!("{sealed}{sealed}"), format!("{sealed},{sealed}")],
        ),
        (
            "its halves exchanged",
            vec![format!("{}{}", &sealed[half..], &sealed[..half])],
        ),
        ("backwards", vec![sealed.chars().rev().collect()]),
        (
            "other case",
            vec![sealed.to_ascii_uppercase(), sealed.to_ascii_lowercase()],
        ),
        (
            "the other alphabet",
            vec![format!("{sealed}+/"), sealed.replace(['-', '_'], "+")],
        ),
        ("nothing but zeros", vec![encode(&vec![0; bytes.len()])]),
        ("huge", vec![sealed.repeat(3_000), "A".repeat(700_000)]),
    ];
    for (_, texts) in &mut kinds {
        texts.retain(|text| text != sealed);
    }
    kinds
}

/// The text with one bit of what it encodes the other way.
pub fn flipped(bytes: &[u8], bit: usize) -> String {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    encode(&bytes)
}

fn with_character(text: &str, at: usize, by: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let place = ALPHABET.iter().position(|character| *character == bytes[at]).unwrap();
    bytes[at] = ALPHABET[(place + by) % 64];
    String::from_utf8(bytes).unwrap()
}

pub fn decode(text: &str) -> Vec<u8> {
    let (mut held, mut bits, mut bytes) = (0_u32, 0, Vec::new());
    for character in text.bytes() {
        let place = ALPHABET.iter().position(|known| *known == character).unwrap();
        held = (held << 6) | u32::try_from(place).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits).to_be_bytes()[3]);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut whole = [0; 3];
        whole[..three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes([0, whole[0], whole[1], whole[2]]);
        for index in 0..=three.len() {
            let place = usize::try_from((word >> (18 - 6 * index)) & 63).unwrap();
            text.push(char::from(ALPHABET[place]));
        }
    }
    text
}
